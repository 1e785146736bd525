#include "bench/decode_bench.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Parallel.h>
#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "bench/dense_products.h"
#include "bench/device_memory.h"
#include "bench/setup.h"
#include "bench/yardstick.h"
#include "model/language_model.h"
#include "ops/cuda_target.h"

namespace ttt {
namespace {

constexpr std::int64_t kPromptChunk = 2048;  // tokens of a prompt taken at once

at::Tensor random_tokens(std::int64_t vocabulary, std::int64_t count, std::uint64_t seed, at::Device device) {
  return at::randint(0, vocabulary, {1, count}, at::make_generator<at::CPUGeneratorImpl>(seed),
                     at::TensorOptions(at::kLong))
      .to(device);
}

ModelState after_prompt(LanguageModel& model, const at::Tensor& prompt_1T) {
  ModelState state = model.initial_state(1);
  for (std::int64_t begin = 0; begin < prompt_1T.size(1); begin += kPromptChunk)
    model.advance(prompt_1T.narrow(1, begin, std::min(kPromptChunk, prompt_1T.size(1) - begin)), state);
  return state;
}

// Milliseconds a token.
double decode(LanguageModel& model, const ModelState& from, const at::Tensor& tokens_1T) {
  ModelState state = from.clone();
  const DeviceTimer timer(tokens_1T.device());
  for (std::int64_t t = 0; t < tokens_1T.size(1); ++t) model.advance(tokens_1T.narrow(1, t, 1), state);
  return 1e3 * timer.seconds() / static_cast<double>(tokens_1T.size(1));
}

}  // namespace

DecodeBench bench_decode(const RunConfig& config, const DecodeBenchOptions& options) {
  TTT_CHECK(!options.prompts.empty() && options.tokens >= 1 && options.repeats >= 1, "nothing to measure");
  const auto [device, bf16] = set_up(config.train);
  const torch::NoGradGuard no_grad;
  LanguageModel model(config.model, static_cast<std::uint64_t>(config.train.seed));
  model.eval();
  model.to(device);

  DecodeBench bench;
  bench.mixer = to_string(config.model.mixer);
  bench.gpu = gpu_name(device);
  bench.threads = at::get_num_threads();
  bench.tokens = options.tokens;
  bench.repeats = options.repeats;
  for (const torch::Tensor& parameter : model.parameters()) bench.parameters += parameter.numel();
  bench.dtype = bf16 ? "bf16" : "fp32";
  for (const DenseProduct& product : dense_products(model))
    bench.weight_bytes += product.in * product.out * (bf16 ? 2 : 4);
  if (bf16) {
    model.set_bf16(true);
    model.round_dense_weights();
  }

  std::vector<ModelState> states;
  for (const std::int64_t prompt : options.prompts) {
    const DeviceTimer timer(device);
    states.push_back(after_prompt(model, random_tokens(config.model.vocab_size, prompt, /*seed=*/1, device)));
    bench.after.push_back({prompt, timer.seconds(), states.back().bytes(), {}});
    log_info(cat("a prompt of ", prompt, " tokens: ", timer.seconds(), " s"));
  }
  const at::Tensor tokens_1T = random_tokens(config.model.vocab_size, options.tokens, /*seed=*/2, device);
  Yardstick copy(Bound::kMemory, at::kFloat, device);
  bench.copy_text = copy.text();
  std::vector<double> rates;
  std::vector<std::vector<double>> times(states.size());
  const Timer all_repeats;
  for (int repeat = -1; repeat < options.repeats; ++repeat) {  // the first warms up
    if (repeat > 0 && all_repeats.seconds() > options.seconds) {
      log_info(cat("the other ", options.repeats - repeat, " repeats are left out: --seconds ", options.seconds,
                   " are over"));
      bench.repeats = repeat;
      break;
    }
    const double rate = copy.run();
    for (std::size_t i = 0; i < states.size(); ++i) {
      const double ms = decode(model, states[i], tokens_1T);
      if (repeat >= 0) times[i].push_back(ms);
    }
    if (repeat >= 0) rates.push_back(rate);
  }
  bench.copy = spread_of(rates);
  for (std::size_t i = 0; i < states.size(); ++i) bench.after[i].token = spread_of(times[i]);
  return bench;
}

Json to_json(const DecodeBench& bench) {
  Json after = Json::array();
  for (const DecodeAfter& run : bench.after) {
    after.push_back({{"prompt_tokens", run.prompt},
                     {"prompt_seconds", run.prompt_seconds},
                     {"state_bytes", run.state_bytes},
                     {"token_ms", to_json(run.token)},
                     {"times_first", bench.times_first(run)},
                     {"weight_gb_per_second", bench.weight_rate(run)},
                     {"copy_fraction", bench.weight_rate(run) / bench.copy.median}});
  }
  return {{"after", after},
          {"weight_bytes", bench.weight_bytes},
          {"copy_gb_per_second", to_json(bench.copy)},
          {"mixer", bench.mixer},
          {"dtype", bench.dtype},
          {"parameters", bench.parameters},
          {"device", bench.gpu.empty() ? "cpu" : "cuda"},
          {"threads", bench.threads},
          {"tokens", bench.tokens},
          {"repeats", bench.repeats},
          {"machine", machine_json(bench.gpu)}};
}

}  // namespace ttt
