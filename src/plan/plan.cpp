#include "plan/plan.h"

#include <algorithm>
#include <sstream>
#include <vector>

#include "arch/mixer.h"
#include "base/error.h"
#include "base/files.h"
#include "base/metrics_kind.h"

namespace ttt {
namespace {

constexpr std::int64_t kFp32 = 4, kBf16 = 2;
constexpr std::int64_t kLogitBytes = std::int64_t{32} << 20;  // the head's slice of logits on a CPU, ops/cross_entropy

// Bytes a token that one layer keeps for its backward pass: the inputs of its norms, products and elementwise steps.
double kept_by_layer(const ModelConfig& m, Kept kept, bool bf16) {
  const auto D = static_cast<double>(m.hidden_size);
  if (m.pre_conv) kept.activations += D, kept.wide += D;
  if (m.has_mlp()) kept.activations += D + 3 * static_cast<double>(m.intermediate_size), kept.wide += D;
  return static_cast<double>(bf16 ? kBf16 : kFp32) * kept.activations + kFp32 * kept.wide;
}

MemoryPlan memory_of(const RunConfig& config, std::int64_t parameters, std::int64_t processes) {
  const ModelConfig& m = config.model;
  MemoryPlan memory;
  memory.weights = memory.gradients = kFp32 * parameters;
  const std::int64_t owned = config.dist.zero > 0 ? (parameters + processes - 1) / processes : parameters;
  memory.optimizer = 2 * kFp32 * owned;
  // GradientReducer and Gloo: two gatherings of 32 MiB with what is sent, and Gloo's copies of them; gradients that
  // travel as bf16, which may all be on their way at once.
  constexpr std::int64_t kGathering = std::int64_t{32} << 20;
  if (processes > 1 && config.dist.zero > 0) memory.exchange += 5 * kGathering;
  if (processes > 1 && config.dist.reduce_dtype == ReduceDType::kBf16) memory.exchange += kBf16 * parameters;
  const bool bf16 = config.train.dtype == DType::kBf16;
  double all = 0, largest = 0, transient = 0;
  for (std::int64_t layer = 0; layer < m.num_layers; ++layer) {
    const Kept of_mixer = declaration_of(m.mixer.of_layer(layer)).kept(m);
    const double kept = kept_by_layer(m, of_mixer, bf16);
    transient = std::max(transient, kFp32 * of_mixer.transient);
    all += kept;
    largest = std::max(largest, kept);
  }
  const auto D = static_cast<double>(m.hidden_size);
  if (config.train.recompute) all = static_cast<double>(m.num_layers) * kFp32 * D + largest;
  all += transient;
  const auto tokens = static_cast<double>(config.micro_batch(processes) * config.train.context);
  memory.activations = static_cast<std::int64_t>(tokens * (all + kFp32 * 4 * D)) + kLogitBytes +
                       kFp32 * m.vocab_size * m.hidden_size;  // the head's gradient before it is added
  if (bf16) memory.activations += static_cast<std::int64_t>(kBf16 * dense_flops(m) / 2);  // the dense weights, rounded
  if (config.checkpoint.async) memory.saving = memory.weights + memory.optimizer;  // rank 0; the others: their moments
  memory.decoding_state = decoding_state_bytes(m, config.train.context);
  return memory;
}

DiskPlan disk_of(const RunConfig& config, std::int64_t parameters) {
  const CheckpointConfig& c = config.checkpoint;
  const std::int64_t steps = config.train.steps;
  const std::int64_t written = c.every > 0 ? (steps + c.every - 1) / c.every : 1;
  const auto is_extra = [&](std::int64_t step) { return step < steps && (c.every == 0 || step % c.every != 0); };
  DiskPlan disk;
  disk.checkpoint = 3 * kFp32 * parameters;
  disk.kept = c.keep_last > 0 ? std::min(written, c.keep_last) : written;
  if (c.keep_last > 0 && c.keep_every > 0) {
    // Multiples of `keep_every` among those that were written before the last ones.
    for (std::int64_t i = 1; i <= written - c.keep_last; ++i)
      if (i * c.every % c.keep_every == 0) ++disk.kept;
  }
  // Of keep_steps, those that nothing else keeps.
  for (const std::int64_t step : c.keep_steps) {
    const bool multiple = c.keep_every > 0 && step % c.keep_every == 0;
    const bool rotates = c.keep_last > 0 && step <= (written - c.keep_last) * c.every;
    if (is_extra(step) || (rotates && !multiple)) ++disk.kept;
  }
  disk.peak = disk.checkpoint * (disk.kept + 1);
  return disk;
}

}  // namespace

std::optional<double> Plan::hours() const {
  if (!speed) return std::nullopt;
  return static_cast<double>(tokens) / speed->tokens_per_second / 3600;
}

std::int64_t gpu_micro_batch(const RunConfig& config, const GpuSize& gpu, std::int64_t processes) {
  constexpr std::int64_t kEnoughTokens = 32768;
  constexpr double kShareOfMemory = 0.85;
  check_shares(config, processes);
  const std::int64_t parameters = count_parameters(config.model).total;
  const std::int64_t share = config.sequences_per_step() / processes;
  RunConfig tried = config;
  std::int64_t chosen = 1;
  for (std::int64_t n = 1; n <= share; ++n) {
    if (share % n != 0) continue;
    tried.train.micro_batch = n;
    const MemoryPlan memory = memory_of(tried, parameters, processes);
    const std::int64_t graph = config.train.cuda_graph ? memory.activations : 0;
    if (n > 1 && static_cast<double>(memory.training() + graph + kMoreLogitBytesOfGpu) >
                     kShareOfMemory * static_cast<double>(gpu.bytes))
      break;
    chosen = n;
    if (n * config.train.context >= kEnoughTokens && n * config.model.num_heads >= gpu.multiprocessors) break;
  }
  return chosen;
}

Plan make_plan(const RunConfig& config, const std::optional<Speed>& speed, std::int64_t processes) {
  check_shares(config, processes);
  Plan plan;
  plan.processes = processes;
  plan.parameters = count_parameters(config.model);
  plan.forward = forward_flops(config.model, config.train.context);
  plan.training = training_flops(config.model, config.train.context);
  plan.recompute = recompute_flops(config.model, config.train.context, config.train.recompute);
  plan.memory = memory_of(config, plan.parameters.total, processes);
  plan.disk = disk_of(config, plan.parameters.total);
  plan.steps = config.train.steps;
  plan.tokens = config.train.steps * config.train.batch_tokens;
  plan.warmup_steps = config.optim.warmup_steps;
  plan.context = config.train.context;
  plan.sequences_per_step = config.sequences_per_step();
  plan.micro_batch = config.micro_batch(processes);
  plan.speed = speed;
  return plan;
}

std::optional<Speed> measured_speed(const fs::path& metrics) {
  if (!fs::is_regular_file(metrics)) return std::nullopt;
  std::vector<double> speeds;
  std::istringstream lines(read_file(metrics));
  for (std::string line; std::getline(lines, line);) {
    const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (kind_of(json) != "train") continue;
    const Json speed = json.value("tokens_per_second", Json());
    if (speed.is_number() && speed.get<double>() > 0) speeds.push_back(speed);
  }
  // The first steps also pay for allocations and thread start.
  const std::size_t count = std::min<std::size_t>(100, (speeds.size() + 1) / 2);
  if (count == 0) return std::nullopt;
  speeds.erase(speeds.begin(), speeds.end() - static_cast<std::ptrdiff_t>(count));
  const auto middle = speeds.begin() + static_cast<std::ptrdiff_t>(count / 2);
  std::nth_element(speeds.begin(), middle, speeds.end());
  return Speed{*middle, cat("measured: the median of the last ", count, " steps in ", metrics.string())};
}

Speed estimated_speed(const RunConfig& config, double tflops) {
  const double per_token = training_flops(config.model, config.train.context).exact +
                           recompute_flops(config.model, config.train.context, config.train.recompute);
  return {tflops * 1e12 / per_token, cat("estimated: ", tflops, " TFLOP/s sustained, exact products with recompute")};
}

Json to_json(const Plan& plan) {
  const auto flops = [](const Flops& f) -> Json {
    return {{"six_nd", f.six_nd}, {"chinchilla", f.chinchilla}, {"exact", f.exact}};
  };
  const auto tokens = static_cast<double>(plan.tokens);
  Json json = {
      {"parameters",
       {{"total", plan.parameters.total},
        {"embedding", plan.parameters.embedding},
        {"non_embedding", plan.parameters.non_embedding()},
        {"fast_weights", plan.parameters.fast_weights},
        {"inner_state", plan.parameters.inner_state}}},
      {"flops_per_token",
       {{"forward", flops(plan.forward)}, {"training", flops(plan.training)}, {"recompute_exact", plan.recompute}}},
      {"flops", flops(plan.training.times(tokens))},
      {"memory_bytes",
       {{"weights", plan.memory.weights},
        {"gradients", plan.memory.gradients},
        {"optimizer", plan.memory.optimizer},
        {"activations_estimate", plan.memory.activations},
        {"exchange", plan.memory.exchange},
        {"training", plan.memory.training()},
        {"saving", plan.memory.saving},
        {"decoding_state_per_sequence", plan.memory.decoding_state}}},
      {"disk_bytes",
       {{"checkpoint", plan.disk.checkpoint}, {"checkpoints_kept", plan.disk.kept}, {"peak", plan.disk.peak}}},
      {"steps", plan.steps},
      {"tokens", plan.tokens},
      {"tokens_per_parameter", plan.tokens_per_parameter()},
      {"context", plan.context},
      {"sequences_per_step", plan.sequences_per_step},
      {"micro_batch", plan.micro_batch},
      {"processes", plan.processes}};
  json["tokens_per_second"] = plan.speed ? Json(plan.speed->tokens_per_second) : Json();
  json["speed_source"] = plan.speed ? Json(plan.speed->source) : Json();
  json["hours"] = plan.speed ? Json(*plan.hours()) : Json();
  return json;
}

}  // namespace ttt
