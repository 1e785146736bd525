// Decoding, fused: further tokens of one head, from and to any place inside a mini-batch. Names and equations:
// reference/ttt_reference.h. Included by ttt_fused_impl.h.
#pragma once

#include "kernels/cpu/ttt_fused_head.h"

namespace ttt::kernels {
namespace {

class DecodePass {
 public:
  DecodePass(const TttHead& head, Arena& arena)
      : head_(head),
        C(head.mini_batch),
        K(head.head_dim),
        M(head.hidden),
        P((head.mini_batch + 15) / 16 * 16),
        q_(arena.take(C * K)),
        k_(arena.take(C * K)),
        target_(arena.take(C * K)),
        z_(arena.take(C * K)),
        ng_(arena.take(C * K)),
        o_(arena.take(C * K)),
        xh_(arena.take(C * K)),
        r_(arena.take(P)),
        e_(arena.take(P)),
        keys_t_(arena.take((M > K ? M : K) * P)),
        mask_(arena.take(C * P)) {
    if (M == 0) return;
    z1_ = arena.take(C * M);
    t1_ = arena.take(C * M);
    wide_ = arena.take(C * M);
    scratch_ = arena.take(2 * M * (C + 16));
  }

  void run(TttDecodeState state, HeadRows<float> o) {
    for (std::int64_t t = 0; t < head_.time;) {
      const std::int64_t left = head_.time - t, room = C - state.num_open, rows = left < room ? left : room;
      read(t, rows, state);
      M == 0 ? linear(rows, state) : mlp(rows, state);
      for (std::int64_t i = 0; i < rows; ++i) copy_row(o[t + i], o_ + i * K, K);
      t += rows;
      state.num_open += rows;
      if (state.num_open < C) continue;
      update(state);
      state.num_open = 0;
    }
  }

 private:
  static Lanes<float> at(const float* p) { return load<Lanes<float>>(p); }

  void read(std::int64_t t, std::int64_t rows, const TttDecodeState& state) const {
    for (std::int64_t i = 0; i < rows; ++i) {
      copy_row(q_ + i * K, head_.q[t + i], K);
      copy_row(k_ + i * K, head_.k[t + i], K);
      copy_row(state.k + (state.num_open + i) * K, head_.k[t + i], K);
      const float* v = head_.v[t + i];
      for (std::int64_t f = 0; f < K; f += 16) save(target_ + i * K + f, Lanes<float>(at(v + f) - at(k_ + i * K + f)));
      state.sigma[state.num_open + i] = head_.sigma[t + i][0];
    }
  }

  // G = dL/dZ of the new keys;  Zq = Q W + c - N G over the open mini-batch;  O = Q + LN(Zq)
  void linear(std::int64_t rows, const TttDecodeState& s) const {
    product(rows, K, K, {k_, K, 1}, s.w1, K, z_, K);
    inner_gradient_rows(rows, K, z_, s.b1, target_, head_.gain, head_.bias, s.g1 + s.num_open * K, xh_, r_);
    product(rows, K, K, {q_, K, 1}, s.w1, K, z_, K);
    dual(rows, s, q_, s.k, K);
    product(rows, K, s.num_open + rows, {mask_, P, 1}, s.g1, K, ng_, K);
    output_norm_rows(rows, K, z_, s.b1, ng_, q_, head_.gain, head_.bias, o_, xh_, r_);
  }

  void mlp(std::int64_t rows, const TttDecodeState& s) const {
    const std::int64_t open = s.num_open + rows;
    float *x2 = s.x2 + s.num_open * M, *g1 = s.g1 + s.num_open * M, *g2 = s.g2 + s.num_open * K;
    // Z1 = K W1 + c1;  X2 = phi(Z1);  Z2 = X2 W2 + c2;  G2;  G1 = (G2 W2^T) (.) phi'(Z1)
    product(rows, M, K, {k_, K, 1}, s.w1, M, z1_, M);
    gelu_rows(rows, M, M, z1_, s.b1, t1_, x2);
    product(rows, K, M, {x2, M, 1}, s.w2, K, z_, K);
    inner_gradient_rows(rows, K, z_, s.b2, target_, head_.gain, head_.bias, g2, xh_, r_);
    if (rows < 8) {  // fewer products than the tiles of the other way would take
      for (std::int64_t i = 0; i < rows; ++i) {
        for (std::int64_t m = 0; m < M; m += 16) {
          save(wide_ + i * M + m, row_sums(16, K, [&](std::int64_t row, std::int64_t k) TTT_INLINE {
                 return at(s.w2 + (m + row) * K + k) * at(g2 + i * K + k);
               }));
        }
      }
    } else {
      transpose(rows, K, g2, K, keys_t_, (rows + 15) / 16 * 16);
      product_transposed(rows, M, K, keys_t_, s.w2, K, wide_, M, scratch_);
    }
    gelu_first_rows(rows, M, M, wide_, z1_, t1_, g1);
    // Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q);  Z2q = X2q W2 + c2 - N2 G2;  O = Q + LN(Z2q)
    product(rows, M, K, {q_, K, 1}, s.w1, M, z1_, M);
    dual(rows, s, q_, s.k, K);
    product<Store::kSubtract>(rows, M, open, {mask_, P, 1}, s.g1, M, z1_, M);
    gelu_rows(rows, M, M, z1_, s.b1, t1_, wide_);
    product(rows, K, M, {wide_, M, 1}, s.w2, K, z_, K);
    dual(rows, s, wide_, s.x2, M);
    product(rows, K, open, {mask_, P, 1}, s.g2, K, ng_, K);
    output_norm_rows(rows, K, z_, s.b2, ng_, q_, head_.gain, head_.bias, o_, xh_, r_);
  }

  // N_ij = s_i sigma_j (A_ij + 1) for j <= i, else 0, with A = queries keys^T over the open mini-batch. [rows,P]
  void dual(std::int64_t rows, const TttDecodeState& s, const float* queries, const float* keys,
            std::int64_t cols) const {
    const std::int64_t open = s.num_open + rows;
    transpose(open, cols, keys, cols, keys_t_, P);
    product(rows, (open + 15) / 16 * 16, cols, {queries, cols, 1}, keys_t_, P, mask_, P);
    for (std::int64_t i = 0; i < rows; ++i) {
      const std::int64_t last = s.num_open + i;
      float* n = mask_ + i * P;
      for (std::int64_t j = 0; j <= last; ++j) n[j] = head_.scale[last] * s.sigma[j] * (n[j] + 1);
      zero(n + last + 1, P - last - 1);
    }
  }

  // W' = W - X^T (e (.) G);  c' = c - e^T G, in place, for every layer of the inner model.
  void update(const TttDecodeState& s) const {
    for (std::int64_t j = 0; j < C; ++j) e_[j] = head_.scale[C - 1] * s.sigma[j];
    if (M == 0) return step(s.k, K, s.g1, K, ng_, s.w1, s.b1);
    step(s.k, K, s.g1, M, wide_, s.w1, s.b1);
    step(s.x2, M, s.g2, K, ng_, s.w2, s.b2);
  }
  void step(const float* x, std::int64_t in, const float* g, std::int64_t out, float* eg, float* w, float* c) const {
    for (std::int64_t f = 0; f < out; f += 16) {
      Lanes<float> sum = {};
      for (std::int64_t j = 0; j < C; ++j) {
        const Lanes<float> x_j = e_[j] * at(g + j * out + f);
        save(eg + j * out + f, x_j);
        sum += x_j;
      }
      save(c + f, Lanes<float>(at(c + f) - sum));
    }
    product<Store::kSubtract>(in, out, C, {x, 1, in}, eg, out, w, out);
  }

  const TttHead& head_;
  const std::int64_t C, K, M, P;  // P: C rounded up to a vector
  float *q_, *k_, *target_, *z_, *ng_, *o_, *xh_, *r_, *e_, *keys_t_, *mask_;
  float *z1_ = nullptr, *t1_ = nullptr, *wide_ = nullptr, *scratch_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
