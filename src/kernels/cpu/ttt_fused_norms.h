// The inner LayerNorms and GELU of the fused passes, sixteen rows at a time: every step of a row's chain (mean,
// variance, the projections' means) is done for sixteen rows before the next, and their sums are reduced together.
// Equations: reference/ttt_reference.h and ttt_pieces.h. Included by ttt_fused_head.h.
//
// Shapes: C rows of K columns, K a multiple of 16.
#pragma once

#include "kernels/cpu/lanes_math.h"
#include "kernels/cpu/products.h"
#include "kernels/ttt_params.h"

namespace ttt::kernels {
namespace {

constexpr double kGeluK = 0.7978845608028653558798921198687;  // sqrt(2/pi)
constexpr double kGeluA = 0.044715;

// Sixteen values, one for each row of a block.
struct alignas(64) SixteenRows {
  float values[16];
  float operator[](std::int64_t row) const { return values[row]; }
};

TTT_INLINE inline Lanes<float> lanes_at(const float* p) {
  return load<Lanes<float>>(p);
}

TTT_INLINE inline Lanes<float> add_halves(Lanes<float> x, Lanes<float> y) {
  return interleave_low(x, y) + interleave_high(x, y);
}

// The sum of each of sixteen vectors' values.
TTT_INLINE inline Lanes<float> sums_of(const Lanes<float> (&x)[16]) {
  Lanes<float> y[8], z[4];
#pragma GCC unroll 8
  for (int i = 0; i < 8; ++i) y[i] = add_halves(x[i], x[i + 8]);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) z[i] = add_halves(y[i], y[i + 4]);
  return add_halves(add_halves(z[0], z[2]), add_halves(z[1], z[3]));
}

// body(row, column) adds up a row's terms: the sums of `rows` (at most 16) rows, zero for the others.
template <class Body>
TTT_INLINE inline Lanes<float> row_sums(std::int64_t rows, std::int64_t cols, const Body& body) {
  Lanes<float> sums[16];
  for (std::int64_t i = 0; i < 16; ++i) {
    Lanes<float> sum = {};
    if (i < rows) {
      for (std::int64_t k = 0; k < cols; k += 16) sum += body(i, k);
    }
    sums[i] = sum;
  }
  return sums_of(sums);
}

TTT_INLINE inline SixteenRows by_row(Lanes<float> x) {
  SixteenRows rows;
  save(rows.values, x);
  return rows;
}

// 1 / sqrt(x), of sixteen rows
TTT_INLINE inline SixteenRows reciprocal_roots(Lanes<float> x) {
  SixteenRows roots = by_row(x);
  for (float& value : roots.values) value = 1.0f / __builtin_sqrtf(value);
  return roots;
}

// body(first row, rows) for blocks of at most sixteen of C rows.
template <class Body>
TTT_INLINE inline void row_blocks(std::int64_t C, const Body& body) {
  for (std::int64_t first = 0; first < C; first += 16) body(first, C - first < 16 ? C - first : 16);
}

#define TTT_CELL [&](std::int64_t i, std::int64_t k) TTT_INLINE

// z += c;  t = tanh(k (z + a z^3)), the tanh of GELU;  x = phi(z) = z/2 (1 + t). [rows,cols], rows `step` apart; c
// [cols].
inline void gelu_rows(std::int64_t rows, std::int64_t cols, std::int64_t step, float* z, const float* c, float* t,
                      float* x) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t f = 0; f < cols; f += 16) {
      const std::int64_t at = row * step + f;
      const Lanes<float> z_f = lanes_at(z + at) + lanes_at(c + f);
      const Lanes<float> u = static_cast<float>(kGeluK) * z_f * (1.0f + static_cast<float>(kGeluA) * z_f * z_f);
      const Lanes<float> t_f = 1.0f - 2.0f / (exp_of(2.0f * u) + 1.0f);
      save(z + at, z_f);
      save(t + at, t_f);
      save(x + at, Lanes<float>(0.5f * z_f * (1.0f + t_f)));
    }
  }
}

// phi'(z) = (1 + t)/2 + z/2 (1 - t^2) u',  u = k (z + a z^3),  t = tanh u
TTT_INLINE inline Lanes<float> gelu_first(Lanes<float> z, Lanes<float> t) {
  const Lanes<float> sech2 = 1.0f - t * t;
  return 0.5f * (1.0f + t) +
         0.5f * z * sech2 * (static_cast<float>(kGeluK) * (1.0f + static_cast<float>(3 * kGeluA) * z * z));
}

// out = x (.) phi'(z); t: of gelu_rows(). All [rows,cols], rows `step` apart.
TTT_INLINE inline void gelu_first_rows(std::int64_t rows, std::int64_t cols, std::int64_t step, const float* x,
                                       const float* z, const float* t, float* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t at = row * step; at < row * step + cols; at += 16)
      save(out + at, Lanes<float>(lanes_at(x + at) * gelu_first(lanes_at(z + at), lanes_at(t + at))));
  }
}

// out = x (.) phi'(z) + y (.) b (.) phi''(z),  phi'' = (1 - t^2) u' + z/2 (1 - t^2) (u'' - 2 t u'^2)
TTT_INLINE inline void gelu_second_rows(std::int64_t rows, std::int64_t cols, std::int64_t step, const float* x,
                                        const float* y, const float* b, const float* z, const float* t, float* out) {
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t at = row * step; at < row * step + cols; at += 16) {
      const Lanes<float> z_f = lanes_at(z + at), t_f = lanes_at(t + at), sech2 = 1.0f - t_f * t_f;
      const Lanes<float> du = static_cast<float>(kGeluK) * (1.0f + static_cast<float>(3 * kGeluA) * z_f * z_f);
      const Lanes<float> ddu = static_cast<float>(6 * kGeluK * kGeluA) * z_f;
      const Lanes<float> first = 0.5f * (1.0f + t_f) + 0.5f * z_f * sech2 * du;
      const Lanes<float> second = sech2 * (du + 0.5f * z_f * (ddu - 2.0f * t_f * du * du));
      save(out + at, Lanes<float>(lanes_at(x + at) * first + lanes_at(y + at) * lanes_at(b + at) * second));
    }
  }
}

// z becomes xh = normalise(z), r [C] its 1/std.
TTT_INLINE inline void normalise_rows(std::int64_t rows, std::int64_t K, float* z, float* r) {
  const float inverse = 1.0f / static_cast<float>(K);
  const SixteenRows mean = by_row(inverse * row_sums(
                                                rows, K, TTT_CELL { return lanes_at(z + i * K + k); }));
  const Lanes<float> variances = inverse * row_sums(
                                               rows, K, TTT_CELL {
                                                 const Lanes<float> d = lanes_at(z + i * K + k) - mean[i];
                                                 return d * d;
                                               });
  const SixteenRows root = reciprocal_roots(variances + static_cast<float>(kLayerNormEps));
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t k = 0; k < K; k += 16)
      save(z + i * K + k, Lanes<float>((lanes_at(z + i * K + k) - mean[i]) * root[i]));
    r[i] = root[i];
  }
}

// Z = z + c; xh, r = normalise(Z); D = gain xh + bias - target; G = r * P(gain (.) D; xh).
inline void inner_gradient_rows(std::int64_t C, std::int64_t K, const float* z_CK, const float* c,
                                const float* target_CK, const float* gain, const float* bias, float* g_CK, float* xh_CK,
                                float* r_C) {
  const float inverse = 1.0f / static_cast<float>(K);
  row_blocks(C, [&](std::int64_t first, std::int64_t rows) TTT_INLINE {
    const float *z = z_CK + first * K, *target = target_CK + first * K;
    float *g = g_CK + first * K, *xh = xh_CK + first * K, *r = r_C + first;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < K; k += 16)
        save(xh + i * K + k, Lanes<float>(lanes_at(z + i * K + k) + lanes_at(c + k)));
    }
    normalise_rows(rows, K, xh, r);
    Lanes<float> h_xh[16] = {};
    const SixteenRows mean_h =
        by_row(inverse * row_sums(
                             rows, K, TTT_CELL {
                               const Lanes<float> x = lanes_at(xh + i * K + k), a = lanes_at(gain + k);
                               const Lanes<float> h = a * (a * x + lanes_at(bias + k) - lanes_at(target + i * K + k));
                               save(g + i * K + k, h);
                               h_xh[i] += h * x;
                               return h;
                             }));
    const SixteenRows mean_h_xh = by_row(inverse * sums_of(h_xh));
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < K; k += 16) {
        const Lanes<float> h = lanes_at(g + i * K + k), x = lanes_at(xh + i * K + k);
        save(g + i * K + k, Lanes<float>(r[i] * (h - mean_h[i] - x * mean_h_xh[i])));
      }
    }
  });
}

// Zq = z + c - ng; xh, r = normalise(Zq); o = q + gain xh + bias, unless o is null.
inline void output_norm_rows(std::int64_t C, std::int64_t K, const float* z_CK, const float* c, const float* ng_CK,
                             const float* q_CK, const float* gain, const float* bias, float* o_CK, float* xh_CK,
                             float* r_C) {
  row_blocks(C, [&](std::int64_t first, std::int64_t rows) TTT_INLINE {
    const float *z = z_CK + first * K, *ng = ng_CK + first * K, *q = q_CK + first * K;
    float* xh = xh_CK + first * K;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < K; k += 16)
        save(xh + i * K + k, Lanes<float>(lanes_at(z + i * K + k) + lanes_at(c + k) - lanes_at(ng + i * K + k)));
    }
    normalise_rows(rows, K, xh, r_C + first);
    if (o_CK == nullptr) return;
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < K; k += 16) {
        const Lanes<float> y = lanes_at(gain + k) * lanes_at(xh + i * K + k) + lanes_at(bias + k);
        save(o_CK + (first + i) * K + k, Lanes<float>(lanes_at(q + i * K + k) + y));
      }
    }
  });
}

// U = r * P(gain (.) dO; xh); dgain += sum dO (.) xh, dbias += sum dO.
inline void output_norm_backward_rows(std::int64_t C, std::int64_t K, const float* d_o_CK, const float* xh_CK,
                                      const float* r_C, const float* gain, float* u_CK, float* dgain, float* dbias) {
  const float inverse = 1.0f / static_cast<float>(K);
  row_blocks(C, [&](std::int64_t first, std::int64_t rows) TTT_INLINE {
    const float *d_o = d_o_CK + first * K, *xh = xh_CK + first * K, *r = r_C + first;
    float* u = u_CK + first * K;
    Lanes<float> a_xh[16] = {};
    const SixteenRows mean = by_row(inverse * row_sums(
                                                  rows, K, TTT_CELL {
                                                    const Lanes<float> a =
                                                        lanes_at(gain + k) * lanes_at(d_o + i * K + k);
                                                    a_xh[i] += a * lanes_at(xh + i * K + k);
                                                    save(u + i * K + k, a);
                                                    return a;
                                                  }));
    const SixteenRows mean_xh = by_row(inverse * sums_of(a_xh));
    for (std::int64_t k = 0; k < K; k += 16) {
      Lanes<float> dgain_k = lanes_at(dgain + k), dbias_k = lanes_at(dbias + k);
      for (std::int64_t i = 0; i < rows; ++i) {
        const Lanes<float> x = lanes_at(xh + i * K + k), d = lanes_at(d_o + i * K + k), a = lanes_at(u + i * K + k);
        dgain_k += d * x;
        dbias_k += d;
        save(u + i * K + k, Lanes<float>(r[i] * (a - mean[i] - x * mean_xh[i])));
      }
      save(dgain + k, dgain_k);
      save(dbias + k, dbias_k);
    }
  });
}

// The backward pass of inner_gradient_rows for Gam = gam: dz, dd; dgain, dbias accumulated.
inline void inner_gradient_backward_rows(std::int64_t C, std::int64_t K, const float* gam_CK, const float* target_CK,
                                         const float* g_CK, const float* xh_CK, const float* r_C, const float* gain,
                                         const float* bias, float* dz_CK, float* dd_CK, float* dgain, float* dbias) {
  const float inverse = 1.0f / static_cast<float>(K);
  row_blocks(C, [&](std::int64_t first, std::int64_t rows) TTT_INLINE {
    const float *gam = gam_CK + first * K, *target = target_CK + first * K, *g = g_CK + first * K,
                *xh = xh_CK + first * K, *r = r_C + first;
    float *dz = dz_CK + first * K, *dd = dd_CK + first * K;
    // mean(Gam), mean(Gam (.) xh), mean(H (.) xh), sum(Gam (.) G)
    Lanes<float> sums[4][16] = {};
    for (std::int64_t i = 0; i < rows; ++i) {
      Lanes<float> gam_sum = {}, gam_xh = {}, h_xh = {}, gam_g = {};
      for (std::int64_t k = 0; k < K; k += 16) {
        const Lanes<float> gam_k = lanes_at(gam + i * K + k), x = lanes_at(xh + i * K + k), a = lanes_at(gain + k);
        gam_sum += gam_k;
        gam_xh += gam_k * x;
        h_xh += a * (a * x + lanes_at(bias + k) - lanes_at(target + i * K + k)) * x;
        gam_g += gam_k * lanes_at(g + i * K + k);
      }
      sums[0][i] = gam_sum, sums[1][i] = gam_xh, sums[2][i] = h_xh, sums[3][i] = gam_g;
    }
    const SixteenRows mean_gam = by_row(inverse * sums_of(sums[0])), mean_gam_xh = by_row(inverse * sums_of(sums[1])),
                      mean_h_xh = by_row(inverse * sums_of(sums[2]));
    const Lanes<float> gam_g_sums = sums_of(sums[3]);
    // dH = r P(Gam; xh);  dD = g dH;  dxh = g dD - r (mean(H xh) Gam + mean(Gam xh) H), kept in dz
    for (std::int64_t i = 0; i < rows; ++i) {
      Lanes<float> dxh_sum = {}, dxh_xh = {};
      for (std::int64_t k = 0; k < K; k += 16) {
        const Lanes<float> gam_k = lanes_at(gam + i * K + k), x = lanes_at(xh + i * K + k), a = lanes_at(gain + k);
        const Lanes<float> d = a * x + lanes_at(bias + k) - lanes_at(target + i * K + k);
        const Lanes<float> dh = r[i] * (gam_k - mean_gam[i] - x * mean_gam_xh[i]), dd_k = a * dh;
        const Lanes<float> dxh = a * dd_k - r[i] * (mean_h_xh[i] * gam_k + mean_gam_xh[i] * (a * d));
        save(dd + i * K + k, dd_k);
        save(dz + i * K + k, dxh);
        save(dgain + k, Lanes<float>(lanes_at(dgain + k) + dh * d + dd_k * x));
        save(dbias + k, Lanes<float>(lanes_at(dbias + k) + dd_k));
        dxh_sum += dxh;
        dxh_xh += dxh * x;
      }
      sums[0][i] = dxh_sum, sums[1][i] = dxh_xh;
    }
    // dZ = r P(dxh; xh) - xh (r/f) sum(Gam (.) G)
    const SixteenRows mean = by_row(inverse * sums_of(sums[0])),
                      along_xh = by_row(inverse * (sums_of(sums[1]) + gam_g_sums));
    for (std::int64_t i = 0; i < rows; ++i) {
      for (std::int64_t k = 0; k < K; k += 16) {
        const Lanes<float> x = lanes_at(xh + i * K + k);
        save(dz + i * K + k, Lanes<float>(r[i] * (lanes_at(dz + i * K + k) - mean[i] - x * along_xh[i])));
      }
    }
  });
}

}  // namespace
}  // namespace ttt::kernels
