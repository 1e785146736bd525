#include "ops/attention.h"

#include <ATen/Context.h>
#include <ATen/Version.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/error.h"
#include "ops/products.h"

namespace ttt {

namespace {

// Queries that are taken at once under a window: long enough for good products, short enough that few of the block's
// (queries x (window + queries)) scores are masked.
constexpr std::int64_t kWindowBlock = 256;

// Key s is visible to query t when t - window < s <= t, positions of queries first_query.. and keys first_key.. .
at::Tensor visible(std::int64_t queries, std::int64_t keys, std::int64_t offset, std::int64_t window,
                   const at::TensorOptions& options) {
  const at::Tensor ones_TS = at::ones({queries, keys}, options.dtype(at::kBool));
  const at::Tensor causal_TS = ones_TS.tril(offset);
  return window > 0 ? causal_TS.logical_and(ones_TS.triu(offset - window + 1)) : causal_TS;
}

// Whether LibTorch's attention takes bf16 there. On x86 its kernels for AVX2 are no faster than in fp32, and throw
// where ATEN_CPU_CAPABILITY chose them on a processor with AMX.
bool has_bf16_attention() {
#ifdef __x86_64__
  static const bool avx512 = at::get_cpu_capability() == "AVX512";
  return avx512;
#else
  return true;
#endif
}

// Blocks of queries, each against the keys that any of them sees.
at::Tensor windowed_attention(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK,
                              std::int64_t window) {
  const auto T = q_BHTK.size(2), S = k_BHSK.size(2), past = S - T;
  std::vector<at::Tensor> parts;
  for (std::int64_t first = 0; first < T; first += kWindowBlock) {
    const std::int64_t count = std::min(kWindowBlock, T - first), position = past + first;
    const std::int64_t begin = std::max<std::int64_t>(0, position - window + 1), keys = position + count - begin;
    parts.push_back(at::scaled_dot_product_attention(q_BHTK.narrow(2, first, count), k_BHSK.narrow(2, begin, keys),
                                                     v_BHSK.narrow(2, begin, keys),
                                                     visible(count, keys, position - begin, window, q_BHTK.options())));
  }
  return parts.size() == 1 ? parts.front() : at::cat(parts, 2);
}

at::Tensor sdpa(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK, std::int64_t window) {
  const auto T = q_BHTK.size(2), S = k_BHSK.size(2);
  if (window > 0 && window < S) return windowed_attention(q_BHTK, k_BHSK, v_BHSK, window);
  if (S == T) return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, std::nullopt, 0.0, /*is_causal=*/true);
  if (T == 1) return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK);
  return at::scaled_dot_product_attention(q_BHTK, k_BHSK, v_BHSK, visible(T, S, S - T, 0, q_BHTK.options()));
}

at::Tensor sdpa_in_fp32(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK,
                        std::int64_t window) {
  return sdpa(q_BHTK.to(at::kFloat), k_BHSK.to(at::kFloat), v_BHSK.to(at::kFloat), window).to(q_BHTK.scalar_type());
}

// Whether bf16 is to be computed in fp32 there.
bool attention_through_fp32(at::Device device) {
  return device.is_cpu() && (bf16_products() == Bf16Products::kFp32Panels || !has_bf16_attention());
}

// --- the same gradient every time ---

// LibTorch's attention for GPUs adds up the gradient of q in any order, also where non-deterministic kernels are warned
// of (warn_only); it does not while anything else would be an error. So these two stand around its backward pass; the
// second sets what the first found.
struct Determinism {
  bool on = true, warn_only = true;
};
struct StrictBefore : torch::autograd::FunctionPreHook {
  explicit StrictBefore(std::shared_ptr<Determinism> shared) : found(std::move(shared)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& grads) override {
    at::Context& context = at::globalContext();
    *found = {context.deterministicAlgorithms(), context.deterministicAlgorithmsWarnOnly()};
    context.setDeterministicAlgorithms(true, /*warn_only=*/false);
    return grads;
  }
  std::shared_ptr<Determinism> found;
};
struct AsBefore : torch::autograd::FunctionPostHook {
  explicit AsBefore(std::shared_ptr<Determinism> shared) : found(std::move(shared)) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& outputs,
                                            const torch::autograd::variable_list&) override {
    at::globalContext().setDeterministicAlgorithms(found->on, found->warn_only);
    return outputs;
  }
  std::shared_ptr<Determinism> found;
};

constexpr int kFarthestNode = 6;  // between an attention's output and its node: slices, transposes, the cat of windows

std::int64_t hook_attention(torch::autograd::Node* node, int depth, std::set<torch::autograd::Node*>& seen) {
  if (node == nullptr || depth > kFarthestNode || !seen.insert(node).second) return 0;
  if (node->name().find("ScaledDotProduct") != std::string::npos) {
    const auto shared = std::make_shared<Determinism>();
    node->add_pre_hook(std::make_unique<StrictBefore>(shared));
    node->add_post_hook(std::make_unique<AsBefore>(shared));
    return 1;
  }
  std::int64_t count = 0;
  for (const torch::autograd::Edge& edge : node->next_edges())
    count += hook_attention(edge.function.get(), depth + 1, seen);
  return count;
}

using AttentionKernels = OpKernels<at::Tensor (*)(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK,
                                                  const at::Tensor& v_BHSK, std::int64_t window)>;

const AttentionKernels& attention_rows() {
  static const AttentionKernels rows(
      "attention",
      {{{"sdpa", {.native_bf16 = true}}, sdpa}, {{"sdpa_fp32", {.dtypes = {at::kBFloat16, at::kFloat}}}, sdpa_in_fp32}},
      {.bf16_through_fp32 = attention_through_fp32});
  return rows;
}

}  // namespace

at::Tensor causal_attention(const at::Tensor& q_BHTK, const at::Tensor& k_BHSK, const at::Tensor& v_BHSK,
                            std::int64_t window) {
  const auto T = q_BHTK.size(2), S = k_BHSK.size(2);
  TTT_CHECK(S >= T && T >= 1 && window >= 0, T, " queries, ", S, " keys, window ", window);
  const at::Tensor o_BHTK = attention_rows()
                                .choose({.device = q_BHTK.device(),
                                         .dtype = q_BHTK.scalar_type(),
                                         .bf16_through_fp32 = q_BHTK.scalar_type() == at::kBFloat16 &&
                                                              attention_through_fp32(q_BHTK.device())})
                                .run(q_BHTK, k_BHSK, v_BHSK, window);
  if (at::globalContext().deterministicAlgorithms()) make_attention_gradient_exact(o_BHTK);
  return o_BHTK;
}

std::int64_t make_attention_gradient_exact(const at::Tensor& o_BHTK) {
  std::set<torch::autograd::Node*> seen;
  return hook_attention(o_BHTK.grad_fn().get(), 0, seen);
}

const KernelTable& attention_kernels() {
  return attention_rows();
}

}  // namespace ttt
