// What the fused passes of TTT-Linear and TTT-MLP share: the buffers of a segment's mini-batches, loading them, the
// dual form's masks, products with transposed matrices. Included by ttt_fused_impl.h.
#pragma once

#if defined(TTT_BF16_PRODUCTS)
#include "kernels/cpu/products_bf16.h"
#else
#include "kernels/cpu/products_fp32.h"
#endif
#include "kernels/cpu/ttt_fused.h"
#include "kernels/cpu/ttt_fused_norms.h"

namespace ttt::kernels {
namespace {

// Hands out a workspace, or counts what it must hold (base null).
class Arena {
 public:
  explicit Arena(float* base) : base_(base) {}
  float* take(std::int64_t floats) {
    float* const p = base_ == nullptr ? nullptr : base_ + used_;
    used_ += (floats + 15) / 16 * 16;
    return p;
  }
  std::int64_t used() const { return used_; }

 private:
  float* base_;
  std::int64_t used_ = 0;
};

// A buffer for every mini-batch of a segment.
struct PerStep {
  float* data = nullptr;
  std::int64_t stride = 0;
  float* operator[](std::int64_t i) const { return data + i * stride; }
};

inline void copy(float* out, const float* in, std::int64_t n) {
  __builtin_memcpy(out, in, static_cast<std::size_t>(n) * sizeof(float));
}
// A row of a multiple of 16 values.
TTT_INLINE inline void copy_row(float* out, const float* in, std::int64_t n) {
  for (std::int64_t f = 0; f < n; f += 16) save(out + f, load<Lanes<float>>(in + f));
}
inline void zero(float* out, std::int64_t n) {
  __builtin_memset(out, 0, static_cast<std::size_t>(n) * sizeof(float));
}
class HeadPass {
 public:
  // A backward pass keeps the buffers of a segment's mini-batches at a time, a forward pass those of one.
  HeadPass(const TttHead& head, bool backward, Arena& arena)
      : head_(head),
        kept_(backward ? head.segment : 1),
        C(head.mini_batch),
        K(head.head_dim),
        P((head.mini_batch + 15) / 16 * 16),
        qk(steps(kept_, 2 * C * K, arena)),
        target(steps(kept_, C * K, arena)),
        sigma(steps(kept_, P, arena)),
        e(steps(kept_, P, arena)),
        a(steps(kept_, C * P, arena)),
        mask(steps(kept_, C * P, arena)),
        w_(steps(kept_, head.state_size(), arena)),
        o(arena.take(C * K)) {
    if (!backward) return;
    grad_o_ = arena.take(C * K);
    da_ = arena.take(C * P);
    dd_ = arena.take(C * K);
    x_ = arena.take(2 * C * K);
    dqk_ = arena.take(2 * C * K);
    dsigma_ = arena.take(P);
    de_ = arena.take(P);
  }

 protected:
  static PerStep steps(std::int64_t kept, std::int64_t size, Arena& arena) {
    const std::int64_t stride = (size + 15) / 16 * 16;
    return {arena.take(kept * stride), stride};
  }

  float* q(std::int64_t i) const { return qk[i]; }
  float* k(std::int64_t i) const { return qk[i] + C * K; }
  std::int64_t first_token(std::int64_t mini_batch) const { return mini_batch * C; }
  std::int64_t tokens(std::int64_t mini_batch) const {
    const std::int64_t left = head_.time - mini_batch * C;
    return left < C ? left : C;
  }

  // The inputs of a mini-batch; rows past the sequence's end are zero.
  void read(std::int64_t i, std::int64_t mini_batch) const {
    const std::int64_t first = first_token(mini_batch), count = tokens(mini_batch);
    float *q_i = q(i), *k_i = k(i), *target_i = target[i];
    for (std::int64_t c = 0; c < count; ++c) {
      copy_row(q_i + c * K, head_.q[first + c], K);
      copy_row(k_i + c * K, head_.k[first + c], K);
      const float *v_c = head_.v[first + c], *k_c = k_i + c * K;
      float* target_c = target_i + c * K;
      for (std::int64_t f = 0; f < K; f += 16)
        save(target_c + f, Lanes<float>(load_lanes(v_c + f) - load_lanes(k_c + f)));
      sigma[i][c] = head_.sigma[first + c][0];
    }
    const std::int64_t padding = (C - count) * K;
    zero(q_i + count * K, padding), zero(k_i + count * K, padding), zero(target_i + count * K, padding);
    zero(sigma[i] + count, P - count);
    for (std::int64_t c = 0; c < P; ++c) e[i][c] = head_.scale[C - 1] * sigma[i][c];
  }

  void store(const float* from, std::int64_t mini_batch, HeadRows<float> to) const {
    const std::int64_t first = first_token(mini_batch), count = tokens(mini_batch);
    for (std::int64_t c = 0; c < count; ++c) copy_row(to[first + c], from + c * K, K);
  }

  // Keeps the fast weights for the backward pass where mini-batch n begins a segment.
  void keep_start(const TttHeadOutputs& result, std::int64_t n) const {
    if (result.starts == nullptr || n % head_.segment != 0) return;
    copy(result.starts + n / head_.segment * head_.state_size(), w_[0], head_.state_size());
  }

  // Segments from the last to the first: forward_again(i, n) and update(i, n, w) for the segment's mini-batches n,
  // whose buffers are the i-th ones, w being the weights that the update changes in place; then step_backward(i, n)
  // from the last of them to the first.
  template <class ForwardAgain, class Update, class StepBackward>
  void backward_segments(const TttHeadGradients& d, const ForwardAgain& forward_again, const Update& update,
                         const StepBackward& step_backward) const {
    zero(d.dstate, head_.state_size());
    zero(d.dscale, C), zero(d.dgain, K), zero(d.dbias, K);
    for (std::int64_t segment = head_.segments() - 1; segment >= 0; --segment) {
      const std::int64_t first = segment * head_.segment, left = head_.mini_batches() - first,
                         count = left < head_.segment ? left : head_.segment;
      copy(w_[0], d.starts + segment * head_.state_size(), head_.state_size());
      for (std::int64_t i = 0; i < count; ++i) {
        read(i, first + i);
        forward_again(i, first + i);
        if (i + 1 == count) break;
        copy(w_[i + 1], w_[i], head_.state_size());
        update(i, first + i, w_[i + 1]);
      }
      for (std::int64_t i = count - 1; i >= 0; --i) step_backward(i, first + i);
    }
  }

  // dO of mini-batch n into grad_o_; dsigma_ and de_ to zero.
  void begin_backward(std::int64_t n, const TttHeadGradients& d) const {
    const std::int64_t first = first_token(n), count = tokens(n);
    for (std::int64_t c = 0; c < count; ++c) copy_row(grad_o_ + c * K, d.o[first + c], K);
    zero(grad_o_ + count * K, (C - count) * K);
    zero(dsigma_, P), zero(de_, P);
  }

  // The gradients of mini-batch n's inputs: [dQ; dK] += x_;  dK += dD;  dV = -dD
  void store_input_gradients(std::int64_t n, const TttHeadGradients& d) const {
    float *dq = dqk_, *dk = dqk_ + C * K;
    for (std::int64_t f = 0; f < C * K; f += 16) {
      const Lanes<float> dd_f = load_lanes(dd_ + f);
      save(dq + f, Lanes<float>(load_lanes(dq + f) + load_lanes(x_ + f)));
      save(dk + f, Lanes<float>(load_lanes(dk + f) + load_lanes(x_ + C * K + f) + dd_f));
      save(dd_ + f, Lanes<float>(-dd_f));
    }
    store(dq, n, d.dq);
    store(dk, n, d.dk);
    store(dd_, n, d.dv);
    copy(d.dsigma + first_token(n), dsigma_, tokens(n));
  }

  static Lanes<float> load_lanes(const float* p) { return load<Lanes<float>>(p); }

  // 1 in the lanes of columns [j, j + 16) that are at most i, else 0.
  static auto up_to(std::int64_t i, std::int64_t j) {
    const IntLanes lane = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return lane + static_cast<std::int32_t>(j) <= static_cast<std::int32_t>(i);
  }

  // N = M (.) E (.) (A + 1) with A = x y^T. x [C,cols]; y_t [cols,P], transposed; A and N [C,P].
  void dual_mask(std::int64_t i, const float* x, const float* y_t, std::int64_t cols, std::int64_t step, float* a_i,
                 float* mask_i) const {
    product(C, P, cols, {x, step, 1}, y_t, P, a_i, P);
    const Lanes<float> zeros = {};
    for (std::int64_t row = 0; row < C; ++row) {
      for (std::int64_t j = 0; j < P; j += 16) {
        const Lanes<float> n = head_.scale[row] * load_lanes(sigma[i] + j) * (load_lanes(a_i + row * P + j) + 1.0f);
        save(mask_i + row * P + j, Lanes<float>(up_to(row, j) ? n : zeros));
      }
    }
  }

  // da = dA = -E (.) M (.) (u g^T) and the rates' part of the gradient through E, dE = -(A + 1) (.) M (.) (u g^T).
  // u [C,cols]; g_t [cols,P]; dsigma [P], dscale [C] accumulated.
  void dual_mask_backward(std::int64_t i, const float* u, const float* g_t, std::int64_t cols, std::int64_t step,
                          const float* a_i, float* da, float* dsigma, float* dscale) const {
    product(C, P, cols, {u, step, 1}, g_t, P, da, P);
    const Lanes<float> zeros = {};
    row_blocks(C, [&](std::int64_t first, std::int64_t count) {
      Lanes<float> de_sigma[16] = {};
      for (std::int64_t j = 0; j < P; j += 16) {
        const Lanes<float> sg = load_lanes(sigma[i] + j);
        Lanes<float> dsigma_j = load_lanes(dsigma + j);
        for (std::int64_t c = 0; c < count; ++c) {
          const std::int64_t row = first + c;
          const float s = head_.scale[row];
          const Lanes<float> x = load_lanes(da + row * P + j);
          const Lanes<float> dn = up_to(row, j) ? -x : zeros, de = (load_lanes(a_i + row * P + j) + 1.0f) * dn;
          save(da + row * P + j, Lanes<float>(s * sg * dn));
          dsigma_j += s * de;
          de_sigma[c] += de * sg;
        }
        save(dsigma + j, dsigma_j);
      }
      const SixteenRows sums = by_row(sums_of(de_sigma));
      for (std::int64_t c = 0; c < count; ++c) dscale[first + c] += sums[c];
    });
  }

  // e (.) x, row by row. [C,cols]; here and below, the rows of x, y and out lie `step` apart.
  void scale_rows_by_e(std::int64_t i, const float* x, std::int64_t cols, std::int64_t step, float* out) const {
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t f = 0; f < cols; f += 16)
        save(out + c * step + f, Lanes<float>(e[i][c] * load_lanes(x + c * step + f)));
    }
  }

  // x -= e (.) (y + 1 row^T); row may be null. [C,cols], [cols]
  void subtract_scaled(std::int64_t i, const float* y, const float* row, std::int64_t cols, std::int64_t step,
                       float* x) const {
    for (std::int64_t c = 0; c < C; ++c) {
      for (std::int64_t f = 0; f < cols; f += 16) {
        Lanes<float> sum = load_lanes(y + c * step + f);
        if (row != nullptr) sum += load_lanes(row + f);
        save(x + c * step + f, Lanes<float>(load_lanes(x + c * step + f) - e[i][c] * sum));
      }
    }
  }

  // out (+)= sign * the sum of x's rows. x [count,cols]
  static void add_rows(const float* x, std::int64_t count, std::int64_t cols, std::int64_t step, float sign,
                       float* out) {
    for (std::int64_t f = 0; f < cols; f += 16) {
      Lanes<float> sum = {};
      for (std::int64_t c = 0; c < count; ++c) sum += load_lanes(x + c * step + f);
      save(out + f, Lanes<float>(load_lanes(out + f) + sign * sum));
    }
  }

  // de_c -= x_c . y_c [C,cols], or x_c . y of one row (y_row 0). de [P].
  void subtract_dots(const float* x, const float* y, std::int64_t y_row, std::int64_t cols, std::int64_t step,
                     float* de) const {
    row_blocks(C, [&](std::int64_t first, std::int64_t count) {
      const float *x_first = x + first * step, *y_first = y + first * y_row;
      const Lanes<float> dots = row_sums(
          count, cols, TTT_CELL { return load_lanes(x_first + i * step + k) * load_lanes(y_first + i * y_row + k); });
      save(de + first, Lanes<float>(load_lanes(de + first) - dots));
    });
  }

  // Rates through e = s_last sigma: dsigma += s_last de, dscale[last] += sum sigma de.
  void rate_backward(std::int64_t i, const float* de, float* dsigma, float* dscale) const {
    for (std::int64_t c = 0; c < C; ++c) {
      dsigma[c] += head_.scale[C - 1] * de[c];
      dscale[C - 1] += sigma[i][c] * de[c];
    }
  }

  const TttHead& head_;
  const std::int64_t kept_;    // mini-batches whose buffers are kept at a time
  const std::int64_t C, K, P;  // P: C rounded up to a vector
  PerStep qk;                  // rows of Q, then of K
  PerStep target;              // V - K
  PerStep sigma, e;            // [P], zeros behind the C values
  PerStep a, mask;             // Q K^T [C,P] and N
  PerStep w_;                  // the fast weights: w1, b1, w2, b2, see TttHead::state_size()
  float* o;                    // [C,K]
  // Of one mini-batch's backward pass: dO, dA, dD [C,K]; [U; dZ] W^T and [dQ; dK] [2C,K]; [P].
  float *grad_o_ = nullptr, *da_ = nullptr, *dd_ = nullptr, *x_ = nullptr, *dqk_ = nullptr, *dsigma_ = nullptr,
        *de_ = nullptr;
};

}  // namespace
}  // namespace ttt::kernels
