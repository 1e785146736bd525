#include "cli/bench_peer.h"

#include <cstdio>
#include <iostream>

#include "bench/peer_bench.h"
#include "cli/parse.h"
#include "config/load.h"
#include "plan/units.h"

namespace ttt {
namespace {

void print_peer_bench(const PeerBench& bench) {
  const auto number = [](std::int64_t value) { return static_cast<long long>(value); };
  std::printf("%s, %s parameters, %s, %d threads, beside %s (%s parameters)\n", bench.mixer.c_str(),
              short_number(static_cast<double>(bench.parameters)).c_str(), bench.dtype.c_str(), bench.threads,
              bench.peer.c_str(), short_number(static_cast<double>(bench.peer_parameters)).c_str());
  std::printf(
      "steps of %lld tokens in sequences of %lld, micro-batches of %lld; %lld rounds of %lld steps each, in turn\n",
      number(bench.batch_tokens), number(bench.context), number(bench.micro_batch), number(bench.rounds),
      number(bench.steps));
  std::printf("\nttt               %.1f tokens/s\n", bench.rates.ours);
  std::printf("%-17s %.1f tokens/s\n", bench.peer.c_str(), bench.rates.peer);
  std::printf("ttt / peer        %.3f (%.3f-%.3f in single rounds)\n", bench.rates.ratio.median, bench.rates.ratio.min,
              bench.rates.ratio.max);
  std::printf("peer              torch %s, transformers %s, Python %s, %s AdamW\n", bench.torch.c_str(),
              bench.transformers.c_str(), bench.python.c_str(), bench.optimizer.c_str());
  std::printf("machine           %s\n", machine_text("").c_str());
}

}  // namespace

ExitCode run_bench_peer(const std::vector<std::string>& args) {
  std::string file, dtype = "fp32";
  std::vector<std::string> overrides;
  PeerBenchOptions options;
  std::int64_t context = 0, batch_tokens = 0, threads = -1;
  bool json = false;
  CLI::App app(
      "Training steps of a config's model on random tokens, in turn with the same model's in a Python process:\n"
      "LlamaForCausalLM (attention) and MambaForCausalLM (mamba) of Hugging Face's transformers, or the official\n"
      "code's TTTForCausalLM (ttt_linear, ttt_mlp). On the CPU, with the same threads and type. The ratio is the\n"
      "median of the rounds'. No data are read.",
      "ttt bench peer");
  add_config_arguments(app, file, overrides, /*partial=*/true);
  app.add_option("--python", options.python, "a Python with torch and transformers: its path, or as PATH has it")
      ->required()
      ->type_name("PYTHON");
  app.add_option("--official", options.official, "folder of the official PyTorch code of TTT layers, with its ttt.py")
      ->type_name("DIR");
  app.add_option("--context", context, "train.context: tokens in a sequence")->check(positive_number());
  app.add_option("--batch-tokens", batch_tokens, "train.batch_tokens: tokens in a step; default: one sequence")
      ->check(positive_number());
  app.add_option("--steps", options.steps, "of each in a round, after one at the start that warms up")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--rounds", options.rounds, "of the two in turn")->check(positive_number())->capture_default_str();
  app.add_option("--threads", threads, "train.threads: CPU threads of each; 0: all cores")
      ->check(non_negative_number());
  app.add_option("--dtype", dtype, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}))->capture_default_str();
  app.add_option("--peer-seconds", options.peer_seconds, "that the peer may take to start, and for each round")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;

  overrides.push_back("train.device=cpu");
  overrides.push_back(cat("train.dtype=", dtype));
  if (context > 0) overrides.push_back(cat("train.context=", context));
  if (threads >= 0) overrides.push_back(cat("train.threads=", threads));
  if (batch_tokens == 0 && !sets(overrides, "train.batch_tokens"))
    batch_tokens = context > 0 ? context : load_partial_config(file, overrides).train.context;
  if (batch_tokens > 0) overrides.push_back(cat("train.batch_tokens=", batch_tokens));
  const PeerBench bench = bench_peer(load_partial_config(file, overrides), options);
  if (json) {
    std::cout << to_line(to_json(bench));
  } else {
    print_peer_bench(bench);
  }
  return ExitCode::kOk;
}

}  // namespace ttt
