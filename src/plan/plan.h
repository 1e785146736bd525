// What a training run will cost, from its config alone: no tensor is made, no data are read.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "base/json.h"
#include "config/run_config.h"
#include "plan/flops.h"
#include "plan/parameters.h"

namespace ttt {

// Bytes, of one process. With dist.zero: 1, AdamW's moments are divided among the processes. Weights, gradients and
// AdamW's two moments are fp32; activations too, unless train.dtype is bf16 (auto, which may turn out to be, is counted
// as fp32).
struct MemoryPlan {
  std::int64_t weights = 0, gradients = 0, optimizer = 0;
  std::int64_t activations = 0;          // an estimate: what the backward pass needs of one micro-batch
  std::int64_t exchange = 0;             // buffers of collectives
  std::int64_t libraries = 500'000'000;  // LibTorch itself, as measured in small CPU runs
  std::int64_t saving = 0;               // on top, of host memory: the copy that checkpoint.async writes
  std::int64_t decoding_state = 0;       // of one sequence of train.context tokens, in `ttt generate`
  std::int64_t training() const { return weights + gradients + optimizer + activations + exchange + libraries; }
};

struct DiskPlan {
  std::int64_t checkpoint = 0;  // bytes of one: weights and both moments
  std::int64_t kept = 0;        // checkpoints that stay
  std::int64_t peak = 0;        // bytes while one more is being written
};

// Tokens a second, and where the number comes from.
struct Speed {
  double tokens_per_second = 0;
  std::string source;  // "--tokens-per-second", "median of the last 50 steps in runs/x/metrics.jsonl", ...
};

struct Plan {
  ParameterCount parameters;
  Flops forward, training;  // per token
  double recompute = 0;     // per token of training, exact products
  MemoryPlan memory;
  DiskPlan disk;
  std::int64_t steps = 0, tokens = 0, warmup_steps = 0, context = 0, sequences_per_step = 0, micro_batch = 0,
               processes = 1;
  std::optional<Speed> speed;

  double tokens_per_parameter() const { return static_cast<double>(tokens) / static_cast<double>(parameters.total); }
  std::optional<double> hours() const;  // with a speed
};

// On a GPU chunks of logits are larger (ops/cross_entropy.h): bytes beside MemoryPlan's.
constexpr std::int64_t kMoreLogitBytesOfGpu = std::int64_t{480} << 20;

struct GpuSize {
  std::int64_t bytes = 0;  // of its memory
  std::int64_t multiprocessors = 0;
};
// The micro-batch that train.micro_batch: 0 means on such a GPU: the smallest divisor of a process's share of the step
// with 32768 tokens and a head for every multiprocessor (a block of the TTT kernels works on one head of one sequence),
// or the largest whose training takes at most 85 % of the memory (MemoryPlan, and once more the activations where a
// CUDA graph keeps its own).
std::int64_t gpu_micro_batch(const RunConfig& config, const GpuSize& gpu, std::int64_t processes = 1);

// Of a run of so many processes. Throws UserError when they cannot share its steps.
Plan make_plan(const RunConfig& config, const std::optional<Speed>& speed = std::nullopt, std::int64_t processes = 1);

// The median tokens_per_second of the last steps (at most 100) of a metrics.jsonl; nothing when it has none.
std::optional<Speed> measured_speed(const std::filesystem::path& metrics);
// What `tflops` (1e12 sustained operations a second) give under the exact convention, recompute included.
Speed estimated_speed(const RunConfig& config, double tflops);

Json to_json(const Plan& plan);

}  // namespace ttt
