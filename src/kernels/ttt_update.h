// What a mini-batch changes of the fast weights. The defaults are the paper's; CUDA kernels and fused ones know no
// others, so this stands apart from ttt_params.h.
#pragma once

#include <cstdint>

namespace ttt::kernels {

struct TttUpdate {
  // Layers of the inner net are x W + c, and c learns; else c stays what it is (the net's callers give zeros).
  bool biases = true;
  // Gradient steps of a mini-batch. A token's gradient in a step is taken at the weights that its own row has after the
  // steps before: those of the tokens up to itself, so that a step is causal. With mini-batches of one token these are
  // steps of gradient descent on its loss.
  std::int64_t steps = 1;
  bool operator==(const TttUpdate&) const = default;
};

}  // namespace ttt::kernels
