#include "ops/selective_scan.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/cpu/selective_scan.h"
#include "kernels/cuda/selective_scan_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/parallel.h"
#include "ops/row_cuda.h"
#include "ops/row_dispatch.h"
#include "ops/sequence_cuda.h"

namespace ttt {
namespace {

using kernels::kScanChunk;
using kernels::kScanStates;
using kernels::ScanPointers;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Channels of one task: fixed, so that the sums over channels do not depend on the number of threads.
constexpr std::int64_t kGroup = 128;

struct Sizes {
  std::int64_t batch, time, channels, groups, chunks;
  explicit Sizes(const at::Tensor& x_BTE)
      : batch(x_BTE.size(0)),
        time(x_BTE.size(1)),
        channels(x_BTE.size(2)),
        groups((channels + kGroup - 1) / kGroup),
        chunks((time + kScanChunk - 1) / kScanChunk) {}

  // Calls body(b, group, first channel, end channel) for every sequence and group, on several threads.
  template <class Body>
  void for_each_group(const Body& body) const {
    parallel_ranges(batch * groups, 1, [&](std::int64_t first, std::int64_t last) {
      for (std::int64_t task = first; task < last; ++task) {
        const std::int64_t group = task % groups;
        body(task / groups, group, group * kGroup, std::min(channels, (group + 1) * kGroup));
      }
    });
  }
};

// Sequence b of the op's tensors; A is [N,E] here.
template <class T>
ScanPointers<const T> sequence(const ScanInputs& in, const at::Tensor& A_NE, std::int64_t b) {
  const auto at = [&](const at::Tensor& x) { return x.const_data_ptr<T>() + b * x.stride(0); };
  return {at(in.x_BTE), at(in.dt_BTE), A_NE.const_data_ptr<T>(),
          at(in.B_BTN), at(in.C_BTN),  in.D_E.const_data_ptr<T>()};
}

ScanInputs contiguous(const ScanInputs& in) {
  return {in.x_BTE.contiguous(), in.dt_BTE.contiguous(), in.A_EN,
          at_16_bytes(in.B_BTN), at_16_bytes(in.C_BTN),  in.D_E.contiguous()};
}

// The states are not for bf16: fp32, and fp64 on the CPU.
bool cuda_kernels_take(const at::Tensor& x) {
  return x.scalar_type() == at::kFloat && cuda_takes(x, at::kFloat) &&
         cuda_shared_limit(x.device()) >= kernels::cuda::kScanBackwardSharedBytes;
}
bool loops_take(const at::Tensor& x) {
  return (rows_take(x) && x.scalar_type() != at::kBFloat16) || cuda_kernels_take(x);
}

// y; h [B,N,E] is advanced; starts [B,S,N,E], when defined, gets the states before each chunk.
at::Tensor run(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE, const at::Tensor& starts_BSNE) {
  const Sizes sizes(in.x_BTE);
  const at::Tensor y_BTE = at::empty_like(in.x_BTE);
  dispatch_rows(in.x_BTE.scalar_type(), [&](auto types) {
    using T = typename decltype(types)::T;
    T *h = h_BNE.mutable_data_ptr<T>(), *y = y_BTE.mutable_data_ptr<T>();
    T* starts = starts_BSNE.defined() ? starts_BSNE.mutable_data_ptr<T>() : nullptr;
    const std::int64_t state = kScanStates * sizes.channels;
    sizes.for_each_group([&](std::int64_t b, std::int64_t, std::int64_t begin, std::int64_t end) {
      kernels::selective_scan<T>(sizes.time, sizes.channels, begin, end, sequence<T>(in, A_NE, b), h + b * state,
                                 starts == nullptr ? nullptr : starts + b * sizes.chunks * state,
                                 y + b * sizes.time * sizes.channels);
    });
  });
  return y_BTE;
}

struct SelectiveScanFunction : torch::autograd::Function<SelectiveScanFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTE, const at::Tensor& dt_BTE,
                            const at::Tensor& A_EN, const at::Tensor& B_BTN, const at::Tensor& C_BTN,
                            const at::Tensor& D_E) {
    const ScanInputs in = contiguous({x_BTE, dt_BTE, A_EN, B_BTN, C_BTN, D_E});
    const Sizes sizes(x_BTE);
    const at::Tensor A_NE = A_EN.t().contiguous();
    if (cuda_kernels_take(x_BTE)) {
      at::Tensor starts;
      const at::Tensor y_BTE = on_cuda::selective_scan(in, A_NE, {}, &starts);
      context->save_for_backward({in.x_BTE, in.dt_BTE, A_NE, in.B_BTN, in.C_BTN, in.D_E, starts});
      return y_BTE;
    }
    const at::Tensor h_BNE = at::zeros({sizes.batch, kScanStates, sizes.channels}, x_BTE.options());
    const at::Tensor starts_BSNE = at::empty({sizes.batch, sizes.chunks, kScanStates, sizes.channels}, x_BTE.options());
    const at::Tensor y_BTE = run(in, A_NE, h_BNE, starts_BSNE);
    context->save_for_backward({in.x_BTE, in.dt_BTE, A_NE, in.B_BTN, in.C_BTN, in.D_E, starts_BSNE});
    return y_BTE;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& A_NE = saved[2];
    const ScanInputs in = {saved[0], saved[1], at::Tensor(), saved[3], saved[4], saved[5]};
    const Sizes sizes(in.x_BTE);
    const at::Tensor dy_BTE = grads[0].contiguous();
    if (cuda_kernels_take(in.x_BTE)) {
      const auto d = on_cuda::selective_scan_backward(in, A_NE, saved[6], dy_BTE);
      return {d.x_BTE, d.dt_BTE, d.A_NE.t(), d.B_BTN, d.C_BTN, d.D_E};
    }
    const auto options = in.x_BTE.options();
    const at::Tensor dx_BTE = at::empty_like(in.x_BTE), d_dt_BTE = at::empty_like(in.x_BTE);
    const at::Tensor dA_BNE = at::empty({sizes.batch, kScanStates, sizes.channels}, options);
    const at::Tensor dh_BNE = at::empty_like(dA_BNE), dD_BE = at::empty({sizes.batch, sizes.channels}, options);
    const at::Tensor dB_BGTN = at::empty({sizes.batch, sizes.groups, sizes.time, kScanStates}, options);
    const at::Tensor dC_BGTN = at::empty_like(dB_BGTN);
    dispatch_rows(in.x_BTE.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      const auto slice = [](const at::Tensor& x, std::int64_t b) { return x.mutable_data_ptr<T>() + b * x.stride(0); };
      sizes.for_each_group([&](std::int64_t b, std::int64_t group, std::int64_t begin, std::int64_t end) {
        const ScanPointers<T> grad = {slice(dx_BTE, b),
                                      slice(d_dt_BTE, b),
                                      slice(dA_BNE, b),
                                      slice(dB_BGTN, b) + group * dB_BGTN.stride(1),
                                      slice(dC_BGTN, b) + group * dC_BGTN.stride(1),
                                      slice(dD_BE, b)};
        kernels::selective_scan_backward<T>(sizes.time, sizes.channels, begin, end, sequence<T>(in, A_NE, b),
                                            saved[6].const_data_ptr<T>() + b * saved[6].stride(0),
                                            dy_BTE.const_data_ptr<T>() + b * dy_BTE.stride(0), grad, slice(dh_BNE, b));
      });
    });
    return {dx_BTE, d_dt_BTE, dA_BNE.sum(0).t(), dB_BGTN.sum(1), dC_BGTN.sum(1), dD_BE.sum(0)};
  }
};

void check(const ScanInputs& in) {
  const auto B = in.x_BTE.size(0), T = in.x_BTE.size(1), E = in.x_BTE.size(2);
  TTT_CHECK(in.dt_BTE.sizes() == in.x_BTE.sizes(), "dt ", in.dt_BTE.sizes(), ", x ", in.x_BTE.sizes());
  TTT_CHECK(in.A_EN.sizes() == at::IntArrayRef({E, kScanStates}), "A ", in.A_EN.sizes(), ", x ", in.x_BTE.sizes());
  for (const at::Tensor& projection : {in.B_BTN, in.C_BTN})
    TTT_CHECK(projection.sizes() == at::IntArrayRef({B, T, kScanStates}), projection.sizes(), ", x ", in.x_BTE.sizes());
  TTT_CHECK(in.D_E.sizes() == at::IntArrayRef({E}), "D ", in.D_E.sizes());
}

}  // namespace

at::Tensor selective_scan_composed(const ScanInputs& in, at::Tensor* h_BNE) {
  const at::Tensor A_NE = in.A_EN.t();
  at::Tensor h = h_BNE != nullptr && h_BNE->defined()
                     ? *h_BNE
                     : at::zeros({in.x_BTE.size(0), kScanStates, in.x_BTE.size(2)}, in.x_BTE.options());
  std::vector<at::Tensor> outputs;
  for (std::int64_t t = 0; t < in.x_BTE.size(1); ++t) {
    const at::Tensor x_BE = in.x_BTE.select(1, t), dt_B1E = in.dt_BTE.select(1, t).unsqueeze(1);
    const at::Tensor u_B1E = dt_B1E * x_BE.unsqueeze(1);
    h = at::exp(dt_B1E * A_NE) * h + in.B_BTN.select(1, t).unsqueeze(2) * u_B1E;
    outputs.push_back((in.C_BTN.select(1, t).unsqueeze(2) * h).sum(1) + in.D_E * x_BE);
  }
  if (h_BNE != nullptr) *h_BNE = h;
  return at::stack(outputs, 1);
}

at::Tensor selective_scan(const ScanInputs& in) {
  check(in);
  if (!loops_take(in.x_BTE)) return selective_scan_composed(in);
  return SelectiveScanFunction::apply(in.x_BTE, in.dt_BTE, in.A_EN, in.B_BTN, in.C_BTN, in.D_E);
}

at::Tensor selective_scan_advance(const ScanInputs& in, at::Tensor& h_BNE) {
  const torch::NoGradGuard no_grad;
  check(in);
  if (!loops_take(in.x_BTE)) return selective_scan_composed(in, &h_BNE);
  if (cuda_kernels_take(in.x_BTE))
    return on_cuda::selective_scan(contiguous(in), in.A_EN.t().contiguous(), h_BNE, nullptr);
  return run(contiguous(in), in.A_EN.t().contiguous(), h_BNE, {});
}

}  // namespace ttt
