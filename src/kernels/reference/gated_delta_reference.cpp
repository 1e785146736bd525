#include "kernels/reference/gated_delta_reference.h"

#include <cmath>
#include <vector>

namespace ttt::kernels {
namespace {

template <class T>
T dot(std::int64_t n, const T* x, const T* y) {
  T sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i] * y[i];
  return sum;
}

// unit = x / sqrt(sum x^2 + eps); returns the factor.
template <class T>
T normalise(std::int64_t n, const T* x, T* unit) {
  const T factor = 1 / std::sqrt(dot(n, x, x) + static_cast<T>(kQkNormEps));
  for (std::int64_t i = 0; i < n; ++i) unit[i] = factor * x[i];
  return factor;
}

// dx of that, from d = the gradient of scale * unit.
template <class T>
void normalise_backward(std::int64_t n, const T* unit, T factor, T scale, const T* d, T* dx) {
  const T along = dot(n, unit, d);
  for (std::int64_t i = 0; i < n; ++i) dx[i] = scale * factor * (d[i] - along * unit[i]);
}

// One head of one sequence: its tensors begin at these places.
template <class T>
GatedDeltaPointers<T> of_head(const GatedDeltaSizes& s, const GatedDeltaPointers<T>& all, std::int64_t p) {
  const std::int64_t rows = p * s.time;
  return {all.q + rows * s.key_dim, all.k + rows * s.key_dim, all.v + rows * s.value_dim, all.g + rows,
          all.beta + rows};
}

// Row t with its normalised vectors.
template <class T>
struct Token {
  std::vector<T> q, k;  // of length 1; the op's q has a factor 1/sqrt(K) beside
  T q_factor = 0, k_factor = 0;

  Token(const GatedDeltaSizes& s, const GatedDeltaPointers<const T>& in, std::int64_t t)
      : q(static_cast<std::size_t>(s.key_dim)), k(static_cast<std::size_t>(s.key_dim)) {
    q_factor = normalise(s.key_dim, in.q + t * s.key_dim, q.data());
    k_factor = normalise(s.key_dim, in.k + t * s.key_dim, k.data());
  }
};

// S [K,V] becomes S_t; d [V] the row that is written, error [V] = v - D^T k.
template <class T>
void step(const GatedDeltaSizes& s, const GatedDeltaPointers<const T>& in, const Token<T>& token, std::int64_t t, T* S,
          T* error, T* d) {
  const std::int64_t K = s.key_dim, V = s.value_dim;
  const T alpha = std::exp(in.g[t]);
  for (std::int64_t i = 0; i < K * V; ++i) S[i] *= alpha;
  for (std::int64_t j = 0; j < V; ++j) error[j] = in.v[t * V + j];
  for (std::int64_t i = 0; i < K; ++i)
    for (std::int64_t j = 0; j < V; ++j) error[j] -= token.k[i] * S[i * V + j];
  for (std::int64_t j = 0; j < V; ++j) d[j] = in.beta[t] * error[j];
  for (std::int64_t i = 0; i < K; ++i)
    for (std::int64_t j = 0; j < V; ++j) S[i * V + j] += token.k[i] * d[j];
}

}  // namespace

template <class T>
void gated_delta_forward_reference(const GatedDeltaSizes& s, const GatedDeltaPointers<const T>& in, T* state, T* o) {
  const std::int64_t K = s.key_dim, V = s.value_dim;
  const T scale = 1 / std::sqrt(static_cast<T>(K));
  std::vector<T> own(state == nullptr ? K * V : 0), error(V), d(V);
  for (std::int64_t p = 0; p < s.batch * s.heads; ++p) {
    const GatedDeltaPointers<const T> head = of_head(s, in, p);
    if (state == nullptr) own.assign(K * V, T(0));
    T* const S = state == nullptr ? own.data() : state + p * K * V;
    for (std::int64_t t = 0; t < s.time; ++t) {
      const Token<T> token(s, head, t);
      step(s, head, token, t, S, error.data(), d.data());
      T* const o_t = o + (p * s.time + t) * V;
      for (std::int64_t j = 0; j < V; ++j) o_t[j] = 0;
      for (std::int64_t i = 0; i < K; ++i)
        for (std::int64_t j = 0; j < V; ++j) o_t[j] += scale * token.q[i] * S[i * V + j];
    }
  }
}

template <class T>
void gated_delta_backward_reference(const GatedDeltaSizes& s, const GatedDeltaPointers<const T>& in, const T* grad_o,
                                    const GatedDeltaPointers<T>& grad) {
  const std::int64_t K = s.key_dim, V = s.value_dim, time = s.time;
  const T scale = 1 / std::sqrt(static_cast<T>(K));
  std::vector<T> states((time + 1) * K * V), errors(time * V), ds(time * V);  // states[t] = S_t, from S_0 = 0
  std::vector<T> dS(K * V), dq(K), dk(K), dd(V);
  for (std::int64_t p = 0; p < s.batch * s.heads; ++p) {
    const GatedDeltaPointers<const T> head = of_head(s, in, p);
    const GatedDeltaPointers<T> out = of_head(s, grad, p);
    for (std::int64_t t = 0; t < time; ++t) {
      T* const S = states.data() + (t + 1) * K * V;
      for (std::int64_t i = 0; i < K * V; ++i) S[i] = S[i - K * V];
      step(s, head, Token<T>(s, head, t), t, S, errors.data() + t * V, ds.data() + t * V);
    }
    dS.assign(K * V, T(0));
    for (std::int64_t t = time - 1; t >= 0; --t) {
      const Token<T> token(s, head, t);
      const T *S = states.data() + (t + 1) * K * V, *before = S - K * V, *d_o = grad_o + (p * time + t) * V;
      const T *error = errors.data() + t * V, *d = ds.data() + t * V;
      const T alpha = std::exp(head.g[t]), beta = head.beta[t];
      for (std::int64_t i = 0; i < K; ++i) {
        for (std::int64_t j = 0; j < V; ++j) dS[i * V + j] += scale * token.q[i] * d_o[j];
        dq[i] = dot(V, S + i * V, d_o);
        dk[i] = dot(V, dS.data() + i * V, d);
      }
      for (std::int64_t j = 0; j < V; ++j) {
        dd[j] = 0;
        for (std::int64_t i = 0; i < K; ++i) dd[j] += dS[i * V + j] * token.k[i];
        out.v[t * V + j] = beta * dd[j];
      }
      out.beta[t] = dot(V, dd.data(), error);
      T dalpha = 0;
      for (std::int64_t i = 0; i < K; ++i) {
        dk[i] -= beta * alpha * dot(V, before + i * V, dd.data());
        for (std::int64_t j = 0; j < V; ++j) {
          const T dD = dS[i * V + j] - beta * token.k[i] * dd[j];
          dalpha += before[i * V + j] * dD;
          dS[i * V + j] = alpha * dD;
        }
      }
      out.g[t] = alpha * dalpha;
      normalise_backward(K, token.q.data(), token.q_factor, scale, dq.data(), out.q + t * K);
      normalise_backward(K, token.k.data(), token.k_factor, T(1), dk.data(), out.k + t * K);
    }
  }
}

template void gated_delta_forward_reference<float>(const GatedDeltaSizes&, const GatedDeltaPointers<const float>&,
                                                   float*, float*);
template void gated_delta_forward_reference<double>(const GatedDeltaSizes&, const GatedDeltaPointers<const double>&,
                                                    double*, double*);
template void gated_delta_backward_reference<float>(const GatedDeltaSizes&, const GatedDeltaPointers<const float>&,
                                                    const float*, const GatedDeltaPointers<float>&);
template void gated_delta_backward_reference<double>(const GatedDeltaSizes&, const GatedDeltaPointers<const double>&,
                                                     const double*, const GatedDeltaPointers<double>&);

}  // namespace ttt::kernels
