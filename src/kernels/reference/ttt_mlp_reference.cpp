// TTT-MLP in plain loops, forward and backward. Equations and notation: ttt_reference.h.
#include "kernels/reference/ttt_pieces.h"
#include "kernels/reference/ttt_reference.h"

namespace ttt::kernels {
namespace {

template <class T>
struct MlpState {
  Matrix<T> w1, c1, w2, c2;
};

// What the forward pass of one mini-batch computes.
template <class T>
struct MlpStep {
  MlpState<T> state;           // that it starts from
  Matrix<T> z1, x2;            // K W1 + c1; phi(Z1)
  InnerGradient<T> inner;      // of Z2 = X2 W2 + c2
  Matrix<T> b, g1;             // G2 W2^T; B (.) phi'(Z1)
  Matrix<T> a1, n1, z1q, x2q;  // Q K^T; its mask; Z1q; phi(Z1q)
  Matrix<T> a2, n2;            // X2q X2^T; its mask
  Normalised<T> nq;            // of Z2q
};

template <class T>
MlpStep<T> mlp_step(const MiniBatch<T>& mb, const std::vector<T>& s, const MlpState<T>& state, const Matrix<T>& gain,
                    const Matrix<T>& bias) {
  MlpStep<T> step;
  step.state = state;
  // Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2
  step.z1 = product(mb.k, state.w1);
  add_row(step.z1, state.c1);
  step.x2 = map(step.z1, Gelu::value<T>);
  Matrix<T> z2 = product(step.x2, state.w2);
  add_row(z2, state.c2);
  step.inner = inner_gradient(z2, mb.target, gain, bias);
  const Matrix<T>& g2 = step.inner.g;
  // B = G2 W2^T;  G1 = B (.) phi'(Z1)
  step.b = product(g2, transpose(state.w2));
  step.g1 = hadamard(step.b, map(step.z1, Gelu::first<T>));
  // N1 = M (.) E (.) (Q K^T + 1);  Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
  step.a1 = product(mb.q, transpose(mb.k));
  step.n1 = dual_mask(step.a1, s, mb.sigma);
  step.z1q = product(mb.q, state.w1);
  add_row(step.z1q, state.c1);
  add_product(step.z1q, step.n1, step.g1, T(-1));
  step.x2q = map(step.z1q, Gelu::value<T>);
  // N2 = M (.) E (.) (X2q X2^T + 1);  Z2q = X2q W2 + c2 - N2 G2
  step.a2 = product(step.x2q, transpose(step.x2));
  step.n2 = dual_mask(step.a2, s, mb.sigma);
  Matrix<T> z2q = product(step.x2q, state.w2);
  add_row(z2q, state.c2);
  add_product(z2q, step.n2, g2, T(-1));
  step.nq = normalise(z2q);
  return step;
}

// W1' = W1 - (e K)^T G1;  c1' = c1 - e^T G1;  W2' = W2 - (e X2)^T G2;  c2' = c2 - e^T G2
template <class T>
void update(const MiniBatch<T>& mb, const MlpStep<T>& step, MlpState<T>& state) {
  add_product(state.w1, transpose(scale_rows(mb.e, mb.k)), step.g1, T(-1));
  add_column_sums(state.c1, scale_rows(mb.e, step.g1), T(-1));
  add_product(state.w2, transpose(scale_rows(mb.e, step.x2)), step.inner.g, T(-1));
  add_column_sums(state.c2, scale_rows(mb.e, step.inner.g), T(-1));
}

template <class T>
MlpState<T> initial_state(const TttSizes& sizes, const TttPointers<const T>& in, std::int64_t h) {
  const std::int64_t f = sizes.head_dim, m = sizes.hidden;
  return {{in.w1 + h * f * m, f, m}, {in.b1 + h * m, 1, m}, {in.w2 + h * m * f, m, f}, {in.b2 + h * f, 1, f}};
}

}  // namespace

template <class T>
void ttt_mlp_forward_reference(const TttSizes& sizes, const TttPointers<const T>& in, T* o) {
  const std::int64_t f = sizes.head_dim;
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);
    MlpState<T> state = initial_state(sizes, in, h);
    for (std::int64_t m = 0; m < num_mini_batches(sizes); ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      const MlpStep<T> step = mlp_step(mb, s, state, gain, bias);
      store(output(mb.q, step.nq, gain, bias), o + (p * sizes.time + m * sizes.mini_batch) * f);
      update(mb, step, state);  // a short mini-batch is the last one: nobody reads its update
    }
  }
}

template <class T>
void ttt_mlp_backward_reference(const TttSizes& sizes, const TttPointers<const T>& in, const T* grad_o,
                                const TttPointers<T>& grad) {
  const std::int64_t f = sizes.head_dim, hidden = sizes.hidden, n = num_mini_batches(sizes);
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  std::fill_n(grad.scale, sizes.mini_batch, T(0));
  std::fill_n(grad.gain, sizes.heads * f, T(0));
  std::fill_n(grad.bias, sizes.heads * f, T(0));
  std::fill_n(grad.w1, sizes.heads * f * hidden, T(0));
  std::fill_n(grad.b1, sizes.heads * hidden, T(0));
  std::fill_n(grad.w2, sizes.heads * hidden * f, T(0));
  std::fill_n(grad.b2, sizes.heads * f, T(0));
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);

    std::vector<MlpStep<T>> steps;
    MlpState<T> state = initial_state(sizes, in, h);
    for (std::int64_t m = 0; m < n; ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      steps.push_back(mlp_step(mb, s, state, gain, bias));
      update(mb, steps.back(), state);
    }

    Matrix<T> dw1(f, hidden), dc1(1, hidden), dw2(hidden, f), dc2(1, f), dgain(1, f), dbias(1, f);
    std::vector<T> ds(s.size(), T(0));
    for (std::int64_t m = n - 1; m >= 0; --m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, in, p, m);
      const MlpStep<T>& step = steps[m];
      const Matrix<T>&g1 = step.g1, &g2 = step.inner.g, &w1 = step.state.w1, &w2 = step.state.w2;
      const std::int64_t rows = mb.q.rows, first = p * sizes.time + m * sizes.mini_batch;
      std::vector<T> dsigma(rows, T(0));

      // Output LN: U2 = dZ2q
      const Matrix<T> d_o(grad_o + first * f, rows, f);
      const Matrix<T> u2 = output_backward(d_o, step.nq, gain, dgain, dbias);

      // Layer 2, dual form: dA2, dE;  dX2q = U2 W2^T + dA2 X2;  dX2 = dA2^T X2q - e (.) R2,  R2 = G2 dW2'^T
      const Matrix<T> da2 = dual_mask_backward(u2, g2, step.a2, s, mb.sigma, dsigma, ds);
      Matrix<T> dx2q = product(u2, transpose(w2));
      add_product(dx2q, da2, step.x2);
      const Matrix<T> r2 = product(g2, transpose(dw2));
      Matrix<T> dx2 = product(transpose(da2), step.x2q);
      add(dx2, scale_rows(mb.e, r2), T(-1));
      // dG2 = -N2^T U2 - e (.) (X2 dW2' + dc2')
      Matrix<T> x2_dw2 = product(step.x2, dw2);
      add_row(x2_dw2, dc2);
      Matrix<T> dg2 = scale_rows(mb.e, x2_dw2);
      add_product(dg2, transpose(step.n2), u2);
      for (T& x : dg2.data) x = -x;

      // Layer 1, dual form: U1 = dX2q (.) phi'(Z1q);  dA1, dE;  dQ = dO + U1 W1^T + dA1 K;  dK = dA1^T Q - e (.) R1
      const Matrix<T> u1 = hadamard(dx2q, map(step.z1q, Gelu::first<T>));
      const Matrix<T> da1 = dual_mask_backward(u1, g1, step.a1, s, mb.sigma, dsigma, ds);
      Matrix<T> dq = d_o;
      add_product(dq, u1, transpose(w1));
      add_product(dq, da1, mb.k);
      const Matrix<T> r1 = product(g1, transpose(dw1));
      Matrix<T> dk = product(transpose(da1), mb.q);
      add(dk, scale_rows(mb.e, r1), T(-1));
      // dG1 = -N1^T U1 - e (.) (K dW1' + dc1')
      Matrix<T> k_dw1 = product(mb.k, dw1);
      add_row(k_dw1, dc1);
      Matrix<T> dg1 = scale_rows(mb.e, k_dw1);
      add_product(dg1, transpose(step.n1), u1);
      for (T& x : dg1.data) x = -x;

      // de_j = -(K_j . R1_j + X2_j . R2_j + G1_j . dc1' + G2_j . dc2')
      for (std::int64_t j = 0; j < rows; ++j) {
        const T de = -(dot_rows(mb.k, j, r1, j) + dot_rows(step.x2, j, r2, j) + dot_rows(g1, j, dc1, 0) +
                       dot_rows(g2, j, dc2, 0));
        dsigma[j] += s.back() * de;
        ds.back() += mb.sigma[j] * de;
      }

      // dB = dG1 (.) phi'(Z1);  dZ1 = dG1 (.) B (.) phi''(Z1);  dG2 += dB W2
      const Matrix<T> phi1 = map(step.z1, Gelu::first<T>);
      const Matrix<T> db = hadamard(dg1, phi1);
      Matrix<T> dz1 = hadamard(hadamard(dg1, step.b), map(step.z1, Gelu::second<T>));
      add_product(dg2, db, w2);

      // LN-L2 on Z2 with Gam = dG2: dZ2, dD;  dV = -dD;  dK += dD;  dX2 += dZ2 W2^T;  dZ1 += dX2 (.) phi'(Z1);  dK +=
      // dZ1 W1^T
      const auto [dz2, dd] = inner_gradient_backward(dg2, step.inner, gain, dgain, dbias);
      add_product(dx2, dz2, transpose(w2));
      add(dz1, hadamard(dx2, phi1));
      add(dk, dd);
      add_product(dk, dz1, transpose(w1));
      Matrix<T> dv(rows, f);
      add(dv, dd, T(-1));

      // dW2 = dW2' + X2q^T U2 + dB^T G2 + X2^T dZ2;  dW1 = dW1' + Q^T U1 + K^T dZ1;  dc alike
      add_product(dw2, transpose(step.x2q), u2);
      add_product(dw2, transpose(db), g2);
      add_product(dw2, transpose(step.x2), dz2);
      add_column_sums(dc2, u2);
      add_column_sums(dc2, dz2);
      add_product(dw1, transpose(mb.q), u1);
      add_product(dw1, transpose(mb.k), dz1);
      add_column_sums(dc1, u1);
      add_column_sums(dc1, dz1);

      store(dq, grad.q + first * f);
      store(dk, grad.k + first * f);
      store(dv, grad.v + first * f);
      std::copy(dsigma.begin(), dsigma.end(), grad.sigma + first);
    }
    accumulate(dw1, grad.w1 + h * f * hidden);
    accumulate(dc1, grad.b1 + h * hidden);
    accumulate(dw2, grad.w2 + h * hidden * f);
    accumulate(dc2, grad.b2 + h * f);
    accumulate(dgain, grad.gain + h * f);
    accumulate(dbias, grad.bias + h * f);
    for (std::size_t i = 0; i < ds.size(); ++i) grad.scale[i] += ds[i];
  }
}

template void ttt_mlp_forward_reference(const TttSizes&, const TttPointers<const float>&, float*);
template void ttt_mlp_forward_reference(const TttSizes&, const TttPointers<const double>&, double*);
template void ttt_mlp_backward_reference(const TttSizes&, const TttPointers<const float>&, const float*,
                                         const TttPointers<float>&);
template void ttt_mlp_backward_reference(const TttSizes&, const TttPointers<const double>&, const double*,
                                         const TttPointers<double>&);

}  // namespace ttt::kernels
