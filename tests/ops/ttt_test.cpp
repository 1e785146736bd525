// The TTT op: autograd, decoding, statistics, causality, the choice of kernels, errors.
#include "ops/ttt.h"

#include <cstdlib>

#include "base/error.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

using testing::Arguments;
using testing::Sizes;

class Op : public ::testing::TestWithParam<TttNet> {
 protected:
  ~Op() override { force_kernels({}); }
};
INSTANTIATE_TEST_SUITE_P(Ttt, Op, testing::the_papers_nets(), testing::name_of_param());

at::Tensor forward(const Sizes& s, const Arguments& a) {
  return ttt_forward(s.net, a.inputs, a.weights, s.mini_batch);
}

// Tokens [begin, begin + count) of the inputs.
TttInputs tokens(const TttInputs& in, std::int64_t begin, std::int64_t count) {
  TttInputs out = in;
  for (at::Tensor* t : {&out.q_BHTK, &out.k_BHTK, &out.v_BHTK, &out.sigma_BHT}) *t = t->narrow(2, begin, count);
  return out;
}

// The message of what `body` throws as E.
template <class E, class Body>
std::string message_of(const Body& body) {
  try {
    body();
  } catch (const E& error) {
    return error.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

// Every leaf gets, through loss.backward(), the gradient that autograd finds in the primal form.
void check_gradients(const TttNet& net) {
  const Sizes s{net, 2, 3, 14, 6, 4};
  const Arguments a = testing::random_arguments(s);
  const at::Tensor grad_o = at::randn({2, 3, 14, 6}, at::kDouble);
  const auto gradients = [&](const auto& function) {
    const auto [leaves, d] = testing::leaves_of(a);
    (function(s, d) * grad_o).sum().backward();
    std::vector<at::Tensor> out;
    for (const at::Tensor& leaf : leaves) out.push_back(leaf.grad().defined() ? leaf.grad() : at::zeros_like(leaf));
    return out;
  };
  const auto expected = gradients(testing::primal_forward);
  for (const char* kernel : {"composed", "reference"}) {
    force_kernels({{"ttt", kernel, "the test"}});
    const auto actual = gradients(forward);
    force_kernels({});
    for (std::size_t i = 0; i < actual.size(); ++i) {
      ASSERT_TRUE(actual[i].defined());
      EXPECT_LE(testing::relative_error(actual[i], expected[i]), 1e-10)
          << kernel << ", gradient of " << a.named()[i].first;
    }
  }
}

TEST_P(Op, AutogradGivesEveryGradient) {
  check_gradients(GetParam());
}

TEST_P(Op, NoSecondDerivative) {
  const Sizes s{GetParam(), 1, 1, 3, 6, 4};
  Arguments a = testing::random_arguments(s);
  a.weights[0].requires_grad_(true);
  const at::Tensor o = forward(s, a).sum();
  EXPECT_TRUE(contains(
      message_of<std::exception>([&] { torch::autograd::grad({o}, {a.weights[0]}, {}, {}, /*create_graph=*/true); }),
      "second derivative"));
}

TEST_P(Op, WithoutGradientsNothingIsRecorded) {
  const Sizes s{GetParam(), 1, 1, 3, 6, 4};
  Arguments a = testing::random_arguments(s);
  EXPECT_FALSE(forward(s, a).requires_grad());
  a.weights[0].requires_grad_(true);
  EXPECT_TRUE(forward(s, a).requires_grad());
  const at::NoGradGuard no_grad;
  EXPECT_FALSE(forward(s, a).requires_grad());
}

// The law: forward(T) = T steps = forward(k) then the rest, for every k.
void check_decoding(const TttNet& net) {
  const Sizes s{net, 2, 3, 19, 6, 4};
  const Arguments a = testing::random_arguments(s);
  const at::Tensor whole = forward(s, a);
  EXPECT_LE(testing::relative_error(whole, testing::primal_forward(s, a).detach()), 1e-12);
  TttState single = ttt_initial_state(a.weights, s.batch, s.mini_batch, s.net.update.steps);
  std::vector<at::Tensor> steps;
  for (std::int64_t t = 0; t < s.time; ++t) steps.push_back(ttt_advance(s.net, tokens(a.inputs, t, 1), single));
  EXPECT_LE(testing::relative_error(at::cat(steps, 2), whole), 1e-12);
  EXPECT_EQ(single.num_open, s.time % s.mini_batch);
  for (std::int64_t split = 1; split <= s.time; ++split) {
    TttState state = ttt_initial_state(a.weights, s.batch, s.mini_batch, s.net.update.steps);
    std::vector<at::Tensor> parts;
    parts.push_back(ttt_advance(s.net, tokens(a.inputs, 0, split), state));
    EXPECT_EQ(state.num_open, split % s.mini_batch);
    if (split < s.time) parts.push_back(ttt_advance(s.net, tokens(a.inputs, split, s.time - split), state));
    EXPECT_LE(testing::relative_error(at::cat(parts, 2), whole), 1e-12) << "split " << split;
    EXPECT_LE(testing::relative_error(state.weights[0], single.weights[0]), 1e-12) << "split " << split;
  }
}

TEST_P(Op, AnySplitOfDecodingGivesTheSame) {
  check_decoding(GetParam());
}

TEST_P(Op, DecodingInFp32FollowsFp64) {
  const Sizes s{GetParam(), 1, 2, 50, 64, 16, at::kFloat};
  Sizes s64 = s;
  s64.dtype = at::kDouble;
  const Arguments a = testing::random_arguments(s);
  TttState state = ttt_initial_state(a.weights, s.batch, s.mini_batch, s.net.update.steps);
  EXPECT_EQ(state.weights[0].scalar_type(), at::kFloat);
  const at::Tensor o = ttt_advance(s.net, a.inputs, state);
  EXPECT_LE(testing::relative_error(o, forward(s64, testing::random_arguments(s64))), 1e-5);
}

TEST_P(Op, CausalAndIndependentOverTheBatch) {
  const Sizes s{GetParam(), 2, 2, 13, 6, 4};
  const Arguments a = testing::random_arguments(s);
  const at::Tensor o = forward(s, a);
  for (const std::int64_t t : {0, 3, 4, 9, 12}) {
    Arguments b = a;
    for (at::Tensor* x : {&b.inputs.q_BHTK, &b.inputs.k_BHTK, &b.inputs.v_BHTK, &b.inputs.sigma_BHT}) {
      *x = x->clone();
      x->narrow(0, 1, 1).narrow(2, t, 1).add_(0.1);
    }
    const at::Tensor moved = forward(s, b);
    EXPECT_TRUE(at::equal(moved[0], o[0])) << "the other sequence, token " << t;
    EXPECT_TRUE(at::equal(moved[1].narrow(1, 0, t), o[1].narrow(1, 0, t))) << "tokens before " << t;
    EXPECT_FALSE(at::equal(moved[1].narrow(1, t, 1), o[1].narrow(1, t, 1))) << "token " << t << " itself";
  }
}

// Statistics against their definition, with the weights taken from decoding states.
void check_statistics(const TttNet& net) {
  const Sizes s{net, 2, 3, 11, 6, 4};
  const Arguments a = testing::random_arguments(s);
  const TttStats stats = ttt_statistics(s.net, a.inputs, a.weights, s.mini_batch);
  ASSERT_EQ(stats.loss_w0.sizes(), at::IntArrayRef{3});
  const auto loss_at = [&](std::int64_t t, const TttWeights& w) {
    const at::Tensor k = a.inputs.k_BHTK.narrow(2, t, 1), v = a.inputs.v_BHTK.narrow(2, t, 1);
    at::Tensor y = at::matmul(k, w[0]) + w[1];
    for (std::size_t l = 1; 2 * l < w.size(); ++l) y = at::matmul(at::gelu(y, "tanh"), w[2 * l]) + w[2 * l + 1];
    if (s.net.learner.layer_norm)
      y = at::layer_norm(y, {6}, {}, {}, 1e-6) * a.inputs.gain_HK.unsqueeze(1) + a.inputs.bias_HK.unsqueeze(1);
    return (y - (s.net.learner.residual ? v - k : v)).square().mean().item<double>();
  };
  TttState state = ttt_initial_state(a.weights, s.batch, s.mini_batch, s.net.update.steps);
  const TttWeights start = ttt_initial_state(a.weights, s.batch, s.mini_batch, s.net.update.steps).weights;
  for (std::int64_t m = 0; m < 2; ++m) {
    const std::int64_t last = 4 * m + 3;
    EXPECT_NEAR(stats.loss_w0[m].item<double>(), loss_at(last, start), 1e-6);
    EXPECT_NEAR(stats.loss_before[m].item<double>(), loss_at(last, state.weights), 1e-6);
    ttt_advance(s.net, tokens(a.inputs, 4 * m, 4), state);
    EXPECT_NEAR(stats.loss_after[m].item<double>(), loss_at(last, state.weights), 1e-6);
    EXPECT_LT(stats.loss_after[m].item<double>(), stats.loss_before[m].item<double>());
    at::Tensor change = at::zeros({s.batch, s.heads}, at::kDouble);
    for (std::size_t w = 0; w < start.size(); w += 2) change += (state.weights[w] - start[w]).square().sum({-1, -2});
    EXPECT_NEAR(stats.weight_change[m].item<double>(), change.sqrt().mean().item<double>(), 1e-6);
  }
  // The short last one: after the step of its 3 tokens at row 2's scale, that is of a mini-batch of 3 with those
  // scales.
  Arguments three = a;
  three.inputs = tokens(a.inputs, 8, 3);
  three.inputs.scale_C = a.inputs.scale_C.narrow(0, 0, 3);
  TttState short_state = ttt_initial_state(a.weights, s.batch, 3, s.net.update.steps);
  short_state.weights = state.weights;
  EXPECT_NEAR(stats.loss_before[2].item<double>(), loss_at(10, state.weights), 1e-6);
  ttt_advance(s.net, three.inputs, short_state);
  EXPECT_NEAR(stats.loss_after[2].item<double>(), loss_at(10, short_state.weights), 1e-6);
}

TEST_P(Op, Statistics) {
  check_statistics(GetParam());
}

TEST(Ttt, OtherInnerNets) {
  for (const TttNet& net : testing::other_nets()) {
    SCOPED_TRACE(name_of(net));
    check_gradients(net);
    check_decoding(net);
    check_statistics(net);
  }
}

TEST(Ttt, ForcedKernels) {
  const TttShape shape{1, 1, 4, 6, 4, at::kFloat, at::kCPU};
  EXPECT_EQ(choose_ttt_kernel(ttt_linear_net(), shape).name, "composed");  // the first that takes a head size of 6
  force_kernels({{"ttt", "reference", "the test"}});
  EXPECT_EQ(choose_ttt_kernel(ttt_linear_net(), shape).name, "reference");
  TttShape on_gpu = shape;
  on_gpu.device = at::Device(at::kCUDA, 0);
  const std::string refused = message_of<UserError>([&] { choose_ttt_kernel(ttt_linear_net(), on_gpu); });
  EXPECT_TRUE(contains(refused, "reference") && contains(refused, "CPU only")) << refused;
  force_kernels({});

  const std::string unknown = message_of<UserError>([] { force_kernels({{"ttt", "refrence", "the test"}}); });
  EXPECT_TRUE(contains(unknown, "\"refrence\"") && contains(unknown, "composed, reference")) << unknown;
  ::setenv("TTT_KERNEL", "reference", 1);
  read_kernel_environment();
  EXPECT_EQ(choose_ttt_kernel(ttt_mlp_net(), shape).name, "reference");
  ::setenv("TTT_KERNEL", "nonsense", 1);
  EXPECT_THROW(read_kernel_environment(), UserError);
  const std::string from_environment = message_of<UserError>([&] { choose_ttt_kernel(ttt_mlp_net(), shape); });
  EXPECT_TRUE(contains(from_environment, "TTT_KERNEL")) << from_environment;
  ::unsetenv("TTT_KERNEL");
  read_kernel_environment();

  TttShape half = shape;
  half.dtype = at::kBFloat16;
  const std::string none = message_of<UserError>([&] { choose_ttt_kernel(ttt_mlp_net(), half); });
  EXPECT_TRUE(contains(none, "composed: ") && contains(none, "reference: ") && contains(none, "BFloat16")) << none;
}

TEST(Ttt, WrongArgumentsAreNamed) {
  const Sizes s{ttt_mlp_net(), 2, 3, 5, 6, 4};
  const auto message = [&](const auto& spoil) {
    Sizes sizes = s;
    Arguments a = testing::random_arguments(s);
    spoil(a, sizes);
    return message_of<Error>([&] { forward(sizes, a); });
  };
  EXPECT_TRUE(contains(message([](Arguments& a, Sizes&) { a.inputs.k_BHTK = a.inputs.k_BHTK.narrow(2, 0, 4); }),
                       "k has shape [2, 3, 4, 6]"));
  EXPECT_TRUE(
      contains(message([](Arguments& a, Sizes&) { a.inputs.v_BHTK = a.inputs.v_BHTK.to(at::kFloat); }), "v is Float"));
  EXPECT_TRUE(contains(message([](Arguments& a, Sizes&) { a.weights[2].reset(); }), "w2 is not given"));
  EXPECT_TRUE(contains(message([](Arguments&, Sizes& x) { x.mini_batch = 8; }), "scale has shape [4], it must be [8]"));
  EXPECT_TRUE(contains(message([](Arguments&, Sizes& x) { x.net = ttt_linear_net(); }),
                       "1 layer has 2 weights and biases, not 4"));
  const auto half = [](Arguments& a, Sizes&) { a.inputs.q_BHTK = a.inputs.q_BHTK.to(at::kHalf); };
  EXPECT_TRUE(contains(message(half), "fp32"));
  const auto bf16 = [](Arguments& a, Sizes&) {
    for (at::Tensor* x : {&a.inputs.q_BHTK, &a.inputs.k_BHTK, &a.inputs.v_BHTK}) *x = x->to(at::kBFloat16);
  };
  EXPECT_TRUE(contains(message(bf16), "sigma is Double but q is BFloat16; sigma must be Float"));
  const Arguments a = testing::random_arguments(s);
  TttState state = ttt_initial_state(a.weights, 1, 4);
  EXPECT_TRUE(contains(message_of<Error>([&] { ttt_advance(s.net, a.inputs, state); }), "state"));
  TttState one_step = ttt_initial_state(a.weights, s.batch, 4);
  const TttNet two_steps = testing::net_of(2, {}, {.steps = 2});
  EXPECT_TRUE(contains(message_of<Error>([&] { ttt_advance(two_steps, a.inputs, one_step); }),
                       "made for 1 gradient steps, the net has 2"));
}

}  // namespace
}  // namespace ttt
