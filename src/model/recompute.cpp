#include "model/recompute.h"

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>
#include <torch/custom_class.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/error.h"
#include "ops/kernel_table.h"

namespace ttt {
namespace {

struct Again : torch::CustomClassHolder {
  explicit Again(TensorFunction f) : function(std::move(f)) {}
  TensorFunction function;
};

struct RecomputedFunction : torch::autograd::Function<RecomputedFunction> {
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& x, const TensorFunction& first,
                            const TensorFunction& again) {
    context->save_for_backward({x});
    context->saved_data["again"] = c10::IValue::make_capsule(c10::make_intrusive<Again>(again));
    const ToBeComputedAgain as_in_training;
    return first(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& grads) {
    const auto again = c10::static_intrusive_pointer_cast<Again>(context->saved_data["again"].toCapsule());
    const at::Tensor x = context->get_saved_variables()[0].detach().requires_grad_(true);
    const torch::AutoGradMode with_gradients(true);
    torch::autograd::backward({again->function(x)}, {grads[0]});
    return {x.grad(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

at::Tensor recomputed(const TensorFunction& first, const TensorFunction& again, const at::Tensor& x) {
  TTT_CHECK(x.requires_grad(), "an input without a gradient");
  return RecomputedFunction::apply(x, first, again);
}

}  // namespace ttt
