// ttt plan: what a training run will cost, before anything is trained.
#include <iomanip>
#include <iostream>

#include "base/error.h"
#include "base/files.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"
#include "plan/plan.h"
#include "plan/units.h"

namespace ttt {
namespace {

std::ostream& row(const char* name) {
  return std::cout << "  " << std::left << std::setw(20) << name;
}

std::string flops(double value) {
  return short_number(value) + "FLOP";
}

void print_flops(const char* name, double Flops::*convention, const Plan& plan, const char* meaning) {
  row(name) << std::setw(11) << flops(plan.forward.*convention) << std::setw(11) << flops(plan.training.*convention)
            << std::setw(11) << flops(plan.training.*convention * static_cast<double>(plan.tokens)) << meaning << "\n";
}

void print(const Plan& plan) {
  const ParameterCount& p = plan.parameters;
  std::cout << "parameters\n";
  row("total") << p.total << "  (" << short_number(static_cast<double>(p.total)) << ")\n";
  row("embedding") << p.embedding << "\n";
  row("non-embedding") << p.non_embedding() << "\n";
  if (p.fast_weights > 0)
    row("inner W0 and b0") << p.fast_weights << " of them: where each sequence's inner loop starts\n";
  if (p.inner_state > 0) row("recurrent state") << p.inner_state << " numbers a sequence, at any length\n";

  std::cout << "operations           forward    training   whole run\n";
  print_flops("6 N D", &Flops::six_nd, plan, "N with the head");
  print_flops("Chinchilla", &Flops::chinchilla, plan, "appendix F of arXiv 2203.15556");
  print_flops("exact products", &Flops::exact, plan, "as this implementation computes them");
  row("recomputed") << std::setw(11) << "" << std::setw(11) << flops(plan.recompute) << std::setw(11)
                    << flops(plan.recompute * static_cast<double>(plan.tokens)) << "on top, in the backward pass\n";
  std::cout << "  (a token, context " << plan.context << ", multiply-add = 2; training = 3 x forward)\n";

  std::cout << (plan.processes > 1 ? cat("memory of each of ", plan.processes, " processes\n")
                                   : "memory of a process\n");
  row("weights") << short_bytes(plan.memory.weights) << "\n";
  row("gradients") << short_bytes(plan.memory.gradients) << "\n";
  row("AdamW's moments") << short_bytes(plan.memory.optimizer) << "\n";
  row("activations, about") << short_bytes(plan.memory.activations) << " for a micro-batch of " << plan.micro_batch
                            << " x " << plan.context << " tokens\n";
  if (plan.memory.exchange > 0) row("between ranks") << short_bytes(plan.memory.exchange) << " of buffers\n";
  row("LibTorch, about") << short_bytes(plan.memory.libraries) << "\n";
  row("training, about") << short_bytes(plan.memory.training()) << "\n";
  row("saving, on top") << short_bytes(plan.memory.saving) << " of host memory while a checkpoint is written\n";
  row("decoding state") << short_bytes(plan.memory.decoding_state) << " a sequence, after " << plan.context
                        << " tokens\n";

  std::cout << "disk\n";
  row("a checkpoint") << short_bytes(plan.disk.checkpoint) << "\n";
  row("at most") << short_bytes(plan.disk.peak) << ": " << plan.disk.kept << " kept and one being written\n";

  std::cout << "run\n";
  row("steps") << plan.steps << " of " << plan.sequences_per_step << " x " << plan.context << " tokens, "
               << plan.warmup_steps << " of warm-up\n";
  row("tokens") << plan.tokens << "  (" << short_number(static_cast<double>(plan.tokens)) << ", "
                << short_number(plan.tokens_per_parameter()) << " a parameter)\n";
  if (plan.speed) {
    row("time") << short_hours(*plan.hours()) << " at " << short_number(plan.speed->tokens_per_second) << " tokens/s ("
                << plan.speed->source << ")\n";
  } else {
    row("time") << "unknown; give --tokens-per-second (measured) or --tflops (an estimate)\n";
  }
}

}  // namespace

ExitCode run_plan(const std::vector<std::string>& args) {
  std::string file;
  std::vector<std::string> overrides;
  double tokens_per_second = 0, tflops = 0;
  std::int64_t processes = 1;
  double gpu_memory_gib = 0;
  std::int64_t multiprocessors = 132;
  bool json = false;
  CLI::App app(
      "What a training run will cost: parameters, operations, memory, disk, steps and hours. Reads the config alone,\n"
      "and the speed of the run itself where its output_dir has one already.",
      "ttt plan");
  add_config_arguments(app, file, overrides, /*partial=*/true);
  auto* speed_option =
      app.add_option("--tokens-per-second", tokens_per_second, "the speed, as measured")->check(positive_number());
  app.add_option("--tflops", tflops, "estimate the speed from so many sustained TFLOP/s")
      ->check(positive_number())
      ->excludes(speed_option);
  app.add_option("--processes", processes, "that train together; memory is that of one of them")
      ->check(positive_number());
  auto* memory = app.add_option("--gpu-memory", gpu_memory_gib,
                                "GiB of a GPU's memory: the micro-batch that train.micro_batch: 0 takes there")
                     ->check(positive_number());
  app.add_option("--gpu-multiprocessors", multiprocessors, "of that GPU; an H100 or H200 has 132")
      ->check(positive_number())
      ->needs(memory)
      ->capture_default_str();
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;

  RunConfig config = load_partial_config(file, overrides);
  if (gpu_memory_gib > 0 && config.train.dtype == DType::kAuto) config.train.dtype = DType::kBf16;  // there
  if (gpu_memory_gib > 0 && config.train.micro_batch == 0)
    config.train.micro_batch = gpu_micro_batch(
        config, {static_cast<std::int64_t>(gpu_memory_gib * (std::int64_t{1} << 30)), multiprocessors}, processes);
  std::optional<Speed> speed;
  if (tokens_per_second > 0) {
    speed = Speed{tokens_per_second, "--tokens-per-second"};
  } else if (tflops > 0) {
    speed = estimated_speed(config, tflops);
  } else if (!config.output_dir.empty()) {
    speed = measured_speed(fs::path(config.output_dir) / "metrics.jsonl");
  }
  const Plan plan = make_plan(config, speed, processes);
  if (json) {
    std::cout << to_line(to_json(plan));
  } else {
    print(plan);
  }
  return ExitCode::kOk;
}

}  // namespace ttt
