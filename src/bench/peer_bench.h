// Training steps of a model beside those of the same model in PyTorch's own words: `ttt bench peer`. The peer is
// LlamaForCausalLM or MambaForCausalLM of Hugging Face's transformers, or TTTForCausalLM of the official TTT code, in
// a Python process (bench/peer_script.h); it and this process train in turn, so that both see the same noise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/timing.h"
#include "config/run_config.h"

namespace ttt {

struct PeerBenchOptions {
  std::string python;    // a program, by its path or as PATH has it
  std::string official;  // the folder of the official TTT code; "": not given
  std::int64_t steps = 3, rounds = 5;
  double peer_seconds = 900;  // that the peer may take to start with its warm-up, and for each round
};

// Tokens a second of each step of a round.
struct PeerRound {
  std::vector<double> ours, peer;
};

struct PeerRates {
  double ours = 0, peer = 0;   // tokens a second, the median of all steps
  std::vector<double> ratios;  // of each round: the median of ours over the median of the peer's
  Spread ratio;                // of them
};
PeerRates compare_rounds(const std::vector<PeerRound>& rounds);

struct PeerBench {
  PeerRates rates;
  std::string peer;                                    // "LlamaForCausalLM"
  std::string torch, transformers, python, optimizer;  // the peer's; optimizer: "fused", "foreach"
  std::string mixer, dtype;
  std::string bf16_products;  // ours, in bf16: to_string(Bf16Products)
  int threads = 0;
  std::int64_t parameters = 0, peer_parameters = 0;
  std::int64_t context = 0, batch_tokens = 0, micro_batch = 0, steps = 0, rounds = 0;
};

// The config.json that the peer is built from. Throws UserError for a model that has no peer, or where `official` is
// missing, is no folder of the official code or is not asked for.
Json peer_model(const ModelConfig& config, std::int64_t context, const std::string& official);
// What the script is told: that model, and how it trains.
Json peer_settings(const RunConfig& config, const PeerBenchOptions& options, bool bf16, int threads);
// What is to be said of two counts of parameters that differ by more than 1 %; else "".
std::string parameter_warning(std::int64_t ours, std::int64_t peer);

// Ours and the peer take a step that warms up, then in each round `steps` steps each, first ours and first the peer in
// turn. On the CPU. `config` has passed validate_settings(). Throws UserError for what has no peer and for a Python
// that is not there or lacks torch or transformers, Error where the peer fails.
PeerBench bench_peer(const RunConfig& config, const PeerBenchOptions& options);

Json to_json(const PeerBench& bench);

}  // namespace ttt
