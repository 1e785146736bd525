// Row-wise steps of the TTT inner loop: vectors of 64 bytes (GCC's and Clang's vector extension, lowered to what the
// instruction set has), each public function compiled once per instruction set and chosen when the program is loaded.
#include "kernels/cpu/ttt_rows.h"

#include "kernels/cpu/ttt_rows_impl.h"

namespace ttt::kernels {
// The public functions: one clone per instruction set, for float and double.
#define TTT_DEFINE(name, T, parameters, arguments) \
  template <>                                      \
  TTT_CLONES void name<T> parameters {             \
    name##_impl<T> arguments;                      \
  }
#define TTT_ROW_FUNCTIONS(T)                                                                                          \
  TTT_DEFINE(dual_mask, T, (const RowSizes& s, const T* a, const T* sigma, const T* scale, T* out),                   \
             (s, a, sigma, scale, out))                                                                               \
  TTT_DEFINE(dual_mask_backward, T,                                                                                   \
             (const RowSizes& s, T* x, const T* a, const T* sigma, const T* scale, T* dsigma, T* dscale),             \
             (s, x, a, sigma, scale, dsigma, dscale))                                                                 \
  TTT_DEFINE(inner_gradient, T,                                                                                       \
             (const RowSizes& s, Blocks<const T> z, const T* c, Blocks<const T> target, const T* gain, const T* bias, \
              Blocks<T> g, Blocks<T> xh, T* r),                                                                       \
             (s, z, c, target, gain, bias, g, xh, r))                                                                 \
  TTT_DEFINE(inner_gradient_backward, T,                                                                              \
             (const RowSizes& s, Blocks<const T> gam, Blocks<const T> target, Blocks<const T> g, Blocks<const T> xh,  \
              const T* r, const T* gain, const T* bias, Blocks<T> dz, Blocks<T> dd, T* dgain, T* dbias),              \
             (s, gam, target, g, xh, r, gain, bias, dz, dd, dgain, dbias))                                            \
  TTT_DEFINE(output_norm, T,                                                                                          \
             (const RowSizes& s, Blocks<const T> z, const T* c, Blocks<const T> ng, Blocks<const T> q, const T* gain, \
              const T* bias, Blocks<T> o, Blocks<T> xh, T* r),                                                        \
             (s, z, c, ng, q, gain, bias, o, xh, r))                                                                  \
  TTT_DEFINE(output_norm_backward, T,                                                                                 \
             (const RowSizes& s, Blocks<const T> d_o, Blocks<const T> xh, const T* r, const T* gain, Blocks<T> u,     \
              T* dgain, T* dbias),                                                                                    \
             (s, d_o, xh, r, gain, u, dgain, dbias))                                                                  \
  TTT_DEFINE(scale_rows, T, (const RowSizes& s, Blocks<const T> x, const T* e, Blocks<T> out), (s, x, e, out))        \
  TTT_DEFINE(subtract_scaled_rows, T, (const RowSizes& s, const T* e, Blocks<const T> y, Blocks<T> x), (s, e, y, x))  \
  TTT_DEFINE(subtract_outer, T, (const RowSizes& s, const T* e, const T* row, Blocks<T> x), (s, e, row, x))           \
  TTT_DEFINE(add_column_sums, T, (const RowSizes& s, const T* base, Blocks<const T> x, const T* e, T* out),           \
             (s, base, x, e, out))                                                                                    \
  TTT_DEFINE(rate_backward, T,                                                                                        \
             (const RowSizes& s, std::int64_t g_cols, Blocks<const T> x, Blocks<const T> y, Blocks<const T> g,        \
              const T* dc, const T* sigma, const T* scale, T* dsigma, T* dscale),                                     \
             (s, g_cols, x, y, g, dc, sigma, scale, dsigma, dscale))                                                  \
  TTT_DEFINE(gelu_argument, T, (const RowSizes& s, Blocks<T> z, const T* c, Blocks<const T> minus, Blocks<T> u),      \
             (s, z, c, minus, u))                                                                                     \
  TTT_DEFINE(gelu_value, T, (const RowSizes& s, Blocks<const T> z, Blocks<const T> t, Blocks<T> out), (s, z, t, out)) \
  TTT_DEFINE(gelu_first, T,                                                                                           \
             (const RowSizes& s, Blocks<const T> x, Blocks<const T> z, Blocks<const T> t, Blocks<T> out),             \
             (s, x, z, t, out))                                                                                       \
  TTT_DEFINE(gelu_second, T,                                                                                          \
             (const RowSizes& s, Blocks<const T> x, Blocks<const T> y, Blocks<const T> b, Blocks<const T> z,          \
              Blocks<const T> t, Blocks<T> out),                                                                      \
             (s, x, y, b, z, t, out))

TTT_ROW_FUNCTIONS(float)
TTT_ROW_FUNCTIONS(double)

}  // namespace ttt::kernels
