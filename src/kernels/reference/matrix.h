// Small row-major matrices and the few operations that the reference kernels are written in. Plain loops, no blocking.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/ttt_params.h"

namespace ttt::kernels {

template <class T>
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<T> data;

  Matrix() = default;
  Matrix(std::int64_t n_rows, std::int64_t n_cols) : rows(n_rows), cols(n_cols), data(n_rows * n_cols, T(0)) {}
  Matrix(const T* values, std::int64_t n_rows, std::int64_t n_cols)
      : rows(n_rows), cols(n_cols), data(values, values + n_rows * n_cols) {}

  T& operator()(std::int64_t i, std::int64_t j) { return data[i * cols + j]; }
  const T& operator()(std::int64_t i, std::int64_t j) const { return data[i * cols + j]; }
};

// C += alpha A B
template <class T>
void add_product(Matrix<T>& c, const Matrix<T>& a, const Matrix<T>& b, T alpha = T(1)) {
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t k = 0; k < a.cols; ++k)
      for (std::int64_t j = 0; j < b.cols; ++j) c(i, j) += alpha * a(i, k) * b(k, j);
}

// A B
template <class T>
Matrix<T> product(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> c(a.rows, b.cols);
  add_product(c, a, b);
  return c;
}

// A^T
template <class T>
Matrix<T> transpose(const Matrix<T>& a) {
  Matrix<T> c(a.cols, a.rows);
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) c(j, i) = a(i, j);
  return c;
}

// A (.) B
template <class T>
Matrix<T> hadamard(const Matrix<T>& a, const Matrix<T>& b) {
  Matrix<T> c = a;
  for (std::size_t i = 0; i < c.data.size(); ++i) c.data[i] *= b.data[i];
  return c;
}

// C += alpha A
template <class T>
void add(Matrix<T>& c, const Matrix<T>& a, T alpha = T(1)) {
  for (std::size_t i = 0; i < c.data.size(); ++i) c.data[i] += alpha * a.data[i];
}

// C += 1 row: adds the row [1,cols] to every row of C
template <class T>
void add_row(Matrix<T>& c, const Matrix<T>& row) {
  for (std::int64_t i = 0; i < c.rows; ++i)
    for (std::int64_t j = 0; j < c.cols; ++j) c(i, j) += row(0, j);
}

// row += alpha (sum of the rows of A)
template <class T>
void add_column_sums(Matrix<T>& row, const Matrix<T>& a, T alpha = T(1)) {
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) row(0, j) += alpha * a(i, j);
}

// e (.) A: row i times e_i
template <class T>
Matrix<T> scale_rows(const std::vector<T>& e, const Matrix<T>& a) {
  Matrix<T> c = a;
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < a.cols; ++j) c(i, j) *= e[i];
  return c;
}

template <class T>
T dot_rows(const Matrix<T>& a, std::int64_t i, const Matrix<T>& b, std::int64_t j) {
  T sum = 0;
  for (std::int64_t k = 0; k < a.cols; ++k) sum += a(i, k) * b(j, k);
  return sum;
}

// Rows to mean 0 and variance 1: xh = (x - mean) r, r = 1 / sqrt(var + eps).
template <class T>
struct Normalised {
  Matrix<T> xh;
  std::vector<T> r;
};

template <class T>
Normalised<T> normalise(const Matrix<T>& x) {
  Normalised<T> out{x, std::vector<T>(x.rows)};
  for (std::int64_t i = 0; i < x.rows; ++i) {
    T mean = 0, var = 0;
    for (std::int64_t j = 0; j < x.cols; ++j) mean += x(i, j) / x.cols;
    for (std::int64_t j = 0; j < x.cols; ++j) var += (x(i, j) - mean) * (x(i, j) - mean) / x.cols;
    out.r[i] = T(1) / std::sqrt(var + T(kLayerNormEps));
    for (std::int64_t j = 0; j < x.cols; ++j) out.xh(i, j) = (x(i, j) - mean) * out.r[i];
  }
  return out;
}

// r * P(a; xh),  P(a; xh) = a - mean(a) - xh mean(a (.) xh): the gradient of normalise() for the gradient a of xh.
template <class T>
Matrix<T> normalise_backward(const Matrix<T>& a, const Normalised<T>& n) {
  Matrix<T> out = a;
  for (std::int64_t i = 0; i < a.rows; ++i) {
    T mean = 0, mean_xh = 0;
    for (std::int64_t j = 0; j < a.cols; ++j) {
      mean += a(i, j) / a.cols;
      mean_xh += a(i, j) * n.xh(i, j) / a.cols;
    }
    for (std::int64_t j = 0; j < a.cols; ++j) out(i, j) = n.r[i] * (a(i, j) - mean - n.xh(i, j) * mean_xh);
  }
  return out;
}

// The tanh form of GELU and its derivatives:
//   u = k (x + a x^3),  t = tanh u,  k = sqrt(2/pi),  a = 0.044715
//   phi = x/2 (1 + t);  phi' = (1 + t)/2 + x/2 (1 - t^2) u';  phi'' = (1 - t^2) u' + x/2 (1 - t^2)(u'' - 2 t u'^2)
struct Gelu {
  static constexpr double kK = 0.7978845608028653558798921198687;
  static constexpr double kA = 0.044715;

  template <class T>
  static T value(T x) {
    return T(0.5) * x * (T(1) + std::tanh(T(kK) * (x + T(kA) * x * x * x)));
  }
  template <class T>
  static T first(T x) {
    const T t = std::tanh(T(kK) * (x + T(kA) * x * x * x));
    const T du = T(kK) * (T(1) + T(3 * kA) * x * x);
    return T(0.5) * (T(1) + t) + T(0.5) * x * (T(1) - t * t) * du;
  }
  template <class T>
  static T second(T x) {
    const T t = std::tanh(T(kK) * (x + T(kA) * x * x * x));
    const T du = T(kK) * (T(1) + T(3 * kA) * x * x);
    const T ddu = T(kK) * T(6 * kA) * x;
    return (T(1) - t * t) * (du + T(0.5) * x * (ddu - T(2) * t * du * du));
  }
};

template <class T>
Matrix<T> map(const Matrix<T>& a, T (*function)(T)) {
  Matrix<T> out = a;
  std::transform(a.data.begin(), a.data.end(), out.data.begin(), function);
  return out;
}

}  // namespace ttt::kernels
