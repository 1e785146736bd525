// Where the inner loop is something that has a name of its own (arXiv 2407.04620, theorem 1 and section 2.4), exactly:
// linear attention, DeltaNet, and gradient descent written out token by token. In fp64, to rounding, the reference and
// the composed row.
//
// Shapes: B batch, H heads, T time, K head size, C mini-batch.
#include "ops/gated_delta.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::Sizes;

constexpr double kRounding = 1e-12;

// f(x) = W x: no bias, LN or residual.
TttNet linear_f(std::int64_t steps = 1) {
  return testing::net_of(1, {.layer_norm = false, .residual = false}, {.biases = false, .steps = steps});
}

// W0 = 0 and a rate for every token, the same at every place: E_ij = rate_j.
Arguments from_zero(const Sizes& s, const at::Tensor& rate_BHT) {
  Arguments a = testing::random_arguments(s);
  a.inputs.sigma_BHT = rate_BHT;
  a.inputs.scale_C = at::ones_like(a.inputs.scale_C);
  for (at::Tensor& w : a.weights) w = at::zeros_like(w);
  return a;
}

at::Tensor unit_rates(const Sizes& s) {
  return at::ones({s.batch, s.heads, s.time}, at::kDouble);
}

// body(row) for the rows that take any net.
template <class Body>
void for_general_rows(const TttNet& net, const Body& body) {
  const TttKernels& kernels = ttt_kernels(net);
  for (const char* name : {"reference", "composed"}) {
    SCOPED_TRACE(name);
    body(kernels[kernels.find(name, "the test")]);
  }
}

// O and the gradients of q, k and v by autograd, of a formula for O.
template <class Formula>
std::vector<at::Tensor> differentiated(const Arguments& a, const at::Tensor& grad_o, const Formula& formula) {
  const auto leaf = [](const at::Tensor& x) { return x.detach().clone().requires_grad_(true); };
  const std::vector<at::Tensor> leaves = {leaf(a.inputs.q_BHTK), leaf(a.inputs.k_BHTK), leaf(a.inputs.v_BHTK)};
  const at::Tensor o = formula(leaves[0], leaves[1], leaves[2]);
  std::vector<at::Tensor> all = torch::autograd::grad({o}, leaves, {grad_o});
  all.insert(all.begin(), o.detach());
  return all;
}

void expect_equal(const TttKernel& row, const Sizes& s, const Arguments& a, const at::Tensor& grad_o,
                  const std::vector<at::Tensor>& expected) {
  const testing::Result actual = testing::run(row, s, a, grad_o);
  const TttInputs& d = actual.gradients.inputs;
  EXPECT_LE(testing::relative_error(actual.o, expected[0]), kRounding);
  EXPECT_LE(testing::relative_error(d.q_BHTK, expected[1]), kRounding);
  EXPECT_LE(testing::relative_error(d.k_BHTK, expected[2]), kRounding);
  EXPECT_LE(testing::relative_error(d.v_BHTK, expected[3]), kRounding);
}

// Theorem 1: with one mini-batch for the sequence (b = T, or more) and eta = 1, which is the paper's 1/2 of a loss
// without our 1/2, o_t = sum_{s<=t} v_s (k_s . q_t).
TEST(TttSpecialCases, OneMiniBatchOfALinearNetIsLinearAttention) {
  const testing::SingleThread single_thread;
  for (const std::int64_t mini_batch : {37, 64}) {
    const Sizes s{linear_f(), 2, 3, 37, 6, mini_batch};
    const Arguments a = from_zero(s, unit_rates(s));
    const at::Tensor grad_o = testing::random_grad(s);
    const auto expected = differentiated(a, grad_o, [](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
      return at::matmul(at::matmul(q, k.transpose(-1, -2)).tril(), v);
    });
    for_general_rows(s.net, [&](const TttKernel& row) { expect_equal(row, s, a, grad_o, expected); });
  }
}

// One token a mini-batch: S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T, o_t = S_t^T q_t, beta = eta.
TEST(TttSpecialCases, OneTokenAMiniBatchIsDeltaNet) {
  const testing::SingleThread single_thread;
  const Sizes s{linear_f(), 2, 3, 29, 6, 1};
  const Arguments a = from_zero(s, 0.3 * at::rand({s.batch, s.heads, s.time}, at::kDouble));
  const at::Tensor grad_o = testing::random_grad(s), beta_BHT = a.inputs.sigma_BHT;
  const auto expected = differentiated(a, grad_o, [&](const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
    at::Tensor state = at::zeros({s.batch, s.heads, s.head_dim, s.head_dim}, at::kDouble);
    std::vector<at::Tensor> outputs;
    for (std::int64_t t = 0; t < s.time; ++t) {
      const at::Tensor k_t = k.select(2, t), beta = beta_BHT.select(2, t).unsqueeze(-1);
      const at::Tensor error = v.select(2, t) - (state * k_t.unsqueeze(-1)).sum(2);
      state = state + k_t.unsqueeze(-1) * (beta * error).unsqueeze(2);
      outputs.push_back((state * q.select(2, t).unsqueeze(-1)).sum(2));
    }
    return at::stack(outputs, 2);
  });
  for_general_rows(s.net, [&](const TttKernel& row) { expect_equal(row, s, a, grad_o, expected); });
}

// The same against the gated delta rule with a gate of 1, which normalises its queries and keys.
TEST(TttSpecialCases, OneTokenAMiniBatchIsTheDeltaRuleWithoutItsGate) {
  const testing::SingleThread single_thread;
  const Sizes s{linear_f(), 2, 3, 70, 8, 1};
  Arguments a = from_zero(s, at::rand({s.batch, s.heads, s.time}, at::kDouble));
  GatedDeltaInputs in{a.inputs.q_BHTK, a.inputs.k_BHTK, a.inputs.v_BHTK,
                      at::zeros({s.batch, s.heads, s.time}, at::kDouble), a.inputs.sigma_BHT};
  const auto normalised = [](const at::Tensor& x) { return x / (x.square().sum(-1, true) + 1e-6).sqrt(); };
  a.inputs.q_BHTK = normalised(in.q_BHTK) / std::sqrt(static_cast<double>(s.head_dim));
  a.inputs.k_BHTK = normalised(in.k_BHTK);
  for (const GatedDeltaKernel& delta : gated_delta_kernels()) {
    if (delta.name != "reference" && delta.name != "composed") continue;
    const at::Tensor expected = delta.run.forward(in, nullptr, nullptr);
    for_general_rows(s.net, [&](const TttKernel& row) {
      const at::Tensor o = row.run.forward(s.net, a.inputs, a.weights, s.mini_batch, nullptr);
      EXPECT_LE(testing::relative_error(o, expected), kRounding) << delta.name;
    });
  }
}

// Two steps a token are two steps of the delta rule on the same token.
TEST(TttSpecialCases, StepsOfOneTokenAreStepsOfTheDeltaRule) {
  const testing::SingleThread single_thread;
  const Sizes s{linear_f(2), 2, 3, 29, 6, 1};
  const Arguments a = from_zero(s, 0.3 * at::rand({s.batch, s.heads, s.time}, at::kDouble));
  at::Tensor state = at::zeros({s.batch, s.heads, s.head_dim, s.head_dim}, at::kDouble);
  std::vector<at::Tensor> outputs;
  for (std::int64_t t = 0; t < s.time; ++t) {
    const at::Tensor k_t = a.inputs.k_BHTK.select(2, t), beta = a.inputs.sigma_BHT.select(2, t).unsqueeze(-1);
    for (int step = 0; step < 2; ++step) {
      const at::Tensor error = a.inputs.v_BHTK.select(2, t) - (state * k_t.unsqueeze(-1)).sum(2);
      state = state + k_t.unsqueeze(-1) * (beta * error).unsqueeze(2);
    }
    outputs.push_back((state * a.inputs.q_BHTK.select(2, t).unsqueeze(-1)).sum(2));
  }
  for_general_rows(s.net, [&](const TttKernel& row) {
    const at::Tensor o = row.run.forward(s.net, a.inputs, a.weights, s.mini_batch, nullptr);
    EXPECT_LE(testing::relative_error(o, at::stack(outputs, 2)), kRounding);
  });
}

// Mini-batches of 16: the dual form, gradient descent written out (testing::primal_forward, whose gradients are
// autograd's), and decoding token by token.
TEST(TttSpecialCases, PrimalDualAndTokenByTokenAgree) {
  const testing::SingleThread single_thread;
  for (const TttNet& net : testing::all_nets()) {
    const Sizes s{net, 1, 2, 20, 6, 16};
    const Arguments a = testing::random_arguments(s, 1, 0.5);
    const at::Tensor primal = testing::primal_forward(s, a).detach();
    for_general_rows(net, [&](const TttKernel& row) {
      const at::Tensor dual = row.run.forward(s.net, a.inputs, a.weights, s.mini_batch, nullptr);
      EXPECT_LE(testing::relative_error(dual, primal), kRounding) << s;
    });
    TttState state = ttt_initial_state(a.weights, s.batch, s.mini_batch, net.update.steps);
    std::vector<at::Tensor> tokens;
    for (std::int64_t t = 0; t < s.time; ++t) {
      TttInputs token = a.inputs;
      for (at::Tensor* x : {&token.q_BHTK, &token.k_BHTK, &token.v_BHTK, &token.sigma_BHT}) *x = x->narrow(2, t, 1);
      tokens.push_back(ttt_advance(s.net, token, state));
    }
    EXPECT_LE(testing::relative_error(at::cat(tokens, 2), primal), kRounding) << s;
  }
}

}  // namespace
}  // namespace ttt
