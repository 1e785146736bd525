#include "ops/swiglu.h"

#include <torch/csrc/autograd/custom_function.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "kernels/cpu/rows.h"
#include "ops/parallel.h"
#include "ops/row_cuda.h"
#include "ops/row_dispatch.h"

namespace ttt {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::int64_t kGrain = kGrainValues / 4;  // an exponential a value

struct SwigluFunction : torch::autograd::Function<SwigluFunction> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate, const at::Tensor& up) {
    const at::Tensor y = at::empty_like(gate);
    context->save_for_backward({gate, up});
    if (cuda_takes(gate, gate.scalar_type())) {
      on_cuda::swiglu(gate, up, y);
      return y;
    }
    dispatch_rows(gate.scalar_type(), [&](auto types) {
      using T = typename decltype(types)::T;
      using S = typename decltype(types)::S;
      const S *gate_ptr = values<S>(gate), *up_ptr = values<S>(up);
      S* y_ptr = mutable_values<S>(y);
      parallel_ranges(gate.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
        rows::swiglu<T, S>(end - begin, gate_ptr + begin, up_ptr + begin, y_ptr + begin);
      });
    });
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &gate = saved[0], &up = saved[1];
    const at::Tensor dy = grads[0].contiguous();
    const at::Tensor d_gate = at::empty_like(gate), d_up = at::empty_like(up);
    if (cuda_takes(gate, gate.scalar_type())) {
      on_cuda::swiglu_backward(dy, gate, up, d_gate, d_up);
      return {d_gate, d_up};
    }
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
    return {d_gate, d_up};
  }
};

}  // namespace

at::Tensor swiglu_composed(const at::Tensor& gate, const at::Tensor& up) {
  return at::silu(gate) * up.to(gate.scalar_type());
}

at::Tensor swiglu(const at::Tensor& gate, const at::Tensor& up) {
  TTT_CHECK(gate.sizes() == up.sizes(), "gate ", gate.sizes(), ", up ", up.sizes());
  if (!rows_take(gate) && !cuda_takes(gate, gate.scalar_type())) return swiglu_composed(gate, up);
  return SwigluFunction::apply(gate.contiguous(), up.to(gate.scalar_type()).contiguous());
}

}  // namespace ttt
