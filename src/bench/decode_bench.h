// Decoding token by token after prompts of different lengths, beside what reading the weights alone would take:
// `ttt bench decode`.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/timing.h"
#include "config/run_config.h"

namespace ttt {

// One sequence that went on from a prompt.
struct DecodeAfter {
  std::int64_t prompt = 0;    // tokens
  double prompt_seconds = 0;  // what they took
  std::int64_t state_bytes = 0;
  Spread token;  // milliseconds a token, of the repeats
};

struct DecodeBench {
  std::vector<DecodeAfter> after;
  std::int64_t weight_bytes = 0;  // of the dense layers and the head, read for every token
  Spread copy;                    // GB/s of a large copy, read and written, between the repeats
  std::string copy_text;
  std::string mixer, dtype, gpu;  // gpu: "" on a CPU
  int threads = 0;
  std::int64_t parameters = 0, tokens = 0, repeats = 0;

  double weight_rate(const DecodeAfter& run) const {  // GB/s
    return static_cast<double>(weight_bytes) / run.token.median / 1e6;
  }
  double times_first(const DecodeAfter& run) const { return run.token.median / after.front().token.median; }
};

struct DecodeBenchOptions {
  std::vector<std::int64_t> prompts = {512, 32768};
  std::int64_t tokens = 64;  // in a repeat
  int repeats = 7;
  double seconds = kBenchSeconds;  // after which nothing is repeated
};

// A model of the config's sizes with random weights (fp32, or bf16 with its dense weights rounded): one sequence for
// each prompt of random tokens; then, interleaved, `tokens` tokens from each, always from the prompt's end. `config`
// has passed validate_settings().
DecodeBench bench_decode(const RunConfig& config, const DecodeBenchOptions& options);

Json to_json(const DecodeBench& bench);

}  // namespace ttt
