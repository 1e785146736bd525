#include "bench/model_bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <memory>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "bench/dense_products.h"
#include "bench/device_memory.h"
#include "bench/setup.h"
#include "bench/training_steps.h"
#include "ops/cuda_target.h"
#include "ops/kernel_table.h"
#include "ops/products.h"
#include "plan/flops.h"
#include "plan/plan.h"

namespace ttt {
namespace {

// How many calls each row of each op has taken so far.
std::vector<std::vector<std::int64_t>> calls_of_rows() {
  std::vector<std::vector<std::int64_t>> calls;
  for (const KernelTable* table : kernel_tables()) {
    calls.emplace_back();
    for (std::size_t i = 0; i < table->size(); ++i) calls.back().push_back(table->taken(i));
  }
  return calls;
}

// The announced ops (TTT, Gated DeltaNet) that took a call since then, each with its rows.
std::vector<std::pair<std::string, std::string>> rows_since(const std::vector<std::vector<std::int64_t>>& before) {
  std::vector<std::pair<std::string, std::string>> rows;
  for (std::size_t t = 0; t < before.size(); ++t) {
    const KernelTable& table = *kernel_tables()[t];
    if (!table.traits().announced) continue;
    for (std::size_t i = 0; i < table.size(); ++i)
      if (table.taken(i) > before[t][i]) rows.emplace_back(table.op(), table.row(i).name);
  }
  return rows;
}

}  // namespace

ModelBench bench_model(const RunConfig& asked, std::int64_t steps, double seconds) {
  TTT_CHECK(steps >= 1, steps, " steps");
  const auto [device, bf16] = set_up(asked.train);
  RunConfig config = asked;
  if (const GpuSize gpu{gpu_memory(device).total, gpu_multiprocessors(device)};
      gpu.bytes > 0 && asked.train.micro_batch == 0) {  // as a training would
    config.train.dtype = bf16 ? DType::kBf16 : DType::kFp32;
    config.train.micro_batch = gpu_micro_batch(config, gpu);
  }
  if (config.train.cuda_graph) log_info("train.cuda_graph is not used: the phases of a step are timed one by one");
  ModelBench bench;
  bench.mixer = to_string(config.model.mixer);
  bench.context = config.train.context;
  bench.batch_tokens = config.train.batch_tokens;
  bench.micro_batch = config.micro_batch();
  bench.steps = steps;
  bench.threads = at::get_num_threads();
  bench.gpu = gpu_name(device);
  bench.model_flops = training_flops(config.model, config.train.context).exact;
  bench.peak_flops = dense_bf16_peak(bench.gpu);
  bench.dtype = bf16 ? "bf16" : "fp32";
  if (bf16 && device.is_cpu()) bench.bf16_products = to_string(bf16_products());

  TrainingSteps training(config, bf16, device);
  reset_peak_memory(device);
  bench.parameters = training.parameters();
  const auto calls_before = calls_of_rows();
  const StepTimes warm_up = training.step();
  bench.kernels = rows_since(calls_before);
  log_info(cat("warm-up step: ", warm_up.whole, " s"));
  bench.first_loss = warm_up.loss;

  std::unique_ptr<DenseCeiling> ceiling;
  const std::int64_t micro_batches = config.sequences_per_step() / config.micro_batch();
  std::vector<double> whole, forward, backward, optimizer, products;
  const Timer all_steps;
  for (std::int64_t i = 0; i < steps; ++i) {
    if (i > 0 && all_steps.seconds() > seconds) {
      log_info(cat("the other ", steps - i, " steps are left out: --seconds ", seconds, " are over"));
      bench.steps = i;
      break;
    }
    const StepTimes times = training.step();
    whole.push_back(1e3 * times.whole);
    forward.push_back(1e3 * times.forward);
    backward.push_back(1e3 * times.backward);
    optimizer.push_back(1e3 * times.optimizer);
    bench.last_loss = times.loss;
    if (!ceiling) {
      bench.peak_memory = peak_memory(device);
      const std::vector<DenseProduct> list = dense_products(training.model());
      bench.products = 3 * static_cast<std::int64_t>(list.size()) * micro_batches;
      ceiling = std::make_unique<DenseCeiling>(list, config.micro_batch() * config.train.context,
                                               bf16 ? at::kBFloat16 : at::kFloat, device);
      bench.dense_flops = ceiling->flops() * static_cast<double>(micro_batches);
      ceiling->run();  // warms up
    }
    const DeviceTimer timer(device);
    for (std::int64_t part = 0; part < micro_batches; ++part) ceiling->run();
    const double own = timer.seconds();
    products.push_back(1e3 * own);
    log_info(cat("step ", i + 1, "/", steps, ": ", times.whole, " s, its dense products alone ", own, " s"));
  }
  bench.step = spread_of(whole);
  bench.forward = spread_of(forward);
  bench.backward = spread_of(backward);
  bench.optimizer = spread_of(optimizer);
  bench.ceiling = spread_of(products);
  return bench;
}

Json to_json(const ModelBench& bench) {
  Json kernels = Json::object();
  for (const auto& [op, row] : bench.kernels) kernels[op] = row;
  Json json = {{"tokens_per_second", bench.tokens_per_second()},
               {"gemm_ceiling_fraction", bench.ceiling_fraction()},
               {"peak_memory_bytes", bench.peak_memory},
               {"gemm_ceiling_tokens_per_second", bench.ceiling_tokens_per_second()},
               {"gemm_gflops", bench.ceiling_gflops()},
               {"gemm_products", bench.products},
               {"step_ms", to_json(bench.step)},
               {"forward_ms", to_json(bench.forward)},
               {"backward_ms", to_json(bench.backward)},
               {"optimizer_ms", to_json(bench.optimizer)},
               {"gemm_ceiling_ms", to_json(bench.ceiling)},
               {"mixer", bench.mixer},
               {"parameters", bench.parameters},
               {"context", bench.context},
               {"batch_tokens", bench.batch_tokens},
               {"micro_batch", bench.micro_batch},
               {"steps", bench.steps},
               {"first_loss", bench.first_loss},
               {"last_loss", bench.last_loss},
               {"dtype", bench.dtype},
               {"bf16_products", bench.bf16_products},
               {"model_flops_per_token", bench.model_flops},
               {"model_tflops_per_second", bench.tokens_per_second() * bench.model_flops / 1e12},
               {"device", bench.gpu.empty() ? "cpu" : "cuda"},
               {"threads", bench.threads},
               {"kernels", kernels},
               {"machine", machine_json(bench.gpu)}};
  if (bench.peak_flops > 0) {
    json["peak_bf16_tflops"] = bench.peak_flops / 1e12;
    json["mfu"] = bench.mfu();
  }
  return json;
}

}  // namespace ttt
