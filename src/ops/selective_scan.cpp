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
#include "ops/row_dispatch.h"

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

// Gradients, A's as [N,E].
struct ScanGradients {
  at::Tensor x_BTE, dt_BTE, A_NE, B_BTN, C_BTN, D_E;
};

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

struct FusedScan {
  static at::Tensor forward(const ScanInputs& in, const at::Tensor& A_NE, at::Tensor* starts) {
    const Sizes sizes(in.x_BTE);
    const auto options = in.x_BTE.options();
    const at::Tensor h_BNE = at::zeros({sizes.batch, kScanStates, sizes.channels}, options);
    *starts = at::empty({sizes.batch, sizes.chunks, kScanStates, sizes.channels}, options);
    return run(in, A_NE, h_BNE, *starts);
  }
  static at::Tensor advance(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE) {
    return run(in, A_NE, h_BNE, {});
  }
  static ScanGradients backward(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& starts_BSNE,
                                const at::Tensor& dy_BTE) {
    const Sizes sizes(in.x_BTE);
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
                                            starts_BSNE.const_data_ptr<T>() + b * starts_BSNE.stride(0),
                                            dy_BTE.const_data_ptr<T>() + b * dy_BTE.stride(0), grad, slice(dh_BNE, b));
      });
    });
    return {dx_BTE, d_dt_BTE, dA_BNE.sum(0), dB_BGTN.sum(1), dC_BGTN.sum(1), dD_BE.sum(0)};
  }
};

struct ScanBuffers {
  at::Tensor carries, dt_sums;

  ScanBuffers(const kernels::cuda::ScanInputs& in, const at::TensorOptions& options) {
    if (in.segments() == 1) return;
    carries = at::empty({in.sequences, in.segments(), kernels::kScanStates, in.channels}, options);
    dt_sums = at::empty({in.sequences, in.segments(), in.channels}, options);
  }
  kernels::cuda::ScanWorkspace pointers() const { return {data_of<float>(carries), data_of<float>(dt_sums)}; }
};

kernels::cuda::ScanInputs cuda_scan_inputs(const ScanInputs& in, const at::Tensor& A_NE) {
  kernels::cuda::ScanInputs p;
  p.sequences = in.x_BTE.size(0), p.time = in.x_BTE.size(1), p.channels = in.x_BTE.size(2);
  p.segment = kernels::cuda::scan_segment(p.sequences, p.time, p.channels);
  p.x = data_of<const float>(in.x_BTE), p.dt = data_of<const float>(in.dt_BTE), p.A = data_of<const float>(A_NE);
  p.B = data_of<const float>(in.B_BTN), p.C = data_of<const float>(in.C_BTN), p.D = data_of<const float>(in.D_E);
  return p;
}

// fp32, contiguous, A as [N,E]. h [B,N,E] is advanced, or undefined: from zeros. Returns y; `starts` gets the states
// before each chunk when it is not null.
at::Tensor cuda_scan(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE, at::Tensor* starts) {
  kernels::cuda::ScanForward p;
  p.in = cuda_scan_inputs(in, A_NE);
  const auto options = in.x_BTE.options();
  const ScanBuffers work(p.in, options);
  const at::Tensor y_BTE = at::empty_like(in.x_BTE);
  if (starts != nullptr)
    *starts = at::empty({p.in.sequences, p.in.chunks(), kernels::kScanStates, p.in.channels}, options);
  p.h = data_of<const float>(h_BNE), p.h_end = data_of<float>(h_BNE), p.y = data_of<float>(y_BTE);
  p.starts = starts == nullptr ? nullptr : data_of<float>(*starts);
  p.work = work.pointers();
  launch_cuda(in.x_BTE.device(), p);
  return y_BTE;
}

ScanGradients cuda_scan_backward(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& starts,
                                 const at::Tensor& dy_BTE) {
  kernels::cuda::ScanBackward p;
  p.in = cuda_scan_inputs(in, A_NE);
  const auto options = in.x_BTE.options();
  const ScanBuffers work(p.in, options);
  const auto B = p.in.sequences, T = p.in.time, E = p.in.channels, L = p.in.segments(), N = kernels::kScanStates;
  const at::Tensor dx = at::empty_like(in.x_BTE), d_dt = at::empty_like(in.x_BTE);
  const at::Tensor dA = at::empty({B * L, N, E}, options), dD = at::empty({B * L, E}, options);
  const at::Tensor dB = at::empty({B, p.in.groups(), T, N}, options), dC = at::empty_like(dB);
  p.starts = data_of<const float>(starts), p.dy = data_of<const float>(dy_BTE);
  p.dx = data_of<float>(dx), p.d_dt = data_of<float>(d_dt);
  p.dA = data_of<float>(dA), p.dD = data_of<float>(dD), p.dB = data_of<float>(dB), p.dC = data_of<float>(dC);
  p.work = work.pointers();
  launch_cuda(in.x_BTE.device(), p);
  return {dx, d_dt, dA.sum(0), dB.sum(1), dC.sum(1), dD.sum(0)};
}

struct CudaScan {
  static at::Tensor forward(const ScanInputs& in, const at::Tensor& A_NE, at::Tensor* starts) {
    return cuda_scan(in, A_NE, {}, starts);
  }
  static at::Tensor advance(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& h_BNE) {
    return cuda_scan(in, A_NE, h_BNE, nullptr);
  }
  static ScanGradients backward(const ScanInputs& in, const at::Tensor& A_NE, const at::Tensor& starts,
                                const at::Tensor& dy_BTE) {
    return cuda_scan_backward(in, A_NE, starts, dy_BTE);
  }
};

template <class Row>
struct SelectiveScanFunction : torch::autograd::Function<SelectiveScanFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x_BTE, const at::Tensor& dt_BTE,
                            const at::Tensor& A_EN, const at::Tensor& B_BTN, const at::Tensor& C_BTN,
                            const at::Tensor& D_E) {
    const ScanInputs in = contiguous({x_BTE, dt_BTE, A_EN, B_BTN, C_BTN, D_E});
    const at::Tensor A_NE = A_EN.t().contiguous();
    at::Tensor starts;
    const at::Tensor y_BTE = Row::forward(in, A_NE, &starts);
    context->save_for_backward({in.x_BTE, in.dt_BTE, A_NE, in.B_BTN, in.C_BTN, in.D_E, starts});
    return y_BTE;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    const ScanInputs in = {saved[0], saved[1], at::Tensor(), saved[3], saved[4], saved[5]};
    const ScanGradients d = Row::backward(in, saved[2], saved[6], grads[0].contiguous());
    return {d.x_BTE, d.dt_BTE, d.A_NE.t(), d.B_BTN, d.C_BTN, d.D_E};
  }
};

struct ScanRow {
  at::Tensor (*scan)(const ScanInputs& in);
  at::Tensor (*advance)(const ScanInputs& in, at::Tensor& h_BNE);
};

template <class Row>
constexpr ScanRow scan_row() {
  return {[](const ScanInputs& in) {
            return SelectiveScanFunction<Row>::apply(in.x_BTE, in.dt_BTE, in.A_EN, in.B_BTN, in.C_BTN, in.D_E);
          },
          [](const ScanInputs& in, at::Tensor& h_BNE) {
            return Row::advance(contiguous(in), in.A_EN.t().contiguous(), h_BNE);
          }};
}

const std::vector<KernelBlock>& cuda_scan_blocks() {
  using namespace kernels::cuda;
  static const std::vector<KernelBlock> blocks = {
      {at::kFloat, 0, kScanForwardSharedBytes, kScanBackwardSharedBytes, kScanForwardSharedBytes}};
  return blocks;
}

const OpKernels<ScanRow>& scan_rows() {
  static const OpKernels<ScanRow> rows(
      "selective_scan",
      {{{"cuda", {.place = KernelPlace::kGpu, .dtypes = {at::kFloat}, .blocks = cuda_scan_blocks}},
        scan_row<CudaScan>()},
       {{"fused", {.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kDouble}}}, scan_row<FusedScan>()},
       {{"composed"},
        {[](const ScanInputs& in) { return selective_scan_composed(in); },
         [](const ScanInputs& in, at::Tensor& h_BNE) { return selective_scan_composed(in, &h_BNE); }}}},
      {.fp32_in_bf16_models = true});
  return rows;
}

const ScanRow& choose_scan(const ScanInputs& in) {
  const auto learns = [](const at::Tensor& x) { return x.requires_grad(); };
  const bool differentiate = at::GradMode::is_enabled() && (learns(in.x_BTE) || learns(in.dt_BTE) || learns(in.A_EN) ||
                                                            learns(in.B_BTN) || learns(in.C_BTN) || learns(in.D_E));
  return scan_rows()
      .choose({.device = in.x_BTE.device(), .dtype = in.x_BTE.scalar_type(), .pass = pass_of(differentiate)})
      .run;
}

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
  return choose_scan(in).scan(in);
}

at::Tensor selective_scan_advance(const ScanInputs& in, at::Tensor& h_BNE) {
  const torch::NoGradGuard no_grad;
  check(in);
  return choose_scan(in).advance(in, h_BNE);
}

const KernelTable& selective_scan_kernels() {
  return scan_rows();
}

}  // namespace ttt
