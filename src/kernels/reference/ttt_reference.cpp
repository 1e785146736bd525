// The inner loop in plain loops, forward and backward. Equations and notation: ttt_reference.h.
#include "kernels/reference/ttt_reference.h"

#include "kernels/reference/ttt_dual_read.h"

namespace ttt::kernels {
namespace {

// The fast weights of one layer, or their gradients.
template <class T>
struct Layer {
  Matrix<T> w, c;
};

template <class T>
using Layers = std::vector<Layer<T>>;

template <class T>
using Matrices = std::vector<Matrix<T>>;

// What one step's pass of the keys computes, by layer.
template <class T>
struct KeysPass {
  Matrices<T> x, z, g;                  // X_l, Z_l, G_l
  std::vector<DualRead<T>> of_z, of_b;  // the reads that Z_l - c_l and B_l are; B_l of the layers but the last
  InnerGradient<T> inner;               // of Z_L
};

// What the forward pass of one mini-batch computes.
template <class T>
struct Step {
  Layers<T> state;  // that it starts from
  DualRates<T> rates;
  std::vector<KeysPass<T>> keys;  // by gradient step
  Matrices<T> xq, zq;             // by layer: Xq_l, Zq_l
  std::vector<DualRead<T>> of_zq;
  Normalised<T> nq;  // of Zq_L

  // What queries and later keys see of W_l after the first `steps` steps: X_l and G_l.
  DualPairs<const Matrix<T>> pairs(std::size_t l, std::size_t steps) const {
    DualPairs<const Matrix<T>> all;
    for (std::size_t p = 0; p < steps; ++p) all.add(keys[p].x[l], keys[p].g[l]);
    return all;
  }
  // The same of W_l^T: G_l and X_l.
  DualPairs<const Matrix<T>> transposed_pairs(std::size_t l, std::size_t steps) const {
    DualPairs<const Matrix<T>> all;
    for (std::size_t p = 0; p < steps; ++p) all.add(keys[p].g[l], keys[p].x[l]);
    return all;
  }
};

template <class T>
T one_of(const TttUpdate& update) {
  return update.biases ? T(1) : T(0);
}

template <class T>
KeysPass<T> forward_keys(const TttLearner& learner, const TttUpdate& update, const MiniBatch<T>& mb,
                         const Step<T>& step, const Matrix<T>& gain, const Matrix<T>& bias) {
  const std::size_t last = step.state.size() - 1, before = step.keys.size();
  KeysPass<T> pass;
  // Z_l = X_l W_l + c_l - sum_p N_l^p G_l^p;  X_{l+1} = phi(Z_l);  G_L
  for (std::size_t l = 0; l <= last; ++l) {
    pass.x.push_back(l == 0 ? mb.k : map(pass.z.back(), Gelu::value<T>));
    pass.of_z.push_back(dual_read(pass.x[l], step.state[l].w, step.pairs(l, before), one_of<T>(update), step.rates));
    pass.z.push_back(pass.of_z[l].y);
    add_row(pass.z[l], step.state[l].c);
  }
  pass.inner = inner_gradient(learner, pass.z[last], mb.target, gain, bias);
  // B_l = G_{l+1} W_{l+1}^T - ...;  G_l = B_l (.) phi'(Z_l)
  pass.of_b.resize(last), pass.g.resize(last + 1);
  pass.g[last] = pass.inner.g;
  for (std::size_t l = last; l-- > 0;) {
    pass.of_b[l] = dual_read(pass.g[l + 1], transpose(step.state[l + 1].w), step.transposed_pairs(l + 1, before), T(0),
                             step.rates);
    pass.g[l] = hadamard(pass.of_b[l].y, map(pass.z[l], Gelu::first<T>));
  }
  return pass;
}

template <class T>
Step<T> forward_step(const TttLearner& learner, const TttUpdate& update, const MiniBatch<T>& mb,
                     const std::vector<T>& s, const Layers<T>& state, const Matrix<T>& gain, const Matrix<T>& bias) {
  Step<T> step;
  step.state = state;
  step.rates = {s, mb.sigma};
  for (std::int64_t m = 0; m < update.steps; ++m)
    step.keys.push_back(forward_keys(learner, update, mb, step, gain, bias));
  // Zq_l = Xq_l W_l + c_l - sum_p N_l^p G_l^p;  Xq_{l+1} = phi(Zq_l)
  for (std::size_t l = 0; l < state.size(); ++l) {
    step.xq.push_back(l == 0 ? mb.q : map(step.zq.back(), Gelu::value<T>));
    step.of_zq.push_back(
        dual_read(step.xq[l], state[l].w, step.pairs(l, step.keys.size()), one_of<T>(update), step.rates));
    step.zq.push_back(step.of_zq[l].y);
    add_row(step.zq[l], state[l].c);
  }
  if (learner.layer_norm) step.nq = normalise(step.zq.back());
  return step;
}

// W_l' = W_l - sum_p (e (.) X_l^p)^T G_l^p;  c_l' = c_l - sum_p e^T G_l^p
template <class T>
void update_state(const TttUpdate& update, const MiniBatch<T>& mb, const Step<T>& step, Layers<T>& state) {
  for (const KeysPass<T>& pass : step.keys) {
    for (std::size_t l = 0; l < state.size(); ++l) {
      add_product(state[l].w, transpose(scale_rows(mb.e, pass.x[l])), pass.g[l], T(-1));
      if (update.biases) add_column_sums(state[l].c, scale_rows(mb.e, pass.g[l]), T(-1));
    }
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
class HeadBackward {
 public:
  Layers<T> dstate;  // nobody reads the state after the last mini-batch: zeros at first
  Matrix<T> dgain, dbias;
  std::vector<T> ds;

  HeadBackward(const TttSizes& sizes, const TttLearner& learner, const TttUpdate& update,
               const TttPointers<const T>& in, std::int64_t p)
      : dgain(1, sizes.head_dim),
        dbias(1, sizes.head_dim),
        ds(sizes.mini_batch, T(0)),
        learner_(learner),
        update_(update),
        one_(one_of<T>(update)),
        gain_(in.gain + p % sizes.heads * sizes.head_dim, 1, sizes.head_dim) {
    for (const TttLayerPointers<const T>& layer : in.layers)
      dstate.push_back({Matrix<T>(layer.in, layer.out), Matrix<T>(1, layer.out)});
  }

  struct Gradients {
    Matrix<T> dq, dk, dv;
    std::vector<T> dsigma;
  };

  // d_o: of the mini-batch's outputs. dstate: in, of the state after it; out, of the state before.
  Gradients backward(const MiniBatch<T>& mb, const Step<T>& step, const Matrix<T>& d_o) {
    const std::int64_t rows = mb.q.rows, f = d_o.cols;
    Gradients out{d_o, Matrix<T>(rows, f), Matrix<T>(rows, f), {}};
    if (!learner_.residual) out.dq = Matrix<T>(rows, f);
    DualRates<T> drates{std::vector<T>(ds.size(), T(0)), std::vector<T>(rows, T(0))};
    std::vector<KeysGradients> d = backward_update(mb, step, drates);
    backward_queries(step, d_o, d, out.dq, drates);
    for (std::size_t m = step.keys.size(); m-- > 0;) backward_keys(step, m, d, out, drates);
    for (std::size_t i = 0; i < ds.size(); ++i) ds[i] += drates.s[i];
    out.dsigma = std::move(drates.sigma);
    return out;
  }

 private:
  // Of X_l and G_l of one gradient step, by layer.
  struct KeysGradients {
    Matrices<T> dx, dg;
  };

  static DualPairs<Matrix<T>> pairs(std::vector<KeysGradients>& d, std::size_t l, std::size_t steps) {
    DualPairs<Matrix<T>> all;
    for (std::size_t p = 0; p < steps; ++p) all.add(d[p].dx[l], d[p].dg[l]);
    return all;
  }
  static DualPairs<Matrix<T>> transposed_pairs(std::vector<KeysGradients>& d, std::size_t l, std::size_t steps) {
    DualPairs<Matrix<T>> all;
    for (std::size_t p = 0; p < steps; ++p) all.add(d[p].dg[l], d[p].dx[l]);
    return all;
  }

  // R = G dW'^T;  dX = -e (.) R;  dG = -e (.) (X dW' + 1 dc');  de_j = -(X_j . R_j + G_j . dc'), over layers and steps;
  // e_j = s_{b-1} sigma_j
  std::vector<KeysGradients> backward_update(const MiniBatch<T>& mb, const Step<T>& step, DualRates<T>& drates) const {
    std::vector<KeysGradients> d(step.keys.size());
    std::vector<T> minus_e = mb.e;
    for (T& e : minus_e) e = -e;
    for (std::size_t m = 0; m < d.size(); ++m) {
      for (std::size_t l = 0; l < dstate.size(); ++l) {
        const Matrix<T>&x = step.keys[m].x[l], &g = step.keys[m].g[l], r = product(g, transpose(dstate[l].w));
        Matrix<T> x_dw = product(x, dstate[l].w);
        if (update_.biases) add_row(x_dw, dstate[l].c);
        d[m].dx.push_back(scale_rows(minus_e, r));
        d[m].dg.push_back(scale_rows(minus_e, x_dw));
        for (std::int64_t j = 0; j < x.rows; ++j) {
          const T minus_de = dot_rows(x, j, r, j) + one_ * dot_rows(g, j, dstate[l].c, 0);
          drates.sigma[j] -= step.rates.s.back() * minus_de;
          drates.s.back() -= mb.sigma[j] * minus_de;
        }
      }
    }
    return d;
  }

  // Output LN: U_L = dZq_L;  the read of each layer;  U_{l-1} = dXq_l (.) phi'(Zq_{l-1}). Adds to dq.
  void backward_queries(const Step<T>& step, const Matrix<T>& d_o, std::vector<KeysGradients>& d, Matrix<T>& dq,
                        DualRates<T>& drates) {
    const std::size_t steps = step.keys.size();
    Matrix<T> u = learner_.layer_norm ? output_backward(d_o, step.nq, gain_, dgain, dbias) : d_o;
    for (std::size_t l = dstate.size(); l-- > 0;) {
      Matrix<T> dxq(u.rows, step.xq[l].cols);
      add_column_sums(dstate[l].c, u);
      dual_read_backward(u, step.xq[l], step.state[l].w, step.of_zq[l], step.pairs(l, steps), one_, step.rates, dxq,
                         dstate[l].w, pairs(d, l, steps), drates);
      if (l == 0) {
        add(dq, dxq);
      } else {
        u = hadamard(dxq, map(step.zq[l - 1], Gelu::first<T>));
      }
    }
  }

  // Step m of the keys, whose d[m] lacks what its own pass adds alone. Adds to d of the steps before.
  void backward_keys(const Step<T>& step, std::size_t m, std::vector<KeysGradients>& d, Gradients& out,
                     DualRates<T>& drates) {
    const KeysPass<T>& pass = step.keys[m];
    auto& [dx, dg] = d[m];
    const std::size_t last = dstate.size() - 1;
    // Through G_l = B_l (.) phi'(Z_l) from the first layer up: dB_l = dG_l (.) phi'(Z_l);
    // dZ_l = dG_l (.) B_l (.) phi''(Z_l);  the read that B_l is
    Matrices<T> dz(last + 1);
    for (std::size_t l = 0; l < last; ++l) {
      const Matrix<T> db = hadamard(dg[l], map(pass.z[l], Gelu::first<T>));
      dz[l] = hadamard(hadamard(dg[l], pass.of_b[l].y), map(pass.z[l], Gelu::second<T>));
      const Matrix<T> wt = transpose(step.state[l + 1].w);
      Matrix<T> dwt(wt.rows, wt.cols);
      dual_read_backward(db, pass.g[l + 1], wt, pass.of_b[l], step.transposed_pairs(l + 1, m), T(0), step.rates,
                         dg[l + 1], dwt, transposed_pairs(d, l + 1, m), drates);
      add(dstate[l + 1].w, transpose(dwt));
    }
    // LN-L2 on Z_L: dZ_L, dD, and down again through the reads;  dZ_{l-1} += dX_l (.) phi'(Z_{l-1})
    const auto loss = inner_gradient_backward(learner_, dg[last], pass.inner, gain_, dgain, dbias);
    dz[last] = loss.dz;
    for (std::size_t l = last + 1; l-- > 0;) {
      add_column_sums(dstate[l].c, dz[l]);
      dual_read_backward(dz[l], pass.x[l], step.state[l].w, pass.of_z[l], step.pairs(l, m), one_, step.rates, dx[l],
                         dstate[l].w, pairs(d, l, m), drates);
      if (l > 0) add(dz[l - 1], hadamard(dx[l], map(pass.z[l - 1], Gelu::first<T>)));
    }
    // dV = -dD;  dK = dX_1 + dD
    add(out.dk, dx[0]);
    if (learner_.residual) add(out.dk, loss.dd);
    add(out.dv, loss.dd, T(-1));
  }

  const TttLearner& learner_;
  const TttUpdate& update_;
  const T one_;
  const Matrix<T> gain_;
};

}  // namespace

template <class T>
void ttt_forward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in, T* o,
                           const TttUpdate& update) {
  const std::int64_t f = sizes.head_dim;
  const std::vector<T> s(in.scale, in.scale + sizes.mini_batch);
  for (std::int64_t p = 0; p < sizes.batch * sizes.heads; ++p) {
    const std::int64_t h = p % sizes.heads;
    const Matrix<T> gain(in.gain + h * f, 1, f), bias(in.bias + h * f, 1, f);
    Layers<T> state = initial_state(in, h);
    for (std::int64_t m = 0; m < num_mini_batches(sizes); ++m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, learner, in, p, m);
      const Step<T> step = forward_step(learner, update, mb, s, state, gain, bias);
      store(output(learner, mb.q, step.zq.back(), step.nq, gain, bias),
            o + (p * sizes.time + m * sizes.mini_batch) * f);
      update_state(update, mb, step, state);  // a short mini-batch is the last one: nobody reads its update
    }
  }
}

template <class T>
void ttt_backward_reference(const TttSizes& sizes, const TttLearner& learner, const TttPointers<const T>& in,
                            const T* grad_o, const TttPointers<T>& grad, const TttUpdate& update) {
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
      steps.push_back(forward_step(learner, update, mb, s, state, gain, bias));
      update_state(update, mb, steps.back(), state);
    }

    HeadBackward<T> head(sizes, learner, update, in, p);
    for (std::int64_t m = n - 1; m >= 0; --m) {
      const MiniBatch<T> mb = load_mini_batch(sizes, learner, in, p, m);
      const std::int64_t first = p * sizes.time + m * sizes.mini_batch;
      const auto d = head.backward(mb, steps[m], Matrix<T>(grad_o + first * f, mb.q.rows, f));
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

template void ttt_forward_reference(const TttSizes&, const TttLearner&, const TttPointers<const float>&, float*,
                                    const TttUpdate&);
template void ttt_forward_reference(const TttSizes&, const TttLearner&, const TttPointers<const double>&, double*,
                                    const TttUpdate&);
template void ttt_backward_reference(const TttSizes&, const TttLearner&, const TttPointers<const float>&, const float*,
                                     const TttPointers<float>&, const TttUpdate&);
template void ttt_backward_reference(const TttSizes&, const TttLearner&, const TttPointers<const double>&,
                                     const double*, const TttPointers<double>&, const TttUpdate&);

}  // namespace ttt::kernels
