#include "ops/attention.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <optional>

#include "base/error.h"

namespace ttt {

at::Tensor causal_attention(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK) {
  const auto T = q_BHTK.size(2), S = k_BHSK.size(2);
  TTT_CHECK(S >= T && T >= 1, T, " queries, ", S, " keys");
  if (S == T) return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, std::nullopt, 0.0, /*is_causal=*/true);
  if (T == 1) return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK);
  const at::Tensor visible_TS = at::ones({T, S}, q_BHTK.options().dtype(at::kBool)).tril(S - T);
  return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, visible_TS);
}

}  // namespace ttt
