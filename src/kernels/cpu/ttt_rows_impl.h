// The bodies of ttt_rows.h: inlined into functions of one instruction set or another (ttt_rows.cpp, ttt_fused_*.cpp).
#pragma once

#include <cmath>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/ttt_rows.h"
#include "kernels/ttt_params.h"

namespace ttt::kernels {
namespace {

#define TTT_BODY [&](std::int64_t k, auto tag) TTT_INLINE
#define TTT_LOAD(p) load<X>((p) + k)

template <class T>
TTT_INLINE inline void dual_mask_impl(const RowSizes& s, const T* a, const T* sigma, const T* scale, T* out) {
  const std::int64_t c = s.rows;
  for (std::int64_t n = 0; n < s.matrices; ++n, a += c * c, out += c * c, sigma += c) {
    for (std::int64_t i = 0; i < c; ++i) {
      const T* a_i = a + i * c;
      T* out_i = out + i * c;
      columns<T>(
          c, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(out_i + k, scale[i] * TTT_LOAD(sigma) * (TTT_LOAD(a_i) + T(1)));
          });
      for (std::int64_t j = i + 1; j < c; ++j) out_i[j] = 0;
    }
  }
}

template <class T>
TTT_INLINE inline void dual_mask_backward_impl(const RowSizes& s, T* x, const T* a, const T* sigma, const T* scale,
                                               T* dsigma, T* dscale) {
  const std::int64_t c = s.rows;
  for (std::int64_t n = 0; n < s.matrices; ++n, a += c * c, x += c * c, sigma += c, dsigma += c) {
    T* ds = dscale + n % s.heads * c;
    for (std::int64_t i = 0; i < c; ++i) {
      const T* a_i = a + i * c;
      T* x_i = x + i * c;
      for (std::int64_t j = i + 1; j < c; ++j) x_i[j] = 0;
      Sum<T> de_sigma;
      columns<T>(
          c, TTT_BODY {
            using X = typename decltype(tag)::Type;
            const X dn = -TTT_LOAD(x_i), de = (TTT_LOAD(a_i) + T(1)) * dn, sg = TTT_LOAD(sigma);
            save<X>(x_i + k, scale[i] * sg * dn);
            save<X>(dsigma + k, TTT_LOAD(dsigma) + scale[i] * de);
            de_sigma.add(X(de * sg));
          });
      ds[i] += de_sigma.total();
    }
  }
}

template <class T>
struct Moments {
  T mean, r;
};

// Of the row z: its mean and 1/sqrt(var + eps), in two passes.
template <class T>
TTT_INLINE inline Moments<T> moments(const T* z, std::int64_t cols) {
  Sum<T> sum, squares;
  columns<T>(
      cols, TTT_BODY {
        using X = typename decltype(tag)::Type;
        sum.add(TTT_LOAD(z));
      });
  const T mean = sum.total() / T(cols);
  columns<T>(
      cols, TTT_BODY {
        using X = typename decltype(tag)::Type;
        const X d = TTT_LOAD(z) - mean;
        squares.add(X(d * d));
      });
  return {mean, T(1) / std::sqrt(squares.total() / T(cols) + T(kLayerNormEps))};
}

template <class T>
TTT_INLINE inline void inner_gradient_impl(const RowSizes& s, Blocks<const T> z, const T* c, Blocks<const T> target,
                                           const T* gain, const T* bias, Blocks<T> g, Blocks<T> xh, T* r) {
  const std::int64_t f = s.cols;
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const std::int64_t head = n % s.heads;
    const T *c_h = c + head * f, *gain_h = gain + head * f, *bias_h = bias + head * f;
    for (std::int64_t j = 0; j < s.rows; ++j) {
      const T *z_j = z[n] + j * f, *target_j = target[n] + j * f;
      T *xh_j = xh[n] + j * f, *g_j = g[n] + j * f;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(xh_j + k, TTT_LOAD(z_j) + TTT_LOAD(c_h));
          });
      const Moments<T> m = moments(xh_j, f);
      Sum<T> sum_h, sum_h_xh;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            const X xh_k = (TTT_LOAD(xh_j) - m.mean) * m.r, gain_k = TTT_LOAD(gain_h);
            const X h = gain_k * (gain_k * xh_k + TTT_LOAD(bias_h) - TTT_LOAD(target_j));
            save<X>(xh_j + k, xh_k);
            save<X>(g_j + k, h);
            sum_h.add(h);
            sum_h_xh.add(X(h * xh_k));
          });
      const T mean_h = sum_h.total() / T(f), mean_h_xh = sum_h_xh.total() / T(f);
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(g_j + k, m.r * (TTT_LOAD(g_j) - mean_h - TTT_LOAD(xh_j) * mean_h_xh));
          });
      *r++ = m.r;
    }
  }
}

template <class T>
TTT_INLINE inline void inner_gradient_backward_impl(const RowSizes& s, Blocks<const T> gam, Blocks<const T> target,
                                                    Blocks<const T> g, Blocks<const T> xh, const T* r, const T* gain,
                                                    const T* bias, Blocks<T> dz, Blocks<T> dd, T* dgain, T* dbias) {
  const std::int64_t f = s.cols;
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const std::int64_t head = n % s.heads;
    const T *gain_h = gain + head * f, *bias_h = bias + head * f;
    T *dgain_h = dgain + head * f, *dbias_h = dbias + head * f;
    for (std::int64_t j = 0; j < s.rows; ++j) {
      const T *gam_j = gam[n] + j * f, *target_j = target[n] + j * f, *g_j = g[n] + j * f, *xh_j = xh[n] + j * f,
              r_j = *r++;
      T *dz_j = dz[n] + j * f, *dd_j = dd[n] + j * f;
      // mean(Gam), mean(Gam (.) xh), mean(H (.) xh), sum(Gam (.) G)
      Sum<T> gam_sum, gam_xh, h_xh, gam_g;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            const X gam_k = TTT_LOAD(gam_j), xh_k = TTT_LOAD(xh_j), gain_k = TTT_LOAD(gain_h);
            const X h = gain_k * (gain_k * xh_k + TTT_LOAD(bias_h) - TTT_LOAD(target_j));
            gam_sum.add(gam_k);
            gam_xh.add(X(gam_k * xh_k));
            h_xh.add(X(h * xh_k));
            gam_g.add(X(gam_k * TTT_LOAD(g_j)));
          });
      const T mean_gam = gam_sum.total() / T(f), mean_gam_xh = gam_xh.total() / T(f), mean_h_xh = h_xh.total() / T(f);
      // dH = r P(Gam; xh);  dD = g dH;  dxh = g dD - r (mean(H xh) Gam + mean(Gam xh) H), kept in dz
      Sum<T> dxh_sum, dxh_xh;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            const X gam_k = TTT_LOAD(gam_j), xh_k = TTT_LOAD(xh_j), gain_k = TTT_LOAD(gain_h);
            const X d = gain_k * xh_k + TTT_LOAD(bias_h) - TTT_LOAD(target_j);
            const X dh = r_j * (gam_k - mean_gam - xh_k * mean_gam_xh), dd_k = gain_k * dh;
            const X dxh = gain_k * dd_k - r_j * (mean_h_xh * gam_k + mean_gam_xh * (gain_k * d));
            save<X>(dd_j + k, dd_k);
            save<X>(dz_j + k, dxh);
            save<X>(dgain_h + k, TTT_LOAD(dgain_h) + dh * d + dd_k * xh_k);
            save<X>(dbias_h + k, TTT_LOAD(dbias_h) + dd_k);
            dxh_sum.add(dxh);
            dxh_xh.add(X(dxh * xh_k));
          });
      // dZ = r P(dxh; xh) - xh (r/f) sum(Gam (.) G)
      const T mean = dxh_sum.total() / T(f), along_xh = (dxh_xh.total() + gam_g.total()) / T(f);
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(dz_j + k, r_j * (TTT_LOAD(dz_j) - mean - TTT_LOAD(xh_j) * along_xh));
          });
    }
  }
}

template <class T>
TTT_INLINE inline void output_norm_impl(const RowSizes& s, Blocks<const T> z, const T* c, Blocks<const T> ng,
                                        Blocks<const T> q, const T* gain, const T* bias, Blocks<T> o, Blocks<T> xh,
                                        T* r) {
  const std::int64_t f = s.cols;
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const T *gain_h = gain + n % s.heads * f, *bias_h = bias + n % s.heads * f, *c_n = c + n * f;
    for (std::int64_t j = 0; j < s.rows; ++j) {
      const T *z_j = z[n] + j * f, *ng_j = ng[n] + j * f, *q_j = q[n] + j * f;
      T* xh_j = xh[n] + j * f;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(xh_j + k, TTT_LOAD(z_j) + TTT_LOAD(c_n) - TTT_LOAD(ng_j));
          });
      const Moments<T> m = moments(xh_j, f);
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(xh_j + k, (TTT_LOAD(xh_j) - m.mean) * m.r);
          });
      *r++ = m.r;
      if (o.data == nullptr) continue;
      T* o_j = o[n] + j * f;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(o_j + k, TTT_LOAD(q_j) + TTT_LOAD(gain_h) * TTT_LOAD(xh_j) + TTT_LOAD(bias_h));
          });
    }
  }
}

template <class T>
TTT_INLINE inline void output_norm_backward_impl(const RowSizes& s, Blocks<const T> d_o, Blocks<const T> xh, const T* r,
                                                 const T* gain, Blocks<T> u, T* dgain, T* dbias) {
  const std::int64_t f = s.cols;
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const T* gain_h = gain + n % s.heads * f;
    T *dgain_h = dgain + n % s.heads * f, *dbias_h = dbias + n % s.heads * f;
    for (std::int64_t j = 0; j < s.rows; ++j) {
      const T *do_j = d_o[n] + j * f, *xh_j = xh[n] + j * f, r_j = *r++;
      T* u_j = u[n] + j * f;
      Sum<T> sum, sum_xh;
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            const X do_k = TTT_LOAD(do_j), xh_k = TTT_LOAD(xh_j), a = TTT_LOAD(gain_h) * do_k;
            save<X>(dgain_h + k, TTT_LOAD(dgain_h) + do_k * xh_k);
            save<X>(dbias_h + k, TTT_LOAD(dbias_h) + do_k);
            sum.add(a);
            sum_xh.add(X(a * xh_k));
          });
      const T mean = sum.total() / T(f), mean_xh = sum_xh.total() / T(f);
      columns<T>(
          f, TTT_BODY {
            using X = typename decltype(tag)::Type;
            save<X>(u_j + k, r_j * (TTT_LOAD(gain_h) * TTT_LOAD(do_j) - mean - TTT_LOAD(xh_j) * mean_xh));
          });
    }
  }
}

// for every row: body(matrix n, row j of it, row n*rows+j of all)
template <class Body>
TTT_INLINE inline void all_rows(const RowSizes& s, const Body& body) {
  for (std::int64_t n = 0; n < s.matrices; ++n)
    for (std::int64_t j = 0; j < s.rows; ++j) body(n, j * s.cols, n * s.rows + j);
}
#define TTT_ROW [&](std::int64_t n, std::int64_t at, [[maybe_unused]] std::int64_t row) TTT_INLINE

template <class T>
TTT_INLINE inline void scale_rows_impl(const RowSizes& s, Blocks<const T> x, const T* e, Blocks<T> out) {
  all_rows(
      s, TTT_ROW {
        const T *x_j = x[n] + at, e_j = e[row];
        T* out_j = out[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              save<X>(out_j + k, e_j * TTT_LOAD(x_j));
            });
      });
}

template <class T>
TTT_INLINE inline void subtract_scaled_rows_impl(const RowSizes& s, const T* e, Blocks<const T> y, Blocks<T> x) {
  all_rows(
      s, TTT_ROW {
        const T *y_j = y[n] + at, e_j = e[row];
        T* x_j = x[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              save<X>(x_j + k, TTT_LOAD(x_j) - e_j * TTT_LOAD(y_j));
            });
      });
}

template <class T>
TTT_INLINE inline void subtract_outer_impl(const RowSizes& s, const T* e, const T* all, Blocks<T> x) {
  all_rows(
      s, TTT_ROW {
        const T *row_n = all + n * s.cols, e_j = e[row];
        T* x_j = x[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              save<X>(x_j + k, TTT_LOAD(x_j) - e_j * TTT_LOAD(row_n));
            });
      });
}

template <class T>
TTT_INLINE inline void add_column_sums_impl(const RowSizes& s, const T* base, Blocks<const T> x, const T* e, T* out) {
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const T *x_n = x[n], *base_n = base + n * s.cols, *e_n = e == nullptr ? nullptr : e + n * s.rows;
    T* out_n = out + n * s.cols;
    columns<T>(
        s.cols, TTT_BODY {
          using X = typename decltype(tag)::Type;
          X sum = TTT_LOAD(base_n);
          if (e_n == nullptr) {
            for (std::int64_t j = 0; j < s.rows; ++j) sum += TTT_LOAD(x_n + j * s.cols);
          } else {
            for (std::int64_t j = 0; j < s.rows; ++j) sum -= e_n[j] * TTT_LOAD(x_n + j * s.cols);
          }
          save<X>(out_n + k, sum);
        });
  }
}

template <class T>
TTT_INLINE inline void rate_backward_impl(const RowSizes& s, std::int64_t g_cols, Blocks<const T> x, Blocks<const T> y,
                                          Blocks<const T> g, const T* dc, const T* sigma, const T* scale, T* dsigma,
                                          T* dscale) {
  const std::int64_t last = s.rows - 1;
  for (std::int64_t n = 0; n < s.matrices; ++n) {
    const T* dc_n = dc + n * g_cols;
    for (std::int64_t j = 0; j < s.rows; ++j) {
      const T *x_j = x[n] + j * s.cols, *y_j = y[n] + j * s.cols, *g_j = g[n] + j * g_cols;
      Sum<T> sum;
      columns<T>(
          s.cols, TTT_BODY {
            using X = typename decltype(tag)::Type;
            sum.add(X(TTT_LOAD(x_j) * TTT_LOAD(y_j)));
          });
      columns<T>(
          g_cols, TTT_BODY {
            using X = typename decltype(tag)::Type;
            sum.add(X(TTT_LOAD(g_j) * TTT_LOAD(dc_n)));
          });
      const T de = -sum.total();
      dsigma[n * s.rows + j] += scale[last] * de;
      dscale[n % s.heads * s.rows + last] += sigma[n * s.rows + j] * de;
    }
  }
}

constexpr double kGeluK = 0.7978845608028653558798921198687;  // sqrt(2/pi)
constexpr double kGeluA = 0.044715;

template <class T>
TTT_INLINE inline void gelu_argument_impl(const RowSizes& s, Blocks<T> z, const T* c, Blocks<const T> minus,
                                          Blocks<T> u) {
  all_rows(
      s, TTT_ROW {
        const T *c_n = c + n * s.cols, *minus_j = minus.data == nullptr ? nullptr : minus[n] + at;
        T *z_j = z[n] + at, *u_j = u[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              X z_k = TTT_LOAD(z_j) + TTT_LOAD(c_n);
              if (minus_j != nullptr) z_k -= TTT_LOAD(minus_j);
              save<X>(z_j + k, z_k);
              save<X>(u_j + k, T(kGeluK) * z_k * (T(1) + T(kGeluA) * z_k * z_k));
            });
      });
}

template <class T>
TTT_INLINE inline void gelu_value_impl(const RowSizes& s, Blocks<const T> z, Blocks<const T> t, Blocks<T> out) {
  all_rows(
      s, TTT_ROW {
        const T *z_j = z[n] + at, *t_j = t[n] + at;
        T* out_j = out[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              save<X>(out_j + k, T(0.5) * TTT_LOAD(z_j) * (T(1) + TTT_LOAD(t_j)));
            });
      });
}

// phi' = (1 + t)/2 + z/2 (1 - t^2) u'
template <class T>
TTT_INLINE inline void gelu_first_impl(const RowSizes& s, Blocks<const T> x, Blocks<const T> z, Blocks<const T> t,
                                       Blocks<T> out) {
  all_rows(
      s, TTT_ROW {
        const T *x_j = x[n] + at, *z_j = z[n] + at, *t_j = t[n] + at;
        T* out_j = out[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              const X z_k = TTT_LOAD(z_j), t_k = TTT_LOAD(t_j), sech2 = T(1) - t_k * t_k;
              const X first =
                  T(0.5) * (T(1) + t_k) + T(0.5) * z_k * sech2 * (T(kGeluK) * (T(1) + T(3 * kGeluA) * z_k * z_k));
              save<X>(out_j + k, TTT_LOAD(x_j) * first);
            });
      });
}

// phi'' = (1 - t^2) u' + z/2 (1 - t^2)(u'' - 2 t u'^2)
template <class T>
TTT_INLINE inline void gelu_second_impl(const RowSizes& s, Blocks<const T> x, Blocks<const T> y, Blocks<const T> b,
                                        Blocks<const T> z, Blocks<const T> t, Blocks<T> out) {
  all_rows(
      s, TTT_ROW {
        const T *x_j = x[n] + at, *y_j = y[n] + at, *b_j = b[n] + at, *z_j = z[n] + at, *t_j = t[n] + at;
        T* out_j = out[n] + at;
        columns<T>(
            s.cols, TTT_BODY {
              using X = typename decltype(tag)::Type;
              const X z_k = TTT_LOAD(z_j), t_k = TTT_LOAD(t_j), sech2 = T(1) - t_k * t_k;
              const X du = T(kGeluK) * (T(1) + T(3 * kGeluA) * z_k * z_k), ddu = T(6 * kGeluK * kGeluA) * z_k;
              const X first = T(0.5) * (T(1) + t_k) + T(0.5) * z_k * sech2 * du;
              const X second = sech2 * (du + T(0.5) * z_k * (ddu - T(2) * t_k * du * du));
              save<X>(out_j + k, TTT_LOAD(x_j) * first + TTT_LOAD(y_j) * TTT_LOAD(b_j) * second);
            });
      });
}

}  // namespace
}  // namespace ttt::kernels
