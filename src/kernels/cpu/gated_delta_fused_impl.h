// The passes of gated_delta_fused.h, for the instruction set that the including file is compiled for, which says how
// wide a register is: TTT_REGISTER_BYTES (products_fp32.h).
//
// In the passes' own buffers rows lie 16 values further apart than they are long: at powers of two they would share few
// sets of the first cache.
#pragma once

#include "kernels/cpu/gated_delta_fused.h"
#include "kernels/cpu/gated_delta_registers.h"
#include "kernels/cpu/gated_delta_solve.h"
#include "kernels/cpu/ttt_fused_head.h"
#include "kernels/gated_delta_params.h"

namespace ttt::kernels {
namespace {

class DeltaPass {
 public:
  DeltaPass(const GatedDeltaHead& head, bool backward, Arena& arena)
      : head_(head),
        K(head.key_dim),
        V(head.value_dim),
        Ks(K + 16),
        Vs(V + 16),
        S_(arena.take(K * Vs)),
        q_(arena.take(C * Ks)),
        k_(arena.take(C * Ks)),
        eq_(arena.take(C * Ks)),
        wk_(arena.take(C * Ks)),
        k_t_(arena.take(K * Cs)),
        L_(arena.take(C * Cs)),
        kkL_(arena.take(C * Cs)),
        A_(arena.take(C * Cs)),
        P_(arena.take(C * Cs)),
        D_(arena.take(C * Vs)),
        o_(arena.take(C * Vs)),
        e_(arena.take(C)),
        w_(arena.take(C)),
        beta_(arena.take(C)),
        high_(arena.take(C)),
        low_(arena.take(C)),
        q_factor_(arena.take(C)),
        k_factor_(arena.take(C)) {
    if (!backward) return;
    dS_ = arena.take(K * Vs);
    S_t_ = arena.take(V * Ks);
    D_t_ = arena.take(V * Cs);
    R_ = arena.take(C * Vs);
    bek_ = arena.take(C * Ks);
    dq_ = arena.take(C * Ks);
    dk_ = arena.take(C * Ks);
    x_ = arena.take(C * Ks);
    dP_ = arena.take(C * Cs);
    dA_ = arena.take(C * Cs);
    dbeta_ = arena.take(C);
    dgamma_ = arena.take(C);
  }

  void forward(const GatedDeltaHeadOutputs& out) {
    if (out.state != nullptr && head_.time < kFewTokens) return recurrence(out);
    if (out.state == nullptr) {
      zero(S_, K * Vs);
    } else {
      copy_rows(K, V, out.state, V, S_, Vs);
    }
    const std::int64_t chunks = head_.chunks();
    for (std::int64_t n = 0; n < chunks; ++n) {
      read(n);
      if (out.starts != nullptr) copy_rows(K, V, S_, Vs, out.starts + n * K * V, V);
      masked_products();
      // D = (I + A)^-1 beta (.) (V - e (.) (K S))
      product(rows_, V, K, {k_, Ks, 1}, S_, Vs, D_, Vs);
      for (std::int64_t i = 0; i < rows_; ++i) {
        const float* v_i = i < tokens_ ? head_.v[first_ + i] : nullptr;
        float* const d_i = D_ + i * Vs;
        for (std::int64_t j = 0; j < V; j += kRegister) {
          const Register read_j = e_[i] * values_at(d_i + j);
          save(d_i + j, i < tokens_ ? Register(beta_[i] * (values_at(v_i + j) - read_j)) : Register{});
        }
      }
      solve(A_, Cs, rows_, V, D_, Vs);
      if (out.deltas != nullptr) copy_rows(tokens_, V, D_, Vs, out.deltas + first_ * V, V);
      // O = (e (.) Q) S + P D
      product(rows_, V, K, {eq_, Ks, 1}, S_, Vs, o_, Vs);
      product<Store::kAdd, Terms::kUpToRow>(rows_, V, rows_, {P_, Cs, 1}, D_, Vs, o_, Vs);
      for (std::int64_t i = 0; i < tokens_; ++i) copy_row(out.o[first_ + i], o_ + i * Vs, V);
      if (n + 1 == chunks && out.state == nullptr) break;
      // S = e_C S + (w (.) K)^T D
      scale_state(S_);
      product<Store::kAdd>(K, V, rows_, {wk_, 1, Ks}, D_, Vs, S_, Vs);
    }
    if (out.state != nullptr) copy_rows(K, V, S_, Vs, out.state, V);
  }

  void backward(const GatedDeltaHeadGradients& d) {
    zero(dS_, K * Vs);
    for (std::int64_t n = head_.chunks() - 1; n >= 0; --n) {
      read(n);
      masked_products();
      copy_rows(K, V, d.starts + n * K * V, V, S_, Vs);
      copy_rows(tokens_, V, d.deltas + first_ * V, V, D_, Vs);
      zero(D_ + tokens_ * Vs, (rows_ - tokens_) * Vs);
      float* const d_o = o_;
      for (std::int64_t i = 0; i < tokens_; ++i) copy_row(d_o + i * Vs, d.o[first_ + i], V);
      zero(d_o + tokens_ * Vs, (rows_ - tokens_) * Vs);

      // R = (I + A)^-T (P^T dO + (w (.) K) dS')
      product<Store::kSet, Terms::kFromRow>(rows_, V, rows_, {P_, 1, Cs}, d_o, Vs, R_, Vs);
      product<Store::kAdd>(rows_, V, K, {wk_, Ks, 1}, dS_, Vs, R_, Vs);
      solve_transposed(A_, Cs, rows_, V, R_, Vs);

      // dP = dO D^T and -dA = R D^T, with their masks; what gamma and beta have of them.
      transpose_rows(rows_, V, D_, Vs, D_t_, Cs);
      lower_product(rows_, V, d_o, Vs, D_t_, Cs, dP_, Cs);
      lower_product(rows_, V, R_, Vs, D_t_, Cs, dA_, Cs);
      mask_gradients();

      // Z = D dS'^T: dK = w (.) Z; gamma through w and through e_C
      transpose_rows(K, V, dS_, Vs, S_t_, Ks);
      product(rows_, K, V, {D_, Vs, 1}, S_t_, Ks, x_, Ks);
      const float to_last = scaled_rows(x_, k_, w_, -1, dk_) + e_[tokens_ - 1] * state_product();
      dgamma_[tokens_ - 1] += to_last;
      // X = dO S^T: dQ = e (.) X + (dP (.) L) K
      transpose_rows(K, V, S_, Vs, S_t_, Ks);
      product(rows_, K, V, {d_o, Vs, 1}, S_t_, Ks, x_, Ks);
      scaled_rows(x_, q_, e_, 1, dq_);
      product<Store::kAdd, Terms::kUpToRow>(rows_, K, rows_, {dP_, Cs, 1}, k_, Ks, dq_, Ks);
      // Y = R S^T: dK -= beta e (.) Y; beta and gamma through V - e (.) (K S)
      product(rows_, K, V, {R_, Vs, 1}, S_t_, Ks, x_, Ks);
      subtract_read_keys();
      // dK += (dP (.) L)^T Q + (E + E^T) K
      product<Store::kAdd, Terms::kFromRow>(rows_, K, rows_, {dP_, 1, Cs}, q_, Ks, dk_, Ks);
      product<Store::kAdd, Terms::kUpToRow>(rows_, K, rows_, {dA_, Cs, 1}, k_, Ks, dk_, Ks);
      product<Store::kAdd, Terms::kFromRow>(rows_, K, rows_, {dA_, 1, Cs}, k_, Ks, dk_, Ks);
      // dS = e_C dS' + (e (.) Q)^T dO - (beta e (.) K)^T R
      if (n > 0) {
        scale_state(dS_);
        product<Store::kAdd>(K, V, rows_, {eq_, 1, Ks}, d_o, Vs, dS_, Vs);
        product<Store::kSubtract>(K, V, rows_, {bek_, 1, Ks}, R_, Vs, dS_, Vs);
      }
      store(d);
    }
  }

 private:
  static void copy_rows(std::int64_t rows, std::int64_t cols, const float* in, std::int64_t in_row, float* out,
                        std::int64_t out_row) {
    for (std::int64_t i = 0; i < rows; ++i) copy_row(out + i * out_row, in + i * in_row, cols);
  }

  // A few tokens of decoding, one after the other: two passes over the state each.
  void recurrence(const GatedDeltaHeadOutputs& out) {
    read(0);
    for (std::int64_t t = 0; t < tokens_; ++t) {
      const float *q = q_ + t * Ks, *k = k_ + t * Ks, *v = head_.v[t];
      const float alpha = decay(head_.g[t][0] - Register{})[0];
      float* const o = out.o[t];
      for (std::int64_t j = 0; j < V; j += kRegister) {
        Register read_j = {}, o_j = {};
        for (std::int64_t i = 0; i < K; ++i) read_j += k[i] * values_at(out.state + i * V + j);
        const Register d = beta_[t] * (values_at(v + j) - alpha * read_j);
        for (std::int64_t i = 0; i < K; ++i) {
          const Register s = alpha * values_at(out.state + i * V + j) + k[i] * d;
          save(out.state + i * V + j, s);
          o_j += q[i] * s;
        }
        save(o + j, o_j);
      }
    }
  }

  // Chunk n: normalised rows, those scaled by e and w, and the gates. Rows past its tokens are zero.
  void read(std::int64_t n) {
    first_ = n * C;
    tokens_ = head_.time - first_ < C ? head_.time - first_ : C;
    rows_ = (tokens_ + 15) / 16 * 16;
    double gamma[C], sum = 0;
    for (std::int64_t i = 0; i < rows_; ++i) {
      const bool inside = i < tokens_;
      if (inside) sum += static_cast<double>(head_.g[first_ + i][0]);
      gamma[i] = sum;
      beta_[i] = inside ? head_.beta[first_ + i][0] : 0.0f;
    }
    for (std::int64_t i = 0; i < rows_; ++i) {
      high_[i] = static_cast<float>(gamma[i]);
      low_[i] = static_cast<float>(gamma[i] - static_cast<double>(high_[i]));
      e_[i] = high_[i] + low_[i];
      w_[i] = static_cast<float>(sum - gamma[i]);
    }
    for (std::int64_t i = 0; i < rows_; i += kRegister) {
      save(e_ + i, decay(values_at(e_ + i)));
      save(w_ + i, decay(values_at(w_ + i)));
    }
    const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(K));
    read_rows(head_.q, scale, e_, q_, eq_, q_factor_);
    read_rows(head_.k, 1.0f, w_, k_, wk_, k_factor_);
    transpose_rows(rows_, K, k_, Ks, k_t_, Cs);
  }

  // x_i = scale f_i row_i, f_i = 1 / sqrt(sum row_i^2 + eps), and by_x = by (.) x.
  void read_rows(const HeadRows<const float>& from, float scale, const float* by, float* x, float* by_x,
                 float* factor) const {
    for (std::int64_t first = 0; first < rows_; first += kRegister) {
      const std::int64_t left = tokens_ - first, count = left < kRegister ? left : kRegister;
      const Register squares = sums_of_rows(
          count, K, TTT_CELL {
            const Register x_k = values_at(from[first_ + first + i] + k);
            return x_k * x_k;
          });
      float roots[kRegister];
      for (std::int64_t c = 0; c < kRegister; ++c)
        roots[c] = 1.0f / __builtin_sqrtf(squares[c] + static_cast<float>(kQkNormEps));
      for (std::int64_t c = 0; c < kRegister; ++c) {
        const std::int64_t i = first + c;
        float *x_i = x + i * Ks, *by_x_i = by_x + i * Ks;
        factor[i] = roots[c];
        if (c >= count) {
          zero(x_i, K), zero(by_x_i, K);
          continue;
        }
        const float *row = from[first_ + i], f = scale * roots[c], by_i = by[i];
        for (std::int64_t j = 0; j < K; j += kRegister) {
          const Register x_j = f * values_at(row + j);
          save(x_i + j, x_j);
          save(by_x_i + j, Register(by_i * x_j));
        }
      }
    }
  }

  // body(first row) for blocks of kRegister rows.
  template <class Body>
  TTT_INLINE void for_blocks(const Body& body) const {
    for (std::int64_t first = 0; first < rows_; first += kRegister) body(first);
  }

  static auto below(std::int64_t i, std::int64_t j) {
    static constexpr std::int32_t kLane[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    IntRegister lane;
    std::memcpy(&lane, kLane, sizeof(lane));
    return lane + static_cast<std::int32_t>(j) < static_cast<std::int32_t>(i);
  }
  static auto up_to(std::int64_t i, std::int64_t j) { return below(i + 1, j); }

  // Of row i of a lower matrix: up to the end of the block on the diagonal, all that products with Terms read.
  static std::int64_t lower_columns(std::int64_t i) { return (i / kSolveRows + 1) * kSolveRows; }

  // L, K K^T (.) L strictly lower, A = beta (.) that, P = Q K^T (.) L. Nothing is written beyond lower_columns().
  void masked_products() {
    lower_product(rows_, K, k_, Ks, k_t_, Cs, kkL_, Cs);
    lower_product(rows_, K, q_, Ks, k_t_, Cs, P_, Cs);
    const Register zeros = {};
    for (std::int64_t i = 0; i < rows_; ++i) {
      for (std::int64_t j = 0; j < lower_columns(i); j += kRegister) {
        const std::int64_t at = i * Cs + j;
        const Register difference = (high_[i] - values_at(high_ + j)) + (low_[i] - values_at(low_ + j));
        const Register l = up_to(i, j) ? decay(up_to(i, j) ? difference : zeros) : zeros;
        const Register strict = below(i, j) ? l * values_at(kkL_ + at) : zeros;
        save(L_ + at, l);
        save(kkL_ + at, strict);
        save(A_ + at, Register(beta_[i] * strict));
        save(P_ + at, Register(l * values_at(P_ + at)));
      }
    }
  }

  // dP becomes dP (.) L, dA (which holds R D^T = -dA) becomes E = beta (.) dA (.) L; begins dbeta and dgamma.
  void mask_gradients() {
    const Register zeros = {};
    zero(dgamma_, C);
    for_blocks([&](std::int64_t first) TTT_INLINE {
      Register of_beta[kRegister] = {}, of_gamma[kRegister] = {};
      for (std::int64_t j = 0; j < lower_columns(first); j += kRegister) {
        Register columns = {};
        for (std::int64_t c = 0; c < kRegister; ++c) {
          const std::int64_t i = first + c, at = i * Cs + j;
          const auto strict = below(i, j);
          const Register l = values_at(L_ + at), dp = values_at(dP_ + at), da = -values_at(dA_ + at);
          const Register beta_ij = da * values_at(kkL_ + at);
          const Register gamma_ij = (strict ? dp * values_at(P_ + at) : zeros) + beta_[i] * beta_ij;
          of_beta[c] += beta_ij;
          of_gamma[c] += gamma_ij;
          columns += gamma_ij;
          save(dP_ + at, Register(dp * l));
          save(dA_ + at, strict ? Register(beta_[i] * l * da) : zeros);
        }
        save(dgamma_ + j, Register(values_at(dgamma_ + j) - columns));
      }
      save(dbeta_ + first, register_sums(of_beta));
      save(dgamma_ + first, Register(values_at(dgamma_ + first) + register_sums(of_gamma)));
    });
  }

  // out_i = by_i x_i;  h_i = by_i x_i . y_i is added to dgamma, times sign. Returns the sum of all h.
  float scaled_rows(const float* x, const float* y, const float* by, float sign, float* out) {
    Register all = {};
    for_blocks([&](std::int64_t first) TTT_INLINE {
      const Register h = values_at(by + first) * sums_of_rows(
                                                     kRegister, K, TTT_CELL {
                                                       const std::int64_t at = (first + i) * Ks + k;
                                                       const Register x_k = values_at(x + at);
                                                       save(out + at, Register(by[first + i] * x_k));
                                                       return x_k * values_at(y + at);
                                                     });
      save(dgamma_ + first, Register(values_at(dgamma_ + first) + sign * h));
      all += h;
    });
    return register_sum(all);
  }

  // With x = Y: dK -= beta e (.) Y;  dbeta_i += R_i . V_i - e_i Y_i . K_i;  dgamma_i -= beta_i e_i Y_i . K_i; and
  // beta e (.) K.
  void subtract_read_keys() {
    for_blocks([&](std::int64_t first) TTT_INLINE {
      const Register read_keys = values_at(e_ + first) * sums_of_rows(
                                                             kRegister, K, TTT_CELL {
                                                               const std::int64_t at = (first + i) * Ks + k;
                                                               const float be = beta_[first + i] * e_[first + i];
                                                               const Register y_k = values_at(x_ + at),
                                                                              k_k = values_at(k_ + at);
                                                               save(dk_ + at, Register(values_at(dk_ + at) - be * y_k));
                                                               save(bek_ + at, Register(be * k_k));
                                                               return y_k * k_k;
                                                             });
      const std::int64_t left = tokens_ - first, inside = left < kRegister ? left : kRegister;
      const Register values = sums_of_rows(
          inside, V,
          TTT_CELL { return values_at(R_ + (first + i) * Vs + k) * values_at(head_.v[first_ + first + i] + k); });
      save(dbeta_ + first, Register(values_at(dbeta_ + first) + values - read_keys));
      save(dgamma_ + first, Register(values_at(dgamma_ + first) - values_at(beta_ + first) * read_keys));
    });
  }

  // <S, dS'>
  float state_product() const {
    Register sum = {};
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = 0; j < V; j += kRegister) sum += values_at(S_ + i * Vs + j) * values_at(dS_ + i * Vs + j);
    }
    return register_sum(sum);
  }

  void scale_state(float* state) const {
    const float last = e_[tokens_ - 1];
    for (std::int64_t i = 0; i < K; ++i) {
      for (std::int64_t j = 0; j < V; j += kRegister)
        save(state + i * Vs + j, Register(last * values_at(state + i * Vs + j)));
    }
  }

  // dx = scale f (d - u (u . d)), u = f row = x / scale, the row's unit vector.
  void store_rows(const float* x, const float* factor, float scale, const float* d, const HeadRows<float>& to) const {
    for_blocks([&](std::int64_t first) TTT_INLINE {
      const Register along = sums_of_rows(
          kRegister, K, TTT_CELL { return values_at(x + (first + i) * Ks + k) * values_at(d + (first + i) * Ks + k); });
      for (std::int64_t c = 0; c < kRegister && first + c < tokens_; ++c) {
        const std::int64_t i = first + c;
        const float by = scale * factor[i], unit = along[c] / (scale * scale);
        for (std::int64_t j = 0; j < K; j += kRegister)
          save(to[first_ + i] + j, Register(by * (values_at(d + i * Ks + j) - unit * values_at(x + i * Ks + j))));
      }
    });
  }

  void store(const GatedDeltaHeadGradients& d) const {
    store_rows(q_, q_factor_, 1.0f / __builtin_sqrtf(static_cast<float>(K)), dq_, d.dq);
    store_rows(k_, k_factor_, 1.0f, dk_, d.dk);
    for (std::int64_t i = 0; i < tokens_; ++i) {
      float* const dv_i = d.dv[first_ + i];
      for (std::int64_t j = 0; j < V; j += kRegister) save(dv_i + j, Register(beta_[i] * values_at(R_ + i * Vs + j)));
      d.dbeta[first_ + i] = dbeta_[i];
    }
    float sum = 0;
    for (std::int64_t i = tokens_ - 1; i >= 0; --i) d.dg[first_ + i] = sum += dgamma_[i];
  }

  static constexpr std::int64_t C = kDeltaChunk, Cs = C + 16, kFewTokens = 8;
  const GatedDeltaHead& head_;
  const std::int64_t K, V, Ks, Vs;                  // Ks, Vs, Cs: from row to row
  std::int64_t first_ = 0, tokens_ = 0, rows_ = 0;  // of the chunk at hand; rows: tokens rounded up to 16
  float* S_;                                        // [K,V]
  float *q_, *k_;                                   // normalised [C,K]; q has the factor 1 / sqrt(K)
  float *eq_, *wk_;                                 // e (.) q, w (.) k
  float* k_t_;                                      // [K,C]
  float *L_, *kkL_, *A_, *P_;                       // [C,C], see masked_products()
  float *D_, *o_;                                   // [C,V]; o_ holds dO in the backward pass
  float *e_, *w_, *beta_;                           // [C]: exp(Gamma_i), exp(Gamma_C - Gamma_i)
  float *high_, *low_;                              // [C]: Gamma in two parts
  float *q_factor_, *k_factor_;                     // [C]: 1 / sqrt(sum x^2 + eps)
  // Of the backward pass.
  float* dS_ = nullptr;                                                  // [K,V]
  float *S_t_ = nullptr, *D_t_ = nullptr;                                // [V,K] of S and dS', [V,C]
  float* R_ = nullptr;                                                   // [C,V]
  float *bek_ = nullptr, *dq_ = nullptr, *dk_ = nullptr, *x_ = nullptr;  // [C,K]; x: X, Y, Z
  float *dP_ = nullptr, *dA_ = nullptr;                                  // [C,C]
  float *dbeta_ = nullptr, *dgamma_ = nullptr;                           // [C]
};

std::int64_t delta_workspace(const GatedDeltaHead& head, bool backward) {
  Arena arena(nullptr);
  DeltaPass(head, backward, arena);
  return arena.used();
}

void delta_forward(const GatedDeltaHead& head, const GatedDeltaHeadOutputs& out, float* workspace) {
  Arena arena(workspace);
  [[maybe_unused]] const FlushSubnormals flush;
  DeltaPass(head, /*backward=*/false, arena).forward(out);
}

void delta_backward(const GatedDeltaHead& head, const GatedDeltaHeadGradients& gradients, float* workspace) {
  Arena arena(workspace);
  [[maybe_unused]] const FlushSubnormals flush;
  DeltaPass(head, /*backward=*/true, arena).backward(gradients);
}

// A row of fused_gated_delta().
constexpr FusedGatedDelta delta_row(const char* name, bool (*supported)()) {
  return {name, supported, delta_workspace, delta_forward, delta_backward};
}

}  // namespace
}  // namespace ttt::kernels
