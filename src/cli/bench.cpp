// ttt bench: training steps and single ops against what bounds them.
#include <algorithm>
#include <cstdio>
#include <iostream>

#include "bench/decode_bench.h"
#include "bench/kernel_prediction.h"
#include "bench/model_bench.h"
#include "bench/op_bench.h"
#include "bench/op_check.h"
#include "cli/bench_peer.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "config/load.h"
#include "model/device.h"
#include "model/self_check.h"
#include "ops/kernel_table.h"
#include "plan/units.h"

namespace ttt {
namespace {

// Tokens of a step where neither the command line nor a key says how many.
constexpr std::int64_t kStepTokens = 8192;

// --device, as in train.device.
void add_device_option(CLI::App& app, std::string& device) {
  app.add_option("--device", device, "auto: a GPU where there is one")->check(CLI::IsMember({"auto", "cpu", "cuda"}));
}

void add_self_check_option(CLI::App& app, bool& unchecked) {
  app.add_flag("--no-self-check", unchecked, "use a GPU's kernels without the self-check (train.self_check: false)");
}

void add_seconds_option(CLI::App& app, double& seconds) {
  app.add_option("--seconds", seconds, "after which nothing is repeated; what is left out is said")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

// "2 threads", or the GPU's name.
std::string computed_by(const std::string& gpu, int threads) {
  return gpu.empty() ? cat(threads, " threads") : gpu;
}

void print_times(const char* name, const Spread& ms) {
  std::printf("  %-14s %10.1f %10.1f %10.1f\n", name, ms.median, ms.min, ms.max);
}

void print(const ModelBench& bench) {
  std::printf("%s, %s parameters, %s, %s\n", bench.mixer.c_str(),
              short_number(static_cast<double>(bench.parameters)).c_str(), bench.dtype.c_str(),
              computed_by(bench.gpu, bench.threads).c_str());
  std::printf("steps of %lld tokens in sequences of %lld, micro-batches of %lld; %lld measured after one warm-up\n",
              static_cast<long long>(bench.batch_tokens), static_cast<long long>(bench.context),
              static_cast<long long>(bench.micro_batch), static_cast<long long>(bench.steps));
  for (const auto& [op, row] : bench.kernels) std::printf("kernel of %s: %s\n", op.c_str(), row.c_str());
  std::printf("\n  %-14s %10s %10s %10s\n", "ms", "median", "min", "max");
  print_times("step", bench.step);
  print_times("  forward", bench.forward);
  print_times("  backward", bench.backward);
  print_times("  clip, AdamW", bench.optimizer);
  print_times("GEMM ceiling", bench.ceiling);
  std::printf("\ntokens/s          %.1f\n", bench.tokens_per_second());
  std::printf("GEMM ceiling      %.1f tokens/s: the step's %lld dense products as plain at::mm%s, %.0f GFLOP/s\n",
              bench.ceiling_tokens_per_second(), static_cast<long long>(bench.products),
              bench.bf16_products == "fp32_panels" ? " in fp32, faster here than in bf16" : "", bench.ceiling_gflops());
  std::printf("fraction of it    %.1f %%\n", 100 * bench.ceiling_fraction());
  if (bench.peak_flops > 0)
    std::printf(
        "MFU               %.1f %%: %s of model a second (exact products, nothing computed again) of %.0f TFLOP/s\n",
        100 * bench.mfu(), (short_number(bench.tokens_per_second() * bench.model_flops) + "FLOP").c_str(),
        bench.peak_flops / 1e12);
  std::printf("peak memory       %s %s\n", short_bytes(bench.peak_memory).c_str(),
              bench.gpu.empty() ? "resident" : "of LibTorch's allocator");
  std::printf("loss              %.3f, after the steps %.3f (random tokens)\n", bench.first_loss, bench.last_loss);
  std::printf("machine           %s\n", machine_text(bench.gpu).c_str());
}

void print(const DecodeBench& bench);
void print(const OpBench& bench);
void print(const OpChecks& all);
void print(const OpPlan& plan);

// One JSON object or text on standard output, by to_json and print of that benchmark.
template <class Bench>
ExitCode report(const Bench& bench, bool json) {
  if (json) {
    std::cout << to_line(to_json(bench));
  } else {
    print(bench);
  }
  return ExitCode::kOk;
}

ExitCode bench_model_command(const std::vector<std::string>& args) {
  std::string file, dtype, device;
  std::vector<std::string> overrides;
  std::int64_t context = 0, batch_tokens = 0, steps = 5, threads = -1;
  double seconds = kBenchSeconds;
  bool json = false, unchecked = false;
  CLI::App app(
      "Training steps (forward, backward, clip, AdamW) of a config's model on random tokens, beside the dense "
      "products\n"
      "in them as plain at::mm calls, timed in between: the GEMM ceiling of this very run. On a GPU that is known, "
      "also\n"
      "the model's FLOPs a second of the peak that its maker states (MFU). No data are read.",
      "ttt bench model");
  add_config_arguments(app, file, overrides, /*partial=*/true);
  app.add_option("--context", context, "train.context: tokens in a sequence")->check(positive_number());
  app.add_option("--batch-tokens", batch_tokens, "train.batch_tokens: tokens in a step; default: about 8192")
      ->check(positive_number());
  app.add_option("--dtype", dtype, "train.dtype")->check(CLI::IsMember({"auto", "fp32", "bf16"}));
  app.add_option("--steps", steps, "measured steps, after one that warms up")
      ->check(positive_number())
      ->capture_default_str();
  add_device_option(app, device);
  add_self_check_option(app, unchecked);
  app.add_option("--threads", threads, "train.threads: CPU threads; 0: all cores")->check(non_negative_number());
  add_seconds_option(app, seconds);
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;

  if (context > 0) overrides.push_back(cat("train.context=", context));
  if (!dtype.empty()) overrides.push_back(cat("train.dtype=", dtype));
  if (!device.empty()) overrides.push_back(cat("train.device=", device));
  if (threads >= 0) overrides.push_back(cat("train.threads=", threads));
  if (unchecked) overrides.push_back("train.self_check=false");
  if (batch_tokens > 0) {
    overrides.push_back(cat("train.batch_tokens=", batch_tokens));
  } else if (!sets(overrides, "train.batch_tokens")) {
    // A recipe's half a million tokens would take minutes a step.
    if (context == 0) context = load_partial_config(file, overrides).train.context;
    overrides.push_back(cat("train.batch_tokens=", std::max<std::int64_t>(1, kStepTokens / context) * context));
  }
  const ModelBench bench = bench_model(load_partial_config(file, overrides), steps, seconds);
  return report(bench, json);
}

void print(const DecodeBench& bench) {
  std::printf("%s, %s parameters, %s, %s: decoding one sequence token by token\n", bench.mixer.c_str(),
              short_number(static_cast<double>(bench.parameters)).c_str(), bench.dtype.c_str(),
              computed_by(bench.gpu, bench.threads).c_str());
  std::printf("%lld tokens a repeat, %lld interleaved repeats\n\n", static_cast<long long>(bench.tokens),
              static_cast<long long>(bench.repeats));
  std::printf("%-14s %10s %10s %10s %9s %12s %12s\n", "after tokens", "ms median", "min", "max", "x first", "state",
              "weights GB/s");
  for (const DecodeAfter& run : bench.after) {
    std::printf("%-14lld %10.2f %10.2f %10.2f %9.3f %12s %12.1f\n", static_cast<long long>(run.prompt),
                run.token.median, run.token.min, run.token.max, bench.times_first(run),
                short_bytes(run.state_bytes).c_str(), bench.weight_rate(run));
  }
  std::printf("\nweights           %s read for a token: dense layers and head\n",
              short_bytes(bench.weight_bytes).c_str());
  std::printf("copy in this run  %.1f GB/s (%.1f-%.1f), %s\n", bench.copy.median, bench.copy.min, bench.copy.max,
              bench.copy_text.c_str());
  std::printf("machine           %s\n", machine_text(bench.gpu).c_str());
}

ExitCode bench_decode_command(const std::vector<std::string>& args) {
  std::string file, dtype = "fp32", device;
  std::vector<std::string> overrides;
  DecodeBenchOptions options;
  std::int64_t threads = -1;
  bool json = false, unchecked = false;
  CLI::App app(
      "Time per token of a config's model (random weights), after a short and after a long prompt, and how fast that\n"
      "reads the weights, beside a plain copy in the same run.",
      "ttt bench decode");
  add_config_arguments(app, file, overrides, /*partial=*/true);
  app.add_option("--prompts", options.prompts, "tokens of each prompt, as in 512,32768")
      ->delimiter(',')
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--tokens", options.tokens, "decoded in a repeat")->check(positive_number())->capture_default_str();
  app.add_option("--repeats", options.repeats, "measurements, interleaved")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--dtype", dtype, "fp32 or bf16")->check(CLI::IsMember({"fp32", "bf16"}))->capture_default_str();
  add_seconds_option(app, options.seconds);
  add_device_option(app, device);
  add_self_check_option(app, unchecked);
  app.add_option("--threads", threads, "train.threads: CPU threads; 0: all cores")->check(non_negative_number());
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  overrides.push_back(cat("train.dtype=", dtype));
  if (!device.empty()) overrides.push_back(cat("train.device=", device));
  if (threads >= 0) overrides.push_back(cat("train.threads=", threads));
  if (unchecked) overrides.push_back("train.self_check=false");
  const DecodeBench bench = bench_decode(load_partial_config(file, overrides), options);
  return report(bench, json);
}

// Three digits, and all of those before the point.
std::string three_digits(double value) {
  char text[32];
  std::snprintf(text, sizeof text, value < 100 ? "%.3g" : "%.0f", value);
  return text;
}

// "1.23 (1.20-1.41)"
std::string with_range(const Spread& us) {
  return cat(three_digits(us.median), " (", three_digits(us.min), "-", three_digits(us.max), ")");
}

void print(const OpBench& bench) {
  const OpSizes& s = bench.sizes;
  const bool products = bench.op.bound == Bound::kProducts;
  const char* rate = products ? "GFLOP/s" : "GB/s";
  const char* unit = bench.op.unit.c_str();
  std::printf("%s: %s, mini-batches of %lld, %s, %s\n", bench.name.c_str(), shape_text(s).c_str(),
              static_cast<long long>(s.mini_batch), dtype_text(s), computed_by(bench.gpu, bench.threads).c_str());
  std::printf("limit in this run: %.0f %s (%.0f-%.0f), %s\n", bench.peak.median, rate, bench.peak.min, bench.peak.max,
              bench.peak_text.c_str());
  const auto amount = [&](double work) { return short_number(work) + (products ? " FLOP" : " B"); };
  std::printf("a %s: %s", unit, amount(bench.op.work.forward).c_str());
  if (bench.op.work.forward_backward > 0)
    std::printf(" forward, %s forward+backward", amount(bench.op.work.forward_backward).c_str());
  std::printf(" (%s)\n", bench.op.work_note.c_str());
  std::printf("medians (smallest-largest) of %d interleaved repeats; us: microseconds a %s\n\n", bench.repeats, unit);
  const char* thread_title = bench.times_one_thread() ? "x 1 thr." : "";
  std::printf("%-14s %-22s %-22s %8s %8s %9s %8s %8s %8s %8s\n", "row", "forward us", "fwd+bwd us", rate, "of limit",
              "fwd alone", "x naive", thread_title, "error O", "grads");
  for (const OpRow& row : bench.rows) {
    const double peak = bench.peak.median;
    std::printf("%-14s %-22s %-22s %8s %7.1f%% %8.1f%% %8s %8s %8.1e %8.1e\n", row.name.c_str(),
                with_range(row.forward).c_str(),
                (row.forward_backward ? with_range(*row.forward_backward) : "-").c_str(),
                three_digits(row.whole_rate).c_str(), 100 * row.whole_rate / peak, 100 * row.forward_rate / peak,
                bench.naive() != nullptr ? three_digits(bench.times_best_naive(row)).c_str() : "-",
                bench.times_one_thread() ? three_digits(row.thread_ratio()).c_str() : "", row.errors.output,
                row.errors.gradients);
  }
  std::printf(
      "\nerrors: of the output and of the worst gradient, against fp64, relative to a tensor's largest value\n");
  if (bench.is_checked_in_part()) std::printf("errors are those of %s\n", shape_text(bench.checked).c_str());
  if (bench.times_one_thread()) std::printf("x naive: on as many threads, or naive on one where that is faster\n");
  for (const OpRow& row : bench.rows)
    if (!row.note.empty()) std::printf("%s: %s\n", row.name.c_str(), row.note.c_str());
  for (const std::string& reason : bench.op.left_out) std::printf("left out: %s\n", reason.c_str());
  std::printf("machine: %s\n", machine_text(bench.gpu).c_str());
}

void print(const OpChecks& all) {
  for (const OpCheck& check : all.checks) {
    std::printf("%-6s %s %s: %s, %s: ", check.passed() ? "ok" : "WRONG", all.name.c_str(), check.row.c_str(),
                shape_text(check.sizes).c_str(), dtype_text(check.sizes));
    if (!check.failure.empty()) {
      std::printf("%s\n", check.failure.c_str());
    } else {
      std::printf("output %.1e, gradients %.1e (at most %.0e)\n", check.errors.output, check.errors.gradients,
                  check.tolerance);
    }
  }
  for (const std::string& reason : all.left_out) std::printf("left out: %s\n", reason.c_str());
}

void print_kernels(const std::string& op, const std::vector<PlannedKernel>& plan) {
  std::printf(
      "CUDA kernels of %s: registers and spill stores of a thread, shared memory of a block, and the blocks of it\n"
      "that a multiprocessor holds with how much of its warps they are\n\n",
      op.c_str());
  std::size_t longest = 0;
  for (const PlannedKernel& kernel : plan) longest = std::max(longest, kernel.kernel.size());
  const int width = static_cast<int>(longest);
  std::printf("%-*s %8s %9s", width, "", "", "");
  for (const KernelFit& fit : plan.front().fits) std::printf("  | %-28s", cat(fit.architecture, ", ", fit.gpu).c_str());
  std::printf("\n%-*s %8s %9s", width, "kernel", "threads", "shared");
  for (std::size_t i = 0; i < plan.front().fits.size(); ++i) std::printf("  | registers spills blocks warps");
  std::printf("\n");
  for (const PlannedKernel& kernel : plan) {
    std::printf("%-*s %8d %9s", width, kernel.kernel.c_str(), kernel.threads, short_bytes(kernel.shared_bytes).c_str());
    for (const KernelFit& fit : kernel.fits) {
      std::printf("  | %9d %6d", fit.registers, fit.spill_bytes);
      if (fit.blocks == 0) {
        std::printf(" %12s", "too large");
      } else {
        std::printf(" %6d %3.0f %%", fit.blocks, 100 * fit.occupancy);
      }
    }
    std::printf("\n");
  }
}

void print(const OpPlan& plan) {
  if (!plan.kernels.empty()) print_kernels(plan.op, plan.kernels), std::printf("\n");
  std::printf("%s", prediction_text(plan).c_str());
}

// One op after the other, in one process: each is said when it is done.
ExitCode check_all_ops(at::Device device, const std::string& row, bool json) {
  if (!row.empty()) user_error("--row names a row of one op; name the op instead of `all`");
  bool passed = true;
  for (const BenchOp& op : op_table()) {
    const OpChecks checks = check_op(op.name, check_sizes(device));
    report(checks, json);
    std::fflush(stdout);
    std::cout.flush();
    passed = passed && checks.passed();
  }
  return passed ? ExitCode::kOk : ExitCode::kFailed;
}

ExitCode bench_op_command(const std::vector<std::string>& args) {
  std::string name, names;
  OpSizes sizes;
  OpBenchOptions options;
  std::string dtype = "fp32", device = "auto";
  bool json = false, plan = false, check = false, unchecked = false;
  for (const BenchOp& op : op_table()) names += cat("\n  ", op.name, ": ", op.summary);
  CLI::App app(cat("Every kernel row of an op side by side with the op written as plain ATen calls (naive), with what "
                   "bounds it,\n"
                   "and with fp64. The ops:",
                   names),
               "ttt bench op");
  app.add_option("name", name, "which op; with --check also `all`: one after the other")->required()->type_name("NAME");
  const auto size = [&](const char* option, std::int64_t& value, const char* help) {
    app.add_option(option, value, help)->check(positive_number())->capture_default_str();
  };
  size("--batch", sizes.batch, "sequences");
  size("--heads", sizes.heads, "heads");
  size("--head-dim", sizes.head_dim, "head size");
  size("--context", sizes.context, "tokens in a sequence");
  size("--mini-batch", sizes.mini_batch, "tokens of an inner-loop step");
  size("--vocab-size", sizes.vocab, "tokens of the vocabulary (cross_entropy)");
  app.add_option("--dtype", dtype, "of the op's tensors")
      ->check(CLI::IsMember({"fp32", "bf16"}))
      ->capture_default_str();
  add_device_option(app, device);
  add_self_check_option(app, unchecked);
  app.add_option("--row", options.row, "time this row (and naive) alone; with --check: check it alone")
      ->type_name("NAME");
  app.add_option("--threads", options.threads, "CPU threads; 0: all cores; above 1, one thread is timed as well")
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_option("--repeats", options.repeats, "measurements, interleaved")
      ->check(positive_number())
      ->capture_default_str();
  add_seconds_option(app, options.seconds);
  app.add_flag("--attention", sizes.attention, "ttt_linear, ttt_mlp: LibTorch's attention of the same sizes beside it");
  app.add_flag(
      "--check", check,
      "time nothing: hold every row against fp64 at a few small and odd shapes; exit code 1 when one is wrong; also "
      "those that a self-check has found wanting");
  app.add_flag("--plan", plan,
               "time nothing: print what the op's CUDA kernels need of a GPU, and predicted times (no GPU is needed)");
  app.add_flag("--json", json, "print one JSON object; of all ops one a line");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  if (name == "all" && !check) user_error("`ttt bench op all` needs --check; name an op to time it");
  if (dtype == "bf16") sizes.dtype = at::kBFloat16;
  if (plan) return report(plan_op(name, sizes), json);
  if (name != "all") find_op(name);
  read_kernel_environment();
  sizes.device = select_device(device);
  if (check) {
    prepare_cpu(options.threads);
    select_bf16_products(ProductsKind::kAuto, sizes.device);
    if (name == "all") return check_all_ops(sizes.device, options.row, json);
    const OpChecks checks = check_op(name, check_sizes(sizes.device), options.row);
    report(checks, json);
    return checks.passed() ? ExitCode::kOk : ExitCode::kFailed;
  }
  self_check(sizes.device, !unchecked);
  const OpBench bench = bench_op(name, sizes, options);
  return report(bench, json);
}

}  // namespace

ExitCode run_bench(const std::vector<std::string>& args) {
  const std::string what = args.empty() ? "" : args[0];
  const std::vector<std::string> rest(args.begin() + (args.empty() ? 0 : 1), args.end());
  if (what == "model") return bench_model_command(rest);
  if (what == "decode") return bench_decode_command(rest);
  if (what == "peer") return run_bench_peer(rest);
  if (what == "op") return bench_op_command(rest);
  if (what == "--help" || what == "-h") {
    std::cout << "usage: ttt bench model | decode | peer | op [arguments]\n\n"
                 "  model CONFIG   training steps beside the dense products in them, the GEMM ceiling\n"
                 "  decode CONFIG  time per token after short and long prompts, beside the memory's bandwidth\n"
                 "  peer CONFIG    training steps beside those of the same model in PyTorch\n"
                 "  op NAME        every kernel row of an op beside plain ATen calls and the limit\n\n"
                 "`ttt bench model --help` and so on explain each\n";
    return ExitCode::kOk;
  }
  const std::string near = nearest(what, {"model", "decode", "peer", "op"});
  user_error(what.empty() ? "`ttt bench` needs to know what" : "`ttt bench` does not time '" + what + "'", "; ",
             near.empty() ? "write `ttt bench model CONFIG`, or another of those that `ttt bench --help` lists"
                          : cat("did you mean '", near, "'?"));
}

}  // namespace ttt
