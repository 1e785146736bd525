// The inner loop in plain loops, forward and backward. Equations and notation: ttt_reference.h.
#include "kernels/reference/ttt_reference.h"

#include "kernels/reference/ttt_pieces.h"

namespace ttt::kernels {
namespace {

// The fast weights of one layer, or their gradients.
template <class T>
struct Layer {
  Matrix<T> w, c;
};

template <class T>
using Layers = std::vector<Layer<T>>;

// What the forward pass of one mini-batch computes, by layer.
template <class T>
struct Step {
  Layers<T> state;                // that it starts from
  std::vector<Matrix<T>> x, z;    // X_l, Z_l
  InnerGradient<T> inner;         // of Z_L
  std::vector<Matrix<T>> b, g;    // B_l of the layers but the last; G_l
  std::vector<Matrix<T>> xq, zq;  // Xq_l, Zq_l
  std::vector<Matrix<T>> a, n;    // Xq_l X_l^T; N_l
  Normalised<T> nq;               // of Zq_L
};

template <class T>
Matrix<T> affine(const Matrix<T>& x, const Layer<T>& layer) {
  Matrix<T> z = product(x, layer.w);
  add_row(z, layer.c);
  return z;
}

template <class T>
Step<T> forward_step(const TttLearner& learner, const MiniBatch<T>& mb, const std::vector<T>& s, const Layers<T>& state,
                     const Matrix<T>& gain, const Matrix<T>& bias) {
  const std::size_t last = state.size() - 1;
  Step<T> step;
  step.state = state;
  // Z_l = X_l W_l + c_l;  X_{l+1} = phi(Z_l);  G_L
  for (std::size_t l = 0; l <= last; ++l) {
    step.x.push_back(l == 0 ? mb.k : map(step.z.back(), Gelu::value<T>));
    step.z.push_back(affine(step.x[l], state[l]));
  }
  step.inner = inner_gradient(learner, step.z[last], mb.target, gain, bias);
  // B_l = G_{l+1} W_{l+1}^T;  G_l = B_l (.) phi'(Z_l)
  step.b.resize(last), step.g.resize(last + 1);
  step.g[last] = step.inner.g;
  for (std::size_t l = last; l-- > 0;) {
    step.b[l] = product(step.g[l + 1], transpose(state[l + 1].w));
    step.g[l] = hadamard(step.b[l], map(step.z[l], Gelu::first<T>));
  }
  // N_l = M (.) E (.) (Xq_l X_l^T + 1);  Zq_l = Xq_l W_l + c_l - N_l G_l;  Xq_{l+1} = phi(Zq_l)
  for (std::size_t l = 0; l <= last; ++l) {
    step.xq.push_back(l == 0 ? mb.q : map(step.zq.back(), Gelu::value<T>));
    step.a.push_back(product(step.xq[l], transpose(step.x[l])));
    step.n.push_back(dual_mask(step.a[l], s, mb.sigma));
    step.zq.push_back(affine(step.xq[l], state[l]));
    add_product(step.zq[l], step.n[l], step.g[l], T(-1));
  }
  if (learner.layer_norm) step.nq = normalise(step.zq[last]);
  return step;
}

// W_l' = W_l - (e (.) X_l)^T G_l;  c_l' = c_l - e^T G_l
template <class T>
void update(const MiniBatch<T>& mb, const Step<T>& step, Layers<T>& state) {
  for (std::size_t l = 0; l < state.size(); ++l) {
    add_product(state[l].w, transpose(scale_rows(mb.e, step.x[l])), step.g[l], T(-1));
    add_column_sums(state[l].c, scale_rows(mb.e, step.g[l]), T(-1));
  }
}

template <class T>
Layers<T> initial_state(const TttPointers<const T>& in, std::int64_t h) {
  Layers<T> state;
  for (const TttLayerPointers<const T>& layer : in.layers) {
    state.push_back(
        {{layer.w + h * layer.in * layer.out, layer.in, layer.out}, {layer.b + h * layer.out, 1, layer.out}});
  }
  return state;
}

// The backward pass of one head of one sequence, from its last mini-batch to its first.
template <class T>
struct HeadBackward {
  const TttLearner& learner;
  const std::vector<T> s;
  const Matrix<T> gain;
  Layers<T> dstate;  // nobody reads the state after the last mini-batch: zeros at first
  Matrix<T> dgain, dbias;
  std::vector<T> ds;

  HeadBackward(const TttSizes& sizes, const TttLearner& how, const TttPointers<const T>& in, std::int64_t p)
      : learner(how),
        s(in.scale, in.scale + sizes.mini_batch),
        gain(in.gain + p % sizes.heads * sizes.head_dim, 1, sizes.head_dim),
        dgain(1, sizes.head_dim),
        dbias(1, sizes.head_dim),
        ds(sizes.mini_batch, T(0)) {
    for (const TttLayerPointers<const T>& layer : in.layers)
      dstate.push_back({Matrix<T>(layer.in, layer.out), Matrix<T>(1, layer.out)});
  }

  struct Gradients {
    Matrix<T> dq, dk, dv;
    std::vector<T> dsigma;
  };

  // d_o: of the mini-batch's outputs. dstate: in, of the state after it; out, of the state before.
  Gradients step(const MiniBatch<T>& mb, const Step<T>& step, const Matrix<T>& d_o) {
    const std::size_t last = dstate.size() - 1;
    const std::int64_t rows = mb.q.rows;
    Gradients out{d_o, {}, Matrix<T>(rows, d_o.cols), std::vector<T>(rows, T(0))};
    if (!learner.residual) out.dq = Matrix<T>(rows, d_o.cols);
    std::vector<Matrix<T>> u(last + 1), dx(last + 1), dg(last + 1), r(last + 1);

    // Output LN: U_L = dZq_L
    u[last] = learner.layer_norm ? output_backward(d_o, step.nq, gain, dgain, dbias) : d_o;

    // Dual form of each layer: dA, dE;  dXq = U W^T + dA X;  dX = dA^T Xq - e (.) R,  R = G dW'^T;
    // dG = -N^T U - e (.) (X dW' + 1 dc');  U_{l-1} = dXq (.) phi'(Zq_{l-1})
    for (std::size_t l = last + 1; l-- > 0;) {
      const Matrix<T> da = dual_mask_backward(u[l], step.g[l], step.a[l], s, mb.sigma, out.dsigma, ds);
      Matrix<T> hidden;
      if (l > 0) hidden = Matrix<T>(rows, step.x[l].cols);
      Matrix<T>& dxq = l > 0 ? hidden : out.dq;
      add_product(dxq, u[l], transpose(step.state[l].w));
      add_product(dxq, da, step.x[l]);
      if (l > 0) u[l - 1] = hadamard(dxq, map(step.zq[l - 1], Gelu::first<T>));
      r[l] = product(step.g[l], transpose(dstate[l].w));
      dx[l] = product(transpose(da), step.xq[l]);
      add(dx[l], scale_rows(mb.e, r[l]), T(-1));
      Matrix<T> x_dw = product(step.x[l], dstate[l].w);
      add_row(x_dw, dstate[l].c);
      dg[l] = scale_rows(mb.e, x_dw);
      add_product(dg[l], transpose(step.n[l]), u[l]);
      for (T& value : dg[l].data) value = -value;
    }

    // de_j = -(sum over layers of X_j . R_j + G_j . dc');  e_j = s_{b-1} sigma_j
    for (std::int64_t j = 0; j < rows; ++j) {
      T sum = 0;
      for (std::size_t l = 0; l <= last; ++l) sum += dot_rows(step.x[l], j, r[l], j);
      for (std::size_t l = 0; l <= last; ++l) sum += dot_rows(step.g[l], j, dstate[l].c, 0);
      out.dsigma[j] += s.back() * -sum;
      ds.back() += mb.sigma[j] * -sum;
    }

    // Through G_l = B_l (.) phi'(Z_l), B_l = G_{l+1} W_{l+1}^T, from the first layer up:
    // dB_l = dG_l (.) phi'(Z_l);  dZ_l = dG_l (.) B_l (.) phi''(Z_l);  dG_{l+1} += dB_l W_{l+1}
    std::vector<Matrix<T>> phi(last), db(last), dz(last + 1);
    for (std::size_t l = 0; l < last; ++l) {
      phi[l] = map(step.z[l], Gelu::first<T>);
      db[l] = hadamard(dg[l], phi[l]);
      dz[l] = hadamard(hadamard(dg[l], step.b[l]), map(step.z[l], Gelu::second<T>));
      add_product(dg[l + 1], db[l], step.state[l + 1].w);
    }

    // LN-L2 on Z_L: dZ_L, dD, and down again: dX_l += dZ_l W_l^T;  dZ_{l-1} += dX_l (.) phi'(Z_{l-1})
    const auto loss = inner_gradient_backward(learner, dg[last], step.inner, gain, dgain, dbias);
    dz[last] = loss.dz;
    for (std::size_t l = last; l > 0; --l) {
      add_product(dx[l], dz[l], transpose(step.state[l].w));
      add(dz[l - 1], hadamard(dx[l], phi[l - 1]));
    }
    // dV = -dD;  dK += dD + dZ_1 W_1^T
    out.dk = dx[0];
    if (learner.residual) add(out.dk, loss.dd);
    add_product(out.dk, dz[0], transpose(step.state[0].w));
    add(out.dv, loss.dd, T(-1));

    // dW_l = dW_l' + Xq_l^T U_l + dB_{l-1}^T G_l + X_l^T dZ_l;  dc_l = dc_l' + sum U_l + sum dZ_l
    for (std::size_t l = 0; l <= last; ++l) {
      add_product(dstate[l].w, transpose(step.xq[l]), u[l]);
      if (l > 0) add_product(dstate[l].w, transpose(db[l - 1]), step.g[l]);
      add_product(dstate[l].w, transpose(step.x[l]), dz[l]);
      add_column_sums(dstate[l].c, u[l]);
      add_column_sums(dstate[l].c, dz[l]);
    }
    return out;
  }
};

}  // namespace

template <class T>
void ttt_forward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in, T* o) {
  const std::int64_t f = sizes.head_dim;
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);
    Layers<T> state = initial_state(in, h);
    for (std::int64_t m = 0; m < num_mini_batches(sizes); ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, learner, in, p, m);
      const Step<T> step = forward_step(learner, mb, s, state, gain, bias);
      store(output(learner, mb.q, step.zq.back(), step.nq, gain, bias),
            o + (p * sizes.time + m * sizes.mini_batch) * f);
      update(mb, step, state);  // a short mini-batch is the last one: nobody reads its update
    }
  }
}

template <class T>
void ttt_backward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in,
                            const T* grad_o, const TttPointers<T>& grad) {
  const std::int64_t f = sizes.head_dim, n = num_mini_batches(sizes);
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  std::fill_n(grad.scale, sizes.mini_batch, T(0));
  std::fill_n(grad.gain, sizes.heads * f, T(0));
  std::fill_n(grad.bias, sizes.heads * f, T(0));
  for (const TttLayerPointers<T>& layer : grad.layers) {
    std::fill_n(layer.w, sizes.heads * layer.in * layer.out, T(0));
    std::fill_n(layer.b, sizes.heads * layer.out, T(0));
  }
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);
    std::vector<Step<T>> steps;
    Layers<T> state = initial_state(in, h);
    for (std::int64_t m = 0; m < n; ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, learner, in, p, m);
      steps.push_back(forward_step(learner, mb, s, state, gain, bias));
      update(mb, steps.back(), state);
    }

    HeadBackward<T> head(sizes, learner, in, p);
    for (std::int64_t m = n - 1; m >= 0; --m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, learner, in, p, m);
      const std::int64_t first = p * sizes.time + m * sizes.mini_batch;
      const auto d = head.step(mb, steps[m], Matrix<T>(grad_o + first * f, mb.q.rows, f));
      store(d.dq, grad.q + first * f);
      store(d.dk, grad.k + first * f);
      store(d.dv, grad.v + first * f);
      std::copy(d.dsigma.begin(), d.dsigma.end(), grad.sigma + first);
    }
    for (std::size_t l = 0; l < grad.layers.size(); ++l) {
      const TttLayerPointers<T>& layer = grad.layers[l];
      accumulate(head.dstate[l].w, layer.w + h * layer.in * layer.out);
      accumulate(head.dstate[l].c, layer.b + h * layer.out);
    }
    accumulate(head.dgain, grad.gain + h * f);
    accumulate(head.dbias, grad.bias + h * f);
    for (std::size_t i = 0; i < head.ds.size(); ++i) grad.scale[i] += head.ds[i];
  }
}

template void ttt_forward_reference(const TttSizes&, const TttLearner&, const TttPointers<const float>&, float*);
template void ttt_forward_reference(const TttSizes&, const TttLearner&, const TttPointers<const double>&, double*);
template void ttt_backward_reference(const TttSizes&, const TttLearner&, const TttPointers<const float>&, const float*,
                                     const TttPointers<float>&);
template void ttt_backward_reference(const TttSizes&, const TttLearner&, const TttPointers<const double>&,
                                     const double*, const TttPointers<double>&);

}  // namespace ttt::kernels
