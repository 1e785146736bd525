// The fused passes behind FusedTtt's functions, for the instruction set that the including file is compiled for.
#pragma once

#include "kernels/cpu/ttt_fused.h"
#include "kernels/cpu/ttt_fused_decode.h"
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

std::int64_t fused_decode_workspace(const TttHead& head) {
  Arena arena(nullptr);
  DecodePass(head, arena);
  return arena.used();
}

void fused_decode(const TttHead& head, const TttDecodeState& state, HeadRows<float> o, float* workspace) {
  Arena arena(workspace);
  [[maybe_unused]] const ProductSession session;
  DecodePass(head, arena).run(state, o);
}

// A row of fused_ttt().
constexpr FusedTtt fused_row(const char* name, bool bf16_products, bool (*supported)()) {
  return {name,           bf16_products,          supported,   fused_workspace, fused_forward,
          fused_backward, fused_decode_workspace, fused_decode};
}

}  // namespace
}  // namespace ttt::kernels
