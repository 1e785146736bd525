// Training steps of a model against the dense products in them: `ttt bench model`.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/json.h"
#include "bench/timing.h"
#include "config/run_config.h"

namespace ttt {

struct ModelBench {
  // Of a step, in milliseconds. The optimizer: gradients dropped, clipping, AdamW.
  Spread step, forward, backward, optimizer;
  Spread ceiling;          // of the step's dense products alone, as plain at::mm calls, in milliseconds
  double dense_flops = 0;  // operations of those products
  std::int64_t products = 0;
  std::int64_t peak_memory = 0;  // bytes of the steps, before the ceiling's own operands are there; see device_memory.h
  double model_flops = 0;        // of a token in training: the exact products of plan/flops.h, nothing computed again
  double peak_flops = 0;         // a second: the GPU's dense bf16 products by its maker; 0: not known, or a CPU
  std::int64_t parameters = 0;
  double first_loss = 0, last_loss = 0;
  std::string dtype, gpu;     // gpu: "" on a CPU
  std::string bf16_products;  // in bf16 on a CPU: to_string(Bf16Products)
  int threads = 0;
  std::vector<std::pair<std::string, std::string>>
      kernels;  // of TTT's and Gated DeltaNet's ops: the rows that they took
  std::int64_t context = 0, batch_tokens = 0, micro_batch = 0, steps = 0;
  std::string mixer;

  double tokens_per_second() const { return 1e3 * static_cast<double>(batch_tokens) / step.median; }
  double ceiling_tokens_per_second() const { return 1e3 * static_cast<double>(batch_tokens) / ceiling.median; }
  double ceiling_fraction() const { return ceiling.median / step.median; }
  double mfu() const { return tokens_per_second() * model_flops / peak_flops; }
  double ceiling_gflops() const { return dense_flops / ceiling.median / 1e6; }
};

// Builds model and optimizer as the trainer does and trains on random tokens of a fixed seed: a step that warms up,
// then up to `steps` measured ones, each followed by the ceiling's products; none begins when `seconds` are over.
// `config` has passed validate_settings(); data and output_dir are not looked at.
ModelBench bench_model(const RunConfig& config, std::int64_t steps, double seconds = kBenchSeconds);

Json to_json(const ModelBench& bench);

}  // namespace ttt
