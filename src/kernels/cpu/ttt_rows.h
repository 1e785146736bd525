// The row-wise steps between the matrix products of the TTT inner loop, on the CPU. Equations:
// reference/ttt_reference.h.
//
// A batch of n = s*g matrices stands for s mini-batches of g heads, mini-batch outermost: matrix i belongs to head i %
// g. C rows (tokens) of K or M columns each. Compiled for the instruction sets AVX-512, AVX2 and the baseline;
// instantiated for float and double. Outputs are overwritten unless said to be accumulated (+=). Single-threaded: the
// caller splits the heads.
#pragma once

#include <cstdint>

namespace ttt::kernels {

// Matrix i of a batch starts at data + i * stride; its rows are contiguous.
template <class T>
struct Blocks {
  T* data = nullptr;
  std::int64_t stride = 0;
  T* operator[](std::int64_t i) const { return data + i * stride; }
};

struct RowSizes {
  std::int64_t matrices;  // n = s*g
  std::int64_t heads;     // g
  std::int64_t rows;      // of a matrix
  std::int64_t cols;
};

// N_ij = s_i sigma_j (A_ij + 1) for j <= i, else 0. a, out [n,C,C]; sigma [n,C]; scale [C].
template <class T>
void dual_mask(const RowSizes& sizes, const T* a, const T* sigma, const T* scale, T* out);

// Given x = U G^T: dN = -M (.) x; x becomes dA = E (.) dN; dsigma [n,C] += sum_i dE_ij s_i; dscale [g,C] += sum_j dE_ij
// sigma_j, dE = (A + 1) (.) dN.
template <class T>
void dual_mask_backward(const RowSizes& sizes, T* x, const T* a, const T* sigma, const T* scale, T* dsigma, T* dscale);

// Z = z + c; xh, r = normalise(Z); D = gain xh + bias - target; G = r * P(gain (.) D; xh). z [n,C,K]; c, gain, bias
// [g,K].
template <class T>
void inner_gradient(const RowSizes& sizes, Blocks<const T> z, const T* c, Blocks<const T> target, const T* gain,
                    const T* bias, Blocks<T> g, Blocks<T> xh, T* r);

// The backward pass of inner_gradient for Gam = gam: dz, dd; dgain, dbias [g,K] accumulated.
template <class T>
void inner_gradient_backward(const RowSizes& sizes, Blocks<const T> gam, Blocks<const T> target, Blocks<const T> g,
                             Blocks<const T> xh, const T* r, const T* gain, const T* bias, Blocks<T> dz, Blocks<T> dd,
                             T* dgain, T* dbias);

// Zq = z + c - ng; xh, r = normalise(Zq); o = q + gain xh + bias (o.data may be null: not wanted). c [n,K].
template <class T>
void output_norm(const RowSizes& sizes, Blocks<const T> z, const T* c, Blocks<const T> ng, Blocks<const T> q,
                 const T* gain, const T* bias, Blocks<T> o, Blocks<T> xh, T* r);

// U = r * P(gain (.) dO; xh); dgain += sum dO (.) xh, dbias += sum dO [g,K].
template <class T>
void output_norm_backward(const RowSizes& sizes, Blocks<const T> d_o, Blocks<const T> xh, const T* r, const T* gain,
                          Blocks<T> u, T* dgain, T* dbias);

// out = e (.) x: row j times e_j. e [n,C].
template <class T>
void scale_rows(const RowSizes& sizes, Blocks<const T> x, const T* e, Blocks<T> out);

// x -= e (.) y
template <class T>
void subtract_scaled_rows(const RowSizes& sizes, const T* e, Blocks<const T> y, Blocks<T> x);

// x -= e row: the outer product of e [n,C] and row [n,cols]
template <class T>
void subtract_outer(const RowSizes& sizes, const T* e, const T* row, Blocks<T> x);

// out = base + sum of the rows of x; with e: out = base - sum_j e_j x_j. base, out [n,cols], may be the same.
template <class T>
void add_column_sums(const RowSizes& sizes, const T* base, Blocks<const T> x, const T* e, T* out);

// Learning rates: de_j = -(x_j . y_j + g_j . dc), x, y of sizes.cols columns, g and dc [n,g_cols];
// dsigma_j += s_last de_j; dscale[head][last] += sum_j sigma_j de_j.
template <class T>
void rate_backward(const RowSizes& sizes, std::int64_t g_cols, Blocks<const T> x, Blocks<const T> y, Blocks<const T> g,
                   const T* dc, const T* sigma, const T* scale, T* dsigma, T* dscale);

// z = z + c - minus (minus.data may be null), and u = k (z + a z^3), whose tanh the functions below take as t. c
// [n,cols].
template <class T>
void gelu_argument(const RowSizes& sizes, Blocks<T> z, const T* c, Blocks<const T> minus, Blocks<T> u);

// out = phi(z) = z/2 (1 + t)
template <class T>
void gelu_value(const RowSizes& sizes, Blocks<const T> z, Blocks<const T> t, Blocks<T> out);

// out = x (.) phi'(z)
template <class T>
void gelu_first(const RowSizes& sizes, Blocks<const T> x, Blocks<const T> z, Blocks<const T> t, Blocks<T> out);

// out = x (.) phi'(z) + y (.) b (.) phi''(z)
template <class T>
void gelu_second(const RowSizes& sizes, Blocks<const T> x, Blocks<const T> y, Blocks<const T> b, Blocks<const T> z,
                 Blocks<const T> t, Blocks<T> out);

}  // namespace ttt::kernels
