// Row-wise steps on tensors: either the CPU's loops or ATen calls. Equations: kernels/cpu/ttt_rows.h.
#include "ops/ttt_rows.h"

#include <ATen/ATen.h>

#include "base/error.h"
#include "kernels/cpu/ttt_rows.h"
#include "kernels/ttt_params.h"

namespace ttt {
namespace {

using kernels::Blocks;
using kernels::RowSizes;

constexpr double kGeluK = 0.7978845608028653558798921198687;  // sqrt(2/pi)
constexpr double kGeluA = 0.044715;

template <class T>
T* data(const at::Tensor& x) {
  return static_cast<T*>(x.data_ptr());
}

template <class T>
Blocks<T> blocks(const at::Tensor& x) {
  if (!x.defined()) return {};
  TTT_CHECK(x.stride(2) == 1 && x.stride(1) == x.size(2), "strides ", x.strides(), " of sizes ", x.sizes());
  return {data<std::remove_const_t<T>>(x), x.stride(0)};
}

// Calls body with a float or a double.
template <class Body>
void dispatch(const at::Tensor& x, const Body& body) {
  if (x.scalar_type() == at::kFloat) {
    body(float());
  } else {
    body(double());
  }
}

// a - mean(a) - xh mean(a (.) xh)
at::Tensor project(const at::Tensor& a, const at::Tensor& xh) {
  return a - a.mean(-1, true) - xh * (a * xh).mean(-1, true);
}

void normalise(const at::Tensor& z, const at::Tensor& xh, const at::Tensor& r) {
  const at::Tensor centred = z - z.mean(-1, true);
  r.copy_((centred.square().mean(-1) + kernels::kLayerNormEps).rsqrt());
  xh.copy_(centred * r.unsqueeze(-1));
}

at::Tensor gelu_du(const at::Tensor& z) {
  return kGeluK * (1 + 3 * kGeluA * z * z);
}

at::Tensor gelu_derivative(const at::Tensor& z, const at::Tensor& t) {
  return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * gelu_du(z);
}

}  // namespace

#define TTT_ROW_SIZES(x)                          \
  RowSizes {                                      \
    (x).size(0), heads_, (x).size(1), (x).size(2) \
  }

void RowOps::dual_mask(const at::Tensor& a, const at::Tensor& sigma, const at::Tensor& scale_C,
                       const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(a, [&]<class T>(T) {
      kernels::dual_mask<T>(TTT_ROW_SIZES(a), data<T>(a), data<T>(sigma), data<T>(scale_C), data<T>(out));
    });
  }
  out.copy_((scale_C.unsqueeze(1) * sigma.unsqueeze(1) * (a + 1)).tril());
}

void RowOps::dual_mask_backward(const at::Tensor& x, const at::Tensor& a, const at::Tensor& sigma,
                                const at::Tensor& scale_C, const at::Tensor& dsigma, const at::Tensor& dscale) const {
  if (use_loops_) {
    return dispatch(a, [&]<class T>(T) {
      kernels::dual_mask_backward<T>(TTT_ROW_SIZES(a), data<T>(x), data<T>(a), data<T>(sigma), data<T>(scale_C),
                                     data<T>(dsigma), data<T>(dscale));
    });
  }
  const at::Tensor dn = x.neg().tril(), de = (a + 1) * dn;
  x.copy_(scale_C.unsqueeze(1) * sigma.unsqueeze(1) * dn);
  dsigma.add_((de * scale_C.unsqueeze(1)).sum(1));
  dscale.add_(by_head((de * sigma.unsqueeze(1)).sum(2)).sum(0));
}

void RowOps::inner_gradient(const at::Tensor& z, const at::Tensor& c, const at::Tensor& target, const at::Tensor& gain,
                            const at::Tensor& bias, const at::Tensor& g, const at::Tensor& xh,
                            const at::Tensor& r) const {
  if (use_loops_) {
    return dispatch(z, [&]<class T>(T) {
      kernels::inner_gradient<T>(TTT_ROW_SIZES(z), blocks<const T>(z), data<T>(c), blocks<const T>(target),
                                 data<T>(gain), data<T>(bias), blocks<T>(g), blocks<T>(xh), data<T>(r));
    });
  }
  normalise(z + c.unsqueeze(1), xh, r);
  const at::Tensor h = gain.unsqueeze(1) * (gain.unsqueeze(1) * xh + bias.unsqueeze(1) - target);
  g.copy_(r.unsqueeze(-1) * project(h, xh));
}

void RowOps::inner_gradient_backward(const at::Tensor& gam, const at::Tensor& target, const at::Tensor& g,
                                     const at::Tensor& xh, const at::Tensor& r, const at::Tensor& gain,
                                     const at::Tensor& bias, const at::Tensor& dz, const at::Tensor& dd,
                                     const at::Tensor& dgain, const at::Tensor& dbias) const {
  if (use_loops_) {
    return dispatch(gam, [&]<class T>(T) {
      kernels::inner_gradient_backward<T>(TTT_ROW_SIZES(gam), blocks<const T>(gam), blocks<const T>(target),
                                          blocks<const T>(g), blocks<const T>(xh), data<T>(r), data<T>(gain),
                                          data<T>(bias), blocks<T>(dz), blocks<T>(dd), data<T>(dgain), data<T>(dbias));
    });
  }
  const at::Tensor gain3 = gain.unsqueeze(1), r3 = r.unsqueeze(-1);
  const at::Tensor d = gain3 * xh + bias.unsqueeze(1) - target, h = gain3 * d;
  const at::Tensor dh = r3 * project(gam, xh);
  dd.copy_(gain3 * dh);
  dgain.add_((dh * d + dd * xh).sum(1));
  dbias.add_(dd.sum(1));
  const at::Tensor dxh = gain3 * dd - r3 * ((h * xh).mean(-1, true) * gam + (gam * xh).mean(-1, true) * h);
  dz.copy_(r3 * (project(dxh, xh) - xh * (gam * g).mean(-1, true)));
}

void RowOps::output_norm(const at::Tensor& z, const at::Tensor& c, const at::Tensor& ng, const at::Tensor& q,
                         const at::Tensor& gain, const at::Tensor& bias, const at::Tensor& o, const at::Tensor& xh,
                         const at::Tensor& r) const {
  if (use_loops_) {
    return dispatch(z, [&]<class T>(T) {
      kernels::output_norm<T>(TTT_ROW_SIZES(z), blocks<const T>(z), data<T>(c), blocks<const T>(ng), blocks<const T>(q),
                              data<T>(gain), data<T>(bias), blocks<T>(o), blocks<T>(xh), data<T>(r));
    });
  }
  normalise(z + c.unsqueeze(1) - ng, xh, r);
  if (o.defined()) by_head(o).copy_(by_head(q) + gain.unsqueeze(1) * by_head(xh) + bias.unsqueeze(1));
}

void RowOps::output_norm_backward(const at::Tensor& d_o, const at::Tensor& xh, const at::Tensor& r,
                                  const at::Tensor& gain, const at::Tensor& u, const at::Tensor& dgain,
                                  const at::Tensor& dbias) const {
  if (use_loops_) {
    return dispatch(d_o, [&]<class T>(T) {
      kernels::output_norm_backward<T>(TTT_ROW_SIZES(d_o), blocks<const T>(d_o), blocks<const T>(xh), data<T>(r),
                                       data<T>(gain), blocks<T>(u), data<T>(dgain), data<T>(dbias));
    });
  }
  dgain.add_(by_head(d_o * xh).sum(at::IntArrayRef{0, 2}));
  dbias.add_(by_head(d_o).sum(at::IntArrayRef{0, 2}));
  by_head(u).copy_(by_head(r.unsqueeze(-1)) * project(gain.unsqueeze(1) * by_head(d_o), by_head(xh)));
}

void RowOps::scale_rows(const at::Tensor& x, const at::Tensor& e, const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(x, [&]<class T>(T) {
      kernels::scale_rows<T>(TTT_ROW_SIZES(x), blocks<const T>(x), data<T>(e), blocks<T>(out));
    });
  }
  out.copy_(x * e.unsqueeze(-1));
}

void RowOps::subtract_scaled_rows(const at::Tensor& e, const at::Tensor& y, const at::Tensor& x) const {
  if (use_loops_) {
    return dispatch(x, [&]<class T>(T) {
      kernels::subtract_scaled_rows<T>(TTT_ROW_SIZES(x), data<T>(e), blocks<const T>(y), blocks<T>(x));
    });
  }
  x.addcmul_(e.unsqueeze(-1), y, -1);
}

void RowOps::subtract_outer(const at::Tensor& e, const at::Tensor& row, const at::Tensor& x) const {
  if (use_loops_) {
    return dispatch(
        x, [&]<class T>(T) { kernels::subtract_outer<T>(TTT_ROW_SIZES(x), data<T>(e), data<T>(row), blocks<T>(x)); });
  }
  x.addcmul_(e.unsqueeze(-1), row.unsqueeze(1), -1);
}

void RowOps::add_column_sums(const at::Tensor& base, const at::Tensor& x, const at::Tensor& e,
                             const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(x, [&]<class T>(T) {
      kernels::add_column_sums<T>(TTT_ROW_SIZES(x), data<T>(base), blocks<const T>(x),
                                  e.defined() ? data<T>(e) : nullptr, data<T>(out));
    });
  }
  out.copy_(e.defined() ? base - (e.unsqueeze(-1) * x).sum(1) : base + x.sum(1));
}

void RowOps::rate_backward(const at::Tensor& x, const at::Tensor& y, const at::Tensor& g, const at::Tensor& dc,
                           const at::Tensor& sigma, const at::Tensor& scale_C, const at::Tensor& dsigma,
                           const at::Tensor& dscale) const {
  if (use_loops_) {
    return dispatch(x, [&]<class T>(T) {
      kernels::rate_backward<T>(TTT_ROW_SIZES(x), g.size(2), blocks<const T>(x), blocks<const T>(y), blocks<const T>(g),
                                data<T>(dc), data<T>(sigma), data<T>(scale_C), data<T>(dsigma), data<T>(dscale));
    });
  }
  const at::Tensor de = -((x * y).sum(-1) + (g * dc.unsqueeze(1)).sum(-1));
  dsigma.add_(scale_C[-1] * de);
  dscale.select(1, -1).add_(by_head((sigma * de).sum(1)).sum(0));
}

void RowOps::gelu_tanh(const at::Tensor& z, const at::Tensor& c, const at::Tensor& minus, const at::Tensor& t) const {
  if (use_loops_) {
    dispatch(z, [&]<class T>(T) {
      kernels::gelu_argument<T>(TTT_ROW_SIZES(z), blocks<T>(z), data<T>(c), blocks<const T>(minus), blocks<T>(t));
    });
  } else {
    z.add_(c.unsqueeze(1));
    if (minus.defined()) z.sub_(minus);
    t.copy_(kGeluK * z * (1 + kGeluA * z * z));
  }
  t.tanh_();
}

void RowOps::gelu_value(const at::Tensor& z, const at::Tensor& t, const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(z, [&]<class T>(T) {
      kernels::gelu_value<T>(TTT_ROW_SIZES(z), blocks<const T>(z), blocks<const T>(t), blocks<T>(out));
    });
  }
  out.copy_(0.5 * z * (1 + t));
}

void RowOps::gelu_first(const at::Tensor& x, const at::Tensor& z, const at::Tensor& t, const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(z, [&]<class T>(T) {
      kernels::gelu_first<T>(TTT_ROW_SIZES(z), blocks<const T>(x), blocks<const T>(z), blocks<const T>(t),
                             blocks<T>(out));
    });
  }
  out.copy_(x * gelu_derivative(z, t));
}

void RowOps::gelu_second(const at::Tensor& x, const at::Tensor& y, const at::Tensor& b, const at::Tensor& z,
                         const at::Tensor& t, const at::Tensor& out) const {
  if (use_loops_) {
    return dispatch(z, [&]<class T>(T) {
      kernels::gelu_second<T>(TTT_ROW_SIZES(z), blocks<const T>(x), blocks<const T>(y), blocks<const T>(b),
                              blocks<const T>(z), blocks<const T>(t), blocks<T>(out));
    });
  }
  const at::Tensor du = gelu_du(z), ddu = 6 * kGeluK * kGeluA * z;
  const at::Tensor second = (1 - t * t) * (du + 0.5 * z * (ddu - 2 * t * du * du));
  out.copy_(x * gelu_derivative(z, t) + y * b * second);
}

}  // namespace ttt
