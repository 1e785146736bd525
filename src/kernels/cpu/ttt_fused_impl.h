// The fused passes behind FusedTtt's functions, for the instruction set that the including file is compiled for.
#pragma once

#include "kernels/cpu/ttt_fused.h"
#include "kernels/cpu/ttt_fused_linear.h"
#include "kernels/cpu/ttt_fused_mlp.h"

namespace ttt::kernels {
namespace {

std::int64_t fused_workspace(const TttHead& head, bool backward) {
  Arena arena(nullptr);
  head.hidden == 0 ? (void)LinearPass(head, backward, arena) : (void)MlpPass(head, backward, arena);
  return arena.used();
}

void fused_forward(const TttHead& head, const TttHeadOutputs& result, float* workspace) {
  Arena arena(workspace);
  [[maybe_unused]] const ProductSession session;
  if (head.hidden == 0) return LinearPass(head, /*backward=*/false, arena).forward(result);
  MlpPass(head, /*backward=*/false, arena).forward(result);
}

void fused_backward(const TttHead& head, const TttHeadGradients& gradients, float* workspace) {
  Arena arena(workspace);
  [[maybe_unused]] const ProductSession session;
  if (head.hidden == 0) return LinearPass(head, /*backward=*/true, arena).backward(gradients);
  MlpPass(head, /*backward=*/true, arena).backward(gradients);
}

}  // namespace
}  // namespace ttt::kernels
