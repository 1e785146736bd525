// TTT-Linear in plain loops, forward and backward. Equations and notation: ttt_reference.h.
#include "kernels/reference/ttt_pieces.h"
#include "kernels/reference/ttt_reference.h"

namespace ttt::kernels {
namespace {

// What the forward pass of one mini-batch computes.
template <class T>
struct LinearStep {
  Matrix<T> w, c;          // the state that it starts from
  InnerGradient<T> inner;  // of Z = K W + c
  Matrix<T> a, n;          // Q K^T; M (.) E (.) (A + 1)
  Normalised<T> nq;        // of Zq
};

template <class T>
LinearStep<T> linear_step(const MiniBatch<T>& mb, const std::vector<T>& s, const Matrix<T>& w, const Matrix<T>& c,
                          const Matrix<T>& gain, const Matrix<T>& bias) {
  LinearStep<T> step{w, c, {}, {}, {}, {}};
  // Z = K W + c;  G
  Matrix<T> z = product(mb.k, w);
  add_row(z, c);
  step.inner = inner_gradient(z, mb.target, gain, bias);
  // A = Q K^T;  N = M (.) E (.) (A + 1);  Zq = Q W + c - N G
  step.a = product(mb.q, transpose(mb.k));
  step.n = dual_mask(step.a, s, mb.sigma);
  Matrix<T> zq = product(mb.q, w);
  add_row(zq, c);
  add_product(zq, step.n, step.inner.g, T(-1));
  step.nq = normalise(zq);
  return step;
}

// W' = W - (e (.) K)^T G;  c' = c - e^T G
template <class T>
void update(const MiniBatch<T>& mb, const Matrix<T>& g, Matrix<T>& w, Matrix<T>& c) {
  add_product(w, transpose(scale_rows(mb.e, mb.k)), g, T(-1));
  add_column_sums(c, scale_rows(mb.e, g), T(-1));
}

}  // namespace

template <class T>
void ttt_linear_forward_reference(const TttSizes& sizes, const TttPointers<const T>& in, T* o) {
  const std::int64_t f = sizes.head_dim;
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);
    Matrix<T> w(in.w1 + h * f * f, f, f), c(in.b1 + h * f, 1, f);
    for (std::int64_t m = 0; m < num_mini_batches(sizes); ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      const LinearStep<T> step = linear_step(mb, s, w, c, gain, bias);
      store(output(mb.q, step.nq, gain, bias), o + (p * sizes.time + m * sizes.mini_batch) * f);
      update(mb, step.inner.g, w, c);  // a short mini-batch is the last one: nobody reads its update
    }
  }
}

template <class T>
void ttt_linear_backward_reference(const TttSizes& sizes, const TttPointers<const T>& in, const T* grad_o,
                                   const TttPointers<T>& grad) {
  const std::int64_t f = sizes.head_dim, n = num_mini_batches(sizes);
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  std::fill_n(grad.scale, sizes.mini_batch, T(0));
  std::fill_n(grad.gain, sizes.heads * f, T(0));
  std::fill_n(grad.bias, sizes.heads * f, T(0));
  std::fill_n(grad.w1, sizes.heads * f * f, T(0));
  std::fill_n(grad.b1, sizes.heads * f, T(0));
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);

    std::vector<LinearStep<T>> steps;
    Matrix<T> w(in.w1 + h * f * f, f, f), c(in.b1 + h * f, 1, f);
    for (std::int64_t m = 0; m < n; ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      steps.push_back(linear_step(mb, s, w, c, gain, bias));
      update(mb, steps.back().inner.g, w, c);
    }

    Matrix<T> dw(f, f), dc(1, f), dgain(1, f),
        dbias(1, f);  // dW', dc': nobody reads the state after the last mini-batch
    std::vector<T> ds(s.size(), T(0));
    for (std::int64_t m = n - 1; m >= 0; --m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      const LinearStep<T>& step = steps[m];
      const Matrix<T>& g = step.inner.g;
      const std::int64_t rows = mb.q.rows, first = p * sizes.time + m * sizes.mini_batch;
      std::vector<T> dsigma(rows, T(0));

      // Output LN: U = dZq
      const Matrix<T> d_o(grad_o + first * f, rows, f);
      const Matrix<T> u = output_backward(d_o, step.nq, gain, dgain, dbias);

      // Dual form: dN, dA, dE;  dQ = dO + U W^T + dA K;  dK = dA^T Q - e (.) R,  R = G dW'^T
      const Matrix<T> da = dual_mask_backward(u, g, step.a, s, mb.sigma, dsigma, ds);
      Matrix<T> dq = d_o;
      add_product(dq, u, transpose(step.w));
      add_product(dq, da, mb.k);
      const Matrix<T> r = product(g, transpose(dw));
      Matrix<T> dk = product(transpose(da), mb.q);
      add(dk, scale_rows(mb.e, r), T(-1));

      // Gam = dG = -N^T U - e (.) (K dW' + 1 dc')
      Matrix<T> k_dw = product(mb.k, dw);
      add_row(k_dw, dc);
      Matrix<T> gam = scale_rows(mb.e, k_dw);
      add_product(gam, transpose(step.n), u);
      for (T& x : gam.data) x = -x;

      // de_j = -(K_j . R_j + G_j . dc');  e_j = s_{b-1} sigma_j
      for (std::int64_t j = 0; j < rows; ++j) {
        const T de = -(dot_rows(mb.k, j, r, j) + dot_rows(g, j, dc, 0));
        dsigma[j] += s.back() * de;
        ds.back() += mb.sigma[j] * de;
      }

      // LN-L2: dZ, dD;  dV = -dD;  dK += dD + dZ W^T
      const auto [dz, dd] = inner_gradient_backward(gam, step.inner, gain, dgain, dbias);
      add(dk, dd);
      add_product(dk, dz, transpose(step.w));
      Matrix<T> dv(rows, f);
      add(dv, dd, T(-1));

      // dW = dW' + Q^T U + K^T dZ;  dc = dc' + sum U + sum dZ
      add_product(dw, transpose(mb.q), u);
      add_product(dw, transpose(mb.k), dz);
      add_column_sums(dc, u);
      add_column_sums(dc, dz);

      store(dq, grad.q + first * f);
      store(dk, grad.k + first * f);
      store(dv, grad.v + first * f);
      std::copy(dsigma.begin(), dsigma.end(), grad.sigma + first);
    }
    accumulate(dw, grad.w1 + h * f * f);
    accumulate(dc, grad.b1 + h * f);
    accumulate(dgain, grad.gain + h * f);
    accumulate(dbias, grad.bias + h * f);
    for (std::size_t i = 0; i < ds.size(); ++i) grad.scale[i] += ds[i];
  }
}

template void ttt_linear_forward_reference(const TttSizes&, const TttPointers<const float>&, float*);
template void ttt_linear_forward_reference(const TttSizes&, const TttPointers<const double>&, double*);
template void ttt_linear_backward_reference(const TttSizes&, const TttPointers<const float>&, const float*,
                                            const TttPointers<float>&);
template void ttt_linear_backward_reference(const TttSizes&, const TttPointers<const double>&, const double*,
                                            const TttPointers<double>&);

}  // namespace ttt::kernels
