// Attention's backward pass is told to add up in one order, wherever its node lies in the graph.
#include "ops/attention.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/function_hook.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <memory>
#include <vector>

namespace ttt {
namespace {

// What LibTorch is set to while a node's backward pass runs.
struct Seen : torch::autograd::FunctionPreHook {
  explicit Seen(std::vector<bool>& of) : warn_only(of) {}
  torch::autograd::variable_list operator()(const torch::autograd::variable_list& grads) override {
    warn_only.push_back(at::globalContext().deterministicAlgorithmsWarnOnly());
    return grads;
  }
  std::vector<bool>& warn_only;
};

void watch(torch::autograd::Node* node, int depth, std::vector<bool>& attention, std::vector<bool>& others) {
  if (node == nullptr || depth > 8) return;
  const bool is_attention = node->name().find("ScaledDotProduct") != std::string::npos;
  node->add_pre_hook(std::make_unique<Seen>(is_attention ? attention : others));
  if (is_attention) return;
  for (const torch::autograd::Edge& edge : node->next_edges()) watch(edge.function.get(), depth + 1, attention, others);
}

TEST(AttentionGradient, AddsUpInOneOrder) {
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  torch::manual_seed(3);
  for (const std::int64_t window : {0, 100}) {
    const at::Tensor q = torch::randn({1, 2, 600, 16}, at::requires_grad()),
                     k = torch::randn({1, 2, 600, 16}, at::requires_grad()),
                     v = torch::randn({1, 2, 600, 16}, at::requires_grad());
    const at::Tensor o = causal_attention(q, k, v, window).transpose(1, 2);
    o.sum().backward();
    const at::Tensor expected = q.grad().clone();
    q.mutable_grad().zero_();
    const at::Tensor again = causal_attention(q, k, v, window).transpose(1, 2);
    std::vector<bool> attention, others;
    watch(again.grad_fn().get(), 0, attention, others);
    again.sum().backward();
    EXPECT_TRUE(at::equal(q.grad(), expected));
    EXPECT_EQ(attention, std::vector<bool>(window == 0 ? 1 : 3, false)) << "anything else would be an error there";
    EXPECT_FALSE(others.empty());
    for (const bool warn_only : others) EXPECT_TRUE(warn_only);
    EXPECT_TRUE(at::globalContext().deterministicAlgorithmsWarnOnly());
  }
  // What stood before the backward pass stands after it.
  const at::Tensor q = torch::randn({1, 2, 600, 16}, at::requires_grad());
  const at::Tensor made_before = causal_attention(q, q, q, 0);
  for (const auto& [on, warn_only] : {std::pair(true, false), std::pair(false, false)}) {
    at::globalContext().setDeterministicAlgorithms(on, warn_only);
    made_before.sum().backward({}, /*retain_graph=*/true);
    EXPECT_EQ(at::globalContext().deterministicAlgorithms(), on);
    EXPECT_EQ(at::globalContext().deterministicAlgorithmsWarnOnly(), warn_only);
  }
  EXPECT_EQ(make_attention_gradient_exact(causal_attention(q, q, q, 100)), 3) << "blocks of 256 queries";
  EXPECT_EQ(make_attention_gradient_exact(torch::zeros({1, 1, 2, 2})), 0) << "no graph";
}

}  // namespace
}  // namespace ttt
