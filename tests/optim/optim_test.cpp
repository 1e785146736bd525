// AdamW, clipping and the schedules against plain loops in fp64 and against optax's numbers.
#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "support/golden.h"

namespace ttt {
namespace {

// One parameter's update as the header of adamw.h writes it.
struct PlainAdamW {
  OptimConfig config;
  double decay = 0;
  std::vector<double> p, m, v;

  PlainAdamW(const torch::Tensor& parameter, const OptimConfig& c, double weight_decay)
      : config(c), decay(weight_decay) {
    const torch::Tensor flat = parameter.detach().to(torch::kDouble).flatten();
    p.assign(flat.data_ptr<double>(), flat.data_ptr<double>() + flat.numel());
    m.assign(p.size(), 0.0);
    v.assign(p.size(), 0.0);
  }

  void step(const torch::Tensor& gradient, double lr, int t) {
    const torch::Tensor g = gradient.to(torch::kDouble).flatten();
    for (std::size_t i = 0; i < p.size(); ++i) {
      const double gi = g.data_ptr<double>()[i];
      m[i] = config.beta1 * m[i] + (1 - config.beta1) * gi;
      v[i] = config.beta2 * v[i] + (1 - config.beta2) * gi * gi;
      const double m_hat = m[i] / (1 - std::pow(config.beta1, t)), v_hat = v[i] / (1 - std::pow(config.beta2, t));
      p[i] -= lr * (m_hat / (std::sqrt(v_hat) + config.eps) + decay * p[i]);
    }
  }
};

// The declarations of these tests' parameters: vectors by their names.
Decay by_name(const std::string& name) {
  return name.find("norm") != std::string::npos || name.ends_with("bias") ? Decay::kVector : Decay::kMatrix;
}

torch::Tensor leaf(const torch::Tensor& values) {
  return values.clone().requires_grad_(true);
}

double largest_difference(const torch::Tensor& tensor, const std::vector<double>& expected) {
  const torch::Tensor e = torch::tensor(expected, torch::kDouble).reshape(tensor.sizes());
  return (tensor.detach().to(torch::kDouble) - e).abs().max().item<double>();
}

// fp64 parameters leave no room for the optimizer's own rounding; fp32 ones follow within a few units in the last
// place.
void compare_with_plain(torch::ScalarType type, double tolerance) {
  torch::manual_seed(3);
  OptimConfig config;
  config.eps = 1e-3;  // large, so that its place in the formula shows
  config.weight_decay = 0.3;
  const torch::Tensor weight = leaf(torch::randn({37, 5}).to(type)), bias = leaf(torch::randn({37}).to(type));
  AdamW optimizer({{"layer.weight", weight}, {"layer.bias", bias}}, config, by_name);
  PlainAdamW plain_weight(weight, config, 0.3), plain_bias(bias, config, 0.0);
  for (int t = 1; t <= 25; ++t) {
    const double lr = 0.01 * t;
    weight.mutable_grad() = torch::randn({37, 5}).to(type);
    bias.mutable_grad() = torch::randn({37}).to(type) * 1e-3;
    plain_weight.step(weight.grad(), lr, t);
    plain_bias.step(bias.grad(), lr, t);
    optimizer.step(lr);
  }
  EXPECT_EQ(optimizer.updates(), 25);
  EXPECT_LT(largest_difference(weight, plain_weight.p), tolerance);
  EXPECT_LT(largest_difference(bias, plain_bias.p), tolerance);
}

TEST(AdamW, FollowsTheFormula) {
  compare_with_plain(torch::kFloat, 3e-6);
  compare_with_plain(torch::kDouble, 1e-12);
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  compare_with_plain(torch::kFloat, 3e-6);
}

TEST(AdamW, DecayTouchesMatricesAlone) {
  const torch::Tensor matrix = torch::ones({4, 4}), vector = torch::ones({4});
  ModelConfig model;
  model.mixer = MixerKind::kTttMlp;
  model.tie_embeddings = false;
  const DecayOf decay = decay_of(model);
  for (const char* name :
       {"embedding.weight", "lm_head.weight", "layers.0.mixer.q_proj.weight", "layers.0.mixer.w1", "layers.0.mixer.w2",
        "layers.0.mixer.lr_weight", "layers.0.mixer.conv_q.weight", "layers.0.pre_conv.conv.weight"}) {
    EXPECT_EQ(decay(name), Decay::kMatrix) << name;
  }
  for (const char* name : {"layers.0.mixer.ttt_norm_weight", "layers.0.mixer.ttt_norm_bias", "layers.0.mixer.lr_bias",
                           "layers.0.mixer.b1", "layers.0.mixer.b2", "final_norm.weight", "layers.1.mlp_norm.weight",
                           "layers.0.mixer.token_scale_delta", "layers.0.mixer.conv_k.bias"}) {
    EXPECT_EQ(decay(name), Decay::kVector) << name;
  }
  EXPECT_THROW(decay("layers.0.mixer.w3"), std::exception);

  OptimConfig config;
  config.weight_decay = 0.5;
  for (const DecayOn decay_on : {DecayOn::kMatrices, DecayOn::kAll}) {
    config.decay_on = decay_on;
    const torch::Tensor weight = leaf(matrix), norm = leaf(vector);
    AdamW optimizer({{"a.weight", weight}, {"a_norm.weight", norm}}, config, by_name);
    optimizer.step(0.1);  // undefined gradients are zero: only the decay acts
    EXPECT_NEAR(weight[0][0].item<double>(), 0.95, 1e-6);
    EXPECT_NEAR(norm[0].item<double>(), decay_on == DecayOn::kAll ? 0.95 : 1.0, 1e-6);
  }
}

TEST(AdamW, MambasTimeScalesAreNeverDecayed) {
  const torch::Tensor matrix = torch::ones({4, 4});
  OptimConfig config;
  config.weight_decay = 0.5;
  config.decay_on = DecayOn::kAll;
  ModelConfig model;
  model.mixer = MixerKind::kMamba;
  model.pre_conv = false;
  const DecayOf decay = decay_of(model);
  EXPECT_EQ(decay("layers.0.mixer.conv.weight"), Decay::kMatrix);
  for (const char* name : {"layers.0.mixer.A_log", "layers.0.mixer.D", "layers.0.mixer.dt_proj.bias"}) {
    EXPECT_EQ(decay(name), Decay::kNever) << name;
    const torch::Tensor parameter = leaf(matrix);
    AdamW optimizer({{name, parameter}}, config, decay);
    optimizer.step(0.1);
    EXPECT_EQ(parameter[0][0].item<double>(), 1.0) << name;
  }
}

TEST(AdamW, GroupsHaveRatesAndDecayOfTheirOwn) {
  OptimConfig config;
  config.lr = 1e-2;
  config.weight_decay = 0.5;
  config.groups = {{"layers.*.w1", 1e-3, 0.0}, {"layers.0.*", -1, 0.25}, {"*.w1", 1.0, 1.0}};
  const auto parameter = [] { return leaf(torch::ones({4, 4})); };
  const torch::Tensor w1 = parameter(), first = parameter(), other = parameter(), outside = parameter();
  AdamW optimizer(
      {{"layers.3.w1", w1}, {"layers.0.up.weight", first}, {"layers.1.up.weight", other}, {"b.w1", outside}}, config,
      by_name);
  const auto after_step = [&](double lr) {
    for (const torch::Tensor& p : {w1, first, other, outside}) p.mutable_grad() = torch::ones({4, 4});
    optimizer.step(lr);
  };
  after_step(5e-3);                                      // half the peak; AdamW's first step is lr x sign
  EXPECT_NEAR(w1[0][0].item<double>(), 1 - 5e-4, 1e-6);  // its rate, no decay
  EXPECT_NEAR(first[0][0].item<double>(), (1 - 5e-3 * 0.25) - 5e-3, 1e-6);  // the common rate
  EXPECT_NEAR(other[0][0].item<double>(), (1 - 5e-3 * 0.5) - 5e-3, 1e-6);
  EXPECT_NEAR(outside[0][0].item<double>(), (1 - 0.5) - 0.5, 1e-6);
  const std::vector<std::string> table = optimizer.describe_groups();
  ASSERT_EQ(table.size(), 5u);
  EXPECT_EQ(table[0], "tensors      values        lr  weight decay  of");
  EXPECT_EQ(table[1], "      1          16     0.001             0  w1");
  EXPECT_EQ(table[2], "      1          16      0.01          0.25  up");

  config.groups = {{"layers.*", -1, 0.1}, {"nothing.*", -1, 0.0}};
  try {
    AdamW({{"layers.3.w1", parameter()}}, config, by_name);
    FAIL() << "a pattern that matches nothing was accepted";
  } catch (const UserError& error) {
    EXPECT_NE(std::string(error.what()).find("entry 2 of optim.groups, match 'nothing.*'"), std::string::npos);
  }
}

// As if these had been saved.
StoredMoments stored(const NamedParameters& state) {
  struct Moment {
    std::vector<std::int64_t> shape;
    torch::Tensor values;
  };
  const auto all = std::make_shared<std::map<std::string, Moment>>();
  for (const auto& [name, tensor] : state) (*all)[name] = {tensor.sizes().vec(), tensor.detach().clone().flatten()};
  return {.shape = [all](const std::string& name) { return all->count(name) != 0 ? &all->at(name).shape : nullptr; },
          .read =
              [all](const std::string& name, ElementRange elements, const torch::Tensor& into) {
                into.view(-1).copy_(all->at(name).values.slice(0, elements.first, elements.last));
              }};
}

TEST(AdamW, StateGoesOnExactly) {
  torch::manual_seed(4);
  const torch::Tensor start = torch::randn({6, 3});
  std::vector<torch::Tensor> gradients;
  for (int i = 0; i < 6; ++i) gradients.push_back(torch::randn({6, 3}));
  const torch::Tensor whole = leaf(start), first = leaf(start);
  AdamW straight({{"w", whole}}, OptimConfig(), by_name), before({{"w", first}}, OptimConfig(), by_name);
  for (int i = 0; i < 6; ++i) {
    whole.mutable_grad() = gradients[static_cast<std::size_t>(i)].clone();
    straight.step(0.01);
  }
  for (int i = 0; i < 3; ++i) {
    first.mutable_grad() = gradients[static_cast<std::size_t>(i)].clone();
    before.step(0.01);
  }
  const torch::Tensor second = leaf(first.detach());
  AdamW after({{"w", second}}, OptimConfig(), by_name);
  after.load_state(stored(before.state()), before.updates(), "state");
  for (int i = 3; i < 6; ++i) {
    second.mutable_grad() = gradients[static_cast<std::size_t>(i)].clone();
    after.step(0.01);
  }
  EXPECT_TRUE(torch::equal(whole, second));
  EXPECT_THROW(after.load_state(stored({}), 3, "file"), UserError);
  EXPECT_THROW(after.load_state(stored({{"exp_avg/w", torch::zeros({3, 6})}, {"exp_avg_sq/w", torch::zeros({3, 6})}}),
                                3, "file"),
               UserError);
}

// What processes that step a part each (ZeRO-1) do together is what one optimizer does, bit for bit where parts begin
// at multiples of 16 elements; and its whole state is cut up in loading.
// With and without a GPU.
class AdamWParts : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) gpu_.emplace(kernels::cuda::emulated::kernels());
  }

 private:
  std::optional<EmulatedGpu> gpu_;
};
INSTANTIATE_TEST_SUITE_P(Places, AdamWParts, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "OnEmulatedGpu" : "OnCpu"; });

TEST_P(AdamWParts, StepAsTheWhole) {
  torch::manual_seed(5);
  const NamedParameters whole = {{"a.weight", leaf(torch::randn({37, 5}))}, {"norm.weight", leaf(torch::randn({23}))}};
  const NamedParameters parts = {{"a.weight", leaf(whole[0].second.detach())},
                                 {"norm.weight", leaf(whole[1].second.detach())}};
  OptimConfig config;
  AdamW one(whole, config, by_name), first(parts, config, by_name, {{0, 96}, {0, 0}}),
      second(parts, config, by_name, {{96, 185}, {0, 23}});
  const auto step = [&] {
    for (std::size_t i = 0; i < whole.size(); ++i) {
      parts[i].second.mutable_grad() = torch::randn(whole[i].second.sizes());
      whole[i].second.mutable_grad() = parts[i].second.grad().clone();
    }
    for (AdamW* optimizer : {&one, &first, &second}) optimizer->step(1e-2);
    for (std::size_t i = 0; i < whole.size(); ++i)
      EXPECT_TRUE(torch::equal(whole[i].second, parts[i].second)) << whole[i].first << ", update " << one.updates();
  };
  for (int i = 0; i < 3; ++i) step();
  EXPECT_EQ(first.state()[0].second.numel(), 96);
  EXPECT_TRUE(torch::equal(second.state()[0].second, one.state()[0].second.reshape({-1}).slice(0, 96)));

  AdamW other_first(parts, config, by_name, {{0, 32}, {0, 16}}),
      other_second(parts, config, by_name, {{32, 185}, {16, 23}});
  for (AdamW* optimizer : {&other_first, &other_second})
    optimizer->load_state(stored(one.state()), one.updates(), "a test");
  for (std::size_t i = 0; i < whole.size(); ++i) {
    parts[i].second.mutable_grad() = torch::randn(whole[i].second.sizes());
    whole[i].second.mutable_grad() = parts[i].second.grad().clone();
  }
  for (AdamW* optimizer : {&one, &other_first, &other_second}) optimizer->step(1e-2);
  for (std::size_t i = 0; i < whole.size(); ++i)
    EXPECT_TRUE(torch::equal(whole[i].second, parts[i].second)) << whole[i].first;
}

TEST(Clipping, ScalesByTheGlobalNorm) {
  for (const double max_norm : {0.0, 1.0, 5.0, 100.0}) {
    const torch::Tensor a = leaf(torch::zeros({2, 1})), b = leaf(torch::zeros({1}));
    AdamW optimizer({{"a", a}, {"b", b}}, OptimConfig(), by_name);
    a.mutable_grad() = torch::tensor({{3.0f}, {4.0f}});
    b.mutable_grad() = torch::tensor({12.0f});
    optimizer.clip_gradients(max_norm);
    optimizer.step(0.1);
    EXPECT_NEAR(optimizer.outcome().grad_norm, 13.0, 1e-5);
    const double scale = max_norm > 0 ? std::min(1.0, max_norm / 13.0) : 1.0;
    EXPECT_NEAR(a.grad()[1].item<double>(), 4.0 * scale, 1e-6);
    EXPECT_NEAR(b.grad()[0].item<double>(), 12.0 * scale, 1e-6);
  }
}

// Every row of the op on the same parameters and gradients, of several chunks too.
class RowsOfAdamW : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam() == "cuda") gpu_.emplace(kernels::cuda::emulated::kernels());
    row_.emplace(adamw_kernels(), adamw_kernels().find(GetParam(), "a test"));
    torch::manual_seed(9);
    parameters_ = {{"a.weight", leaf(torch::randn({70, 1000}))}, {"a.bias", leaf(torch::randn({7}))}};
    for (auto& [name, parameter] : parameters_) gradients_.push_back(torch::randn(parameter.sizes()));
  }
  std::unique_ptr<AdamW> optimizer() const { return std::make_unique<AdamW>(parameters_, OptimConfig(), by_name); }
  // A step with the gradients times `scale` at a loss.
  void step(AdamW& optimizer, double loss, const StepLimits& limits, double scale = 1) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) parameters_[i].second.mutable_grad() = gradients_[i] * scale;
    optimizer.decide(torch::stack({torch::tensor(loss, torch::kDouble), optimizer.gradient_norm()}), limits);
    optimizer.step(1e-2);
  }
  torch::Tensor values(const AdamW& optimizer) const {
    std::vector<torch::Tensor> all;
    for (const auto& [name, parameter] : parameters_) all.push_back(parameter.detach().flatten());
    for (const auto& [name, moment] : optimizer.state()) all.push_back(moment.flatten());
    return torch::cat(all);
  }

  std::optional<EmulatedGpu> gpu_;
  std::optional<ForcedRow> row_;
  NamedParameters parameters_;
  std::vector<torch::Tensor> gradients_;
};
INSTANTIATE_TEST_SUITE_P(Rows, RowsOfAdamW, ::testing::Values("cuda", "fused", "fused_queued"),
                         [](const auto& p) { return p.param; });

TEST_P(RowsOfAdamW, ClipByTheNorm) {
  for (const double max_norm : {0.0, 1.0, 1e4}) {
    const NamedParameters plain = {{"a.weight", leaf(parameters_[0].second.detach())},
                                   {"a.bias", leaf(parameters_[1].second.detach())}};
    PlainAdamW weight(plain[0].second, OptimConfig(), OptimConfig().weight_decay),
        bias(plain[1].second, OptimConfig(), 0);
    const double norm = torch::cat({gradients_[0].flatten(), gradients_[1]}).to(torch::kDouble).norm().item<double>();
    const double factor = max_norm > 0 && norm > max_norm ? max_norm / norm : 1;
    weight.step(gradients_[0] * factor, 1e-2, 1);
    bias.step(gradients_[1] * factor, 1e-2, 1);
    const auto own = optimizer();
    step(*own, 2.5, {.max_norm = max_norm});
    const StepOutcome outcome = own->outcome();
    EXPECT_TRUE(outcome.taken);
    EXPECT_EQ(outcome.loss, 2.5);
    EXPECT_NEAR(outcome.grad_norm / norm, 1, 1e-6);
    EXPECT_EQ(own->updates(), 1);
    EXPECT_LT(largest_difference(parameters_[0].second, weight.p), 1e-6);
    EXPECT_LT(largest_difference(parameters_[1].second, bias.p), 1e-6);
  }
}

// What a step of no use leaves is every bit of what was there, and the count of updates.
TEST_P(RowsOfAdamW, TakeNoStepThatIsNotFiniteOrAboveTheLimit) {
  const auto own = optimizer();
  step(*own, 1, {.max_norm = 1});
  ASSERT_TRUE(own->outcome().taken);
  const torch::Tensor before = values(*own);
  const auto refused = [&](double loss, double scale, double max_loss) {
    step(*own, loss, {.max_norm = 1, .max_loss = max_loss}, scale);
    EXPECT_EQ(own->updates(), 2);
    const StepOutcome outcome = own->outcome();
    EXPECT_FALSE(outcome.taken) << loss << ", " << scale;
    EXPECT_EQ(own->updates(), 1);
    own->outcome();
    EXPECT_EQ(own->updates(), 1) << "taken back once";
    EXPECT_TRUE(torch::equal(values(*own), before)) << loss << ", " << scale;
    return outcome;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_TRUE(std::isnan(refused(NAN, 1, infinity).loss));
  EXPECT_EQ(refused(infinity, 1, infinity).loss, infinity);
  EXPECT_TRUE(std::isnan(refused(1, NAN, infinity).grad_norm));
  EXPECT_EQ(refused(1, infinity, infinity).loss, 1);
  EXPECT_EQ(refused(4.5, 1, 4).loss, 4.5);
  step(*own, 4, {.max_norm = 1, .max_loss = 4});
  EXPECT_TRUE(own->outcome().taken);
  EXPECT_EQ(own->updates(), 2);
  EXPECT_FALSE(torch::equal(values(*own), before));
}

// In portions, as ZeRO-1 steps them, a step sends its rates alone.
TEST(AdamWTables, AreMadeOnceForEachPortion) {
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  const NamedParameters parameters = {{"a.weight", leaf(torch::randn({70, 1000}))},
                                      {"norm.weight", leaf(torch::randn({23}))},
                                      {"b.weight", leaf(torch::randn({5, 7}))}};
  AdamW optimizer(parameters, OptimConfig(), by_name);
  for (const auto& [name, parameter] : parameters) parameter.mutable_grad() = torch::randn(parameter.sizes());
  std::vector<std::int64_t> sent;
  for (int update = 1; update <= 4; ++update) {
    const std::int64_t before = optimizer.tables_sent();
    optimizer.clip_gradients(1);
    optimizer.begin_step(1e-2 / update);
    optimizer.step_some({1, 2});
    optimizer.step_some({0});
    EXPECT_TRUE(optimizer.outcome().taken);
    sent.push_back(optimizer.tables_sent() - before);
  }
  // The norm's two, the limit of the loss, the rates, and three of each portion.
  EXPECT_EQ(sent, (std::vector<std::int64_t>{10, 1, 1, 1}));
  parameters[2].second.mutable_grad() = torch::randn({5, 7});  // elsewhere: its pointer goes again, twice
  const std::int64_t before = optimizer.tables_sent();
  optimizer.clip_gradients(1);
  optimizer.step(1e-3);
  EXPECT_GE(optimizer.tables_sent() - before, 3);
}

TEST(Clipping, NormOfMillionsOfElementsIsAccurate) {
  torch::manual_seed(5);
  const std::vector<torch::Tensor> gradients = {torch::randn({8192, 256}), torch::randn({4096}) * 30,
                                                torch::full({}, 2.0f), torch::empty({0})};
  double squares = 0;
  for (const torch::Tensor& g : gradients) squares += g.to(torch::kDouble).square().sum().item<double>();
  EXPECT_NEAR(global_norm(gradients).item<double>() / std::sqrt(squares), 1.0, 1e-7);
  EXPECT_EQ(global_norm({}).item<double>(), 0.0);
  EXPECT_FALSE(std::isfinite(global_norm({torch::tensor({1.0f, NAN})}).item<double>()));
}

TEST(Schedule, IsOptaxsWarmupCosine) {
  for (const char* name : {"train_ttt_linear", "train_ttt_mlp", "train_attention"}) {
    const SafetensorsFile golden = load_golden(name);
    const Json optim = Json::parse(golden.metadata.at("case"))["optim"];
    const Schedule schedule{ScheduleKind::kCosine, optim["lr"], optim["end_lr"], optim["warmup"], optim["decay"]};
    const torch::Tensor expected = golden.at("train/lr").to(torch::kDouble);
    ASSERT_EQ(expected.numel(), 24);
    EXPECT_EQ(schedule.rate(0), 0.0);
    for (int k = 1; k <= 24; ++k) {
      EXPECT_NEAR(schedule.rate(k - 1), expected[k - 1].item<double>(), 3e-3 * 2e-7) << name << " update " << k;
    }
  }
}

TEST(Schedule, StaysAtItsEnd) {
  const Schedule wsd{ScheduleKind::kWsd, 1.0, 0.1, 10, 110, 20};
  EXPECT_DOUBLE_EQ(wsd.rate(5), 0.5);
  for (const std::int64_t t : {10, 50, 89, 90}) EXPECT_DOUBLE_EQ(wsd.rate(t), 1.0) << t;
  EXPECT_DOUBLE_EQ(wsd.rate(100), 0.55);
  EXPECT_DOUBLE_EQ(wsd.rate(109), 0.1 + 0.9 / 20);
  for (const std::int64_t t : {110, 111, 1000}) EXPECT_DOUBLE_EQ(wsd.rate(t), 0.1) << t;
  const Schedule at_once{ScheduleKind::kWsd, 1.0, 0.1, 0, 10, 0};  // no cooldown: the peak to the end
  EXPECT_DOUBLE_EQ(at_once.rate(9), 1.0);
  EXPECT_DOUBLE_EQ(at_once.rate(10), 0.1);
  const Schedule schedule{ScheduleKind::kCosine, 1.0, 0.1, 10, 110};
  EXPECT_DOUBLE_EQ(schedule.rate(5), 0.5);
  EXPECT_DOUBLE_EQ(schedule.rate(10), 1.0);
  EXPECT_NEAR(schedule.rate(60), 0.55, 1e-12);
  EXPECT_DOUBLE_EQ(schedule.rate(110), 0.1);
  EXPECT_DOUBLE_EQ(schedule.rate(100000), 0.1);
  EXPECT_DOUBLE_EQ((Schedule{ScheduleKind::kCosine, 1.0, 0.1, 0, 100}.rate(0)), 1.0);
}

TEST(Schedule, InnerLearningRateWarmsUpOnItsOwn) {
  RunConfig config;
  config.model.mixer = MixerKind::kTttMlp;
  config.model.ttt_base_lr = 0.1;
  config.model.ttt_base_lr_init = 0.01;
  config.model.ttt_base_lr_warmup_steps = 4;
  EXPECT_NEAR(ttt_lr_multiplier(config, 1), 0.1, 1e-12);
  EXPECT_NEAR(ttt_lr_multiplier(config, 2), 0.325, 1e-12);
  EXPECT_NEAR(ttt_lr_multiplier(config, 5), 1.0, 1e-12);
  EXPECT_NEAR(ttt_lr_multiplier(config, 500), 1.0, 1e-12);
  config.parity = Parity::kTttLmJax;
  EXPECT_EQ(ttt_lr_multiplier(config, 2), 0.32421875);  // 0.325 in bf16
  EXPECT_EQ(ttt_lr_multiplier(config, 1), 0.10009765625);
  config.model.mixer = MixerKind::kAttention;
  EXPECT_EQ(ttt_lr_multiplier(config, 1), 1.0);
}

}  // namespace
}  // namespace ttt
