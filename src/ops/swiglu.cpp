#include "ops/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "kernels/cuda/row_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"
#include "ops/parallel.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrain = kGrainValues / 4;  // an exponential a value

struct FusedSwiglu {
  static void forward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y) {
    dispatch_rows(gate.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S *gate_ptr = values<S>(gate), *up_ptr = values<S>(up);
      S* y_ptr = mutable_values<S>(y);
      parallel_ranges(gate.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        rows::swiglu<T, S>(end - begin, gate_ptr + begin, up_ptr + begin, y_ptr + begin);
      });
    });
  }

  static void backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& d_gate,
                       const at::Tensor& d_up) {
    dispatch_rows(gate.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S *dy_ptr = values<S>(dy), *gate_ptr = values<S>(gate), *up_ptr = values<S>(up);
      S *d_gate_ptr = mutable_values<S>(d_gate), *d_up_ptr = mutable_values<S>(d_up);
      parallel_ranges(gate.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        rows::swiglu_backward<T, S>(end - begin, dy_ptr + begin, gate_ptr + begin, up_ptr + begin, d_gate_ptr + begin,
                                    d_up_ptr + begin);
      });
    });
  }
};

struct CudaSwiglu {
  template <class T>
  static kernels::cuda::StridedRows<T> one_row(const at::Tensor& x) {
    return {static_cast<T*>(x.data_ptr()), x.numel()};
  }

  static void forward(const at::Tensor& gate, const at::Tensor& up, const at::Tensor& y) {
    dispatch_elements(gate.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      kernels::cuda::SwigluForward<Element> p;
      p.rows = 1, p.width = gate.numel();
      p.gate = one_row<const Element>(gate), p.up = one_row<const Element>(up), p.y = one_row<Element>(y);
      launch_cuda(gate.device(), p);
    });
  }

  static void backward(const at::Tensor& dy, const at::Tensor& gate, const at::Tensor& up, const at::Tensor& d_gate,
                       const at::Tensor& d_up) {
    dispatch_elements(gate.scalar_type(), [&](auto element) {
      using Element = decltype(element);
      kernels::cuda::SwigluBackward<Element> p;
      p.rows = 1, p.width = gate.numel();
      p.dy = one_row<const Element>(dy), p.gate = one_row<const Element>(gate), p.up = one_row<const Element>(up);
      p.dgate = one_row<Element>(d_gate), p.dup = one_row<Element>(d_up);
      launch_cuda(gate.device(), p);
    });
  }
};

template <class Row>
struct SwigluFunction : torch::autograd::Function<SwigluFunction<Row>> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    const at::Tensor y = at::empty_like(gate);
    context->save_for_backward({gate, up});
    Row::forward(gate, up, y);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(up);
    Row::backward(grads[0].contiguous(), gate, up, d_gate, d_up);
    return {d_gate, d_up};
  }
};

template <class Row>
at::Tensor swiglu_with(const at::Tensor& gate, const at::Tensor& up) {
  return SwigluFunction<Row>::apply(gate.contiguous(), up.to(gate.scalar_type()).contiguous());
}

using SwigluKernels = OpKernels<at::Tensor (*)(const at::Tensor& gate, const at::Tensor& up)>;

const SwigluKernels& swiglu_rows() {
  static const SwigluKernels rows("swiglu", {{{"cuda", needs_of_cuda_rows()}, swiglu_with<CudaSwiglu>},
                                             {{"fused", needs_of_cpu_rows()}, swiglu_with<FusedSwiglu>},
                                             {{"composed"}, swiglu_composed}});
  return rows;
}

}  // namespace

at::Tensor swiglu_composed(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up.to(gate.scalar_type());
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TTT_CHECK(gate.sizes() == up.sizes(), "gate ", gate.sizes(), ", up ", up.sizes());
  return swiglu_rows().choose({.device = gate.device(), .dtype = gate.scalar_type()}).run(gate, up);
}

const KernelTable& swiglu_kernels() {
  return swiglu_rows();
}

}  // namespace ttt
