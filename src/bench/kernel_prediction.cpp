#include "bench/kernel_prediction.h"

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <utility>

#include "base/error.h"
#include "base/text_table.h"
#include "bench/device_memory.h"
#include "bench/op_bench.h"
#include "bench/op_check.h"
#include "plan/units.h"

namespace ttt {
namespace {

// The architecture of kPredictedGpus.
constexpr const char* kPredictedArchitecture = "sm_90a";

PredictedKernel predicted_kernel(const KernelWork& work, const std::vector<PlannedKernel>& plans) {
  PredictedKernel kernel;
  kernel.work = work;
  for (const PlannedKernel& plan : plans) {
    if (plan.kernel != work.kernel) continue;
    for (const KernelFit& fit : plan.fits) {
      if (fit.architecture == kPredictedArchitecture) kernel.registers = fit.registers, kernel.blocks_held = fit.blocks;
    }
  }
  const std::int64_t at_a_time = std::int64_t{kernel.blocks_held} * kMultiprocessors;
  if (at_a_time > 0) kernel.waves = (work.blocks + at_a_time - 1) / at_a_time;
  if (kernel.is_too_large()) return kernel;
  for (const PredictedGpu& gpu : kPredictedGpus) kernel.on.push_back(predict(work, gpu));
  return kernel;
}

std::string why_no_prediction(const std::string& op, const OpSizes& sizes, bool has_kernels, bool is_counted) {
  if (!has_kernels) return cat("the op ", op, " has no CUDA kernels of this project: on a GPU it is LibTorch's");
  if (!is_counted) return cat(op, ": not counted, so no time of its CUDA kernels is predicted");
  return cat("no CUDA kernel of ", op, " takes ", shape_text(sizes), ", mini-batches of ", sizes.mini_batch, ", ",
             dtype_text(sizes));
}

std::string if_known(const PredictedKernel& kernel, std::int64_t value) {
  return kernel.is_known() ? std::to_string(value) : "unknown";
}

std::string microseconds(const Prediction& prediction) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f us, ", 1e6 * prediction.seconds);
  return text + prediction.bound;
}

std::string amount(double value) {
  return value > 0 ? short_number(value) : "-";
}

Json json_if_known(const PredictedKernel& kernel, std::int64_t value) {
  return kernel.is_known() ? Json(value) : Json(nullptr);
}

}  // namespace

double busy_share(std::int64_t blocks) {
  if (blocks <= 0) return 1;
  const std::int64_t of_busiest = (blocks + kMultiprocessors - 1) / kMultiprocessors;
  return static_cast<double>(blocks) / static_cast<double>(of_busiest * kMultiprocessors);
}

Prediction predict(const KernelWork& work, const PredictedGpu& gpu) {
  const double share = busy_share(work.blocks);
  const std::pair<const char*, double> bounds[] = {
      {"bytes", work.bytes / gpu.bandwidth},
      {"scratch", work.scratch_bytes / kCacheBandwidth},
      {"mma", work.mma_flop / (kMmaSyncShare * dense_bf16_peak(gpu.name) * share)},
      {"fp32", work.fp32_flop / (kFp32Peak * share)},
  };
  const auto longest = std::max_element(std::begin(bounds), std::end(bounds),
                                        [](const auto& a, const auto& b) { return a.second < b.second; });
  return {gpu.name, longest->second + kLaunchSeconds, longest->first};
}

OpPlan plan_op(const std::string& op, const OpSizes& sizes) {
  find_op(op);
  OpPlan plan{op, sizes, kernel_plan(op), {}, ""};
  const auto& ops = counted_ops();
  const auto entry = std::find_if(ops.begin(), ops.end(), [&](const CountedOp& each) { return each.name == op; });
  const bool has_kernels = entry != ops.end(), is_counted = has_kernels && entry->work != nullptr;
  if (is_counted) {
    for (const KernelWork& work : entry->work(sizes)) plan.predicted.push_back(predicted_kernel(work, plan.kernels));
  }
  if (plan.predicted.empty()) plan.note = why_no_prediction(op, sizes, has_kernels, is_counted);
  return plan;
}

std::string prediction_text(const OpPlan& plan) {
  if (plan.predicted.empty()) return plan.note + "\n";
  std::string text = cat("Predicted at ", shape_text(plan.sizes), ", mini-batches of ", plan.sizes.mini_batch, ", ",
                         dtype_text(plan.sizes), "; none of these kernels has run on a GPU yet\n\n");
  std::vector<std::string> header = {"kernel", "blocks", "threads", "shared",  "registers", "held",
                                     "waves",  "steps",  "bytes",   "scratch", "mma",       "fp32"};
  for (const PredictedGpu& gpu : kPredictedGpus) header.emplace_back(gpu.name);
  TextTable table(header);
  for (const PredictedKernel& kernel : plan.predicted) {
    const KernelWork& work = kernel.work;
    std::vector<std::string> row = {work.kernel,
                                    std::to_string(work.blocks),
                                    std::to_string(work.threads),
                                    short_bytes(work.shared_bytes),
                                    if_known(kernel, kernel.registers),
                                    if_known(kernel, kernel.blocks_held),
                                    if_known(kernel, kernel.waves),
                                    std::to_string(work.serial_steps),
                                    amount(work.bytes),
                                    amount(work.scratch_bytes),
                                    amount(work.mma_flop),
                                    amount(work.fp32_flop)};
    for (const Prediction& prediction : kernel.on) row.push_back(microseconds(prediction));
    while (row.size() < header.size()) row.emplace_back("too large");
    table.add(std::move(row));
  }
  text += table.text();
  for (const PredictedKernel& kernel : plan.predicted)
    if (!kernel.work.note.empty()) text += cat(kernel.work.kernel, ": ", kernel.work.note, "\n");
  text += cat(
      "\nheld: blocks on a multiprocessor at a time, of ", kMultiprocessors,
      " multiprocessors. steps: one after the other within a block, in every wave;\n"
      "how long a step waits for the last one is not in the prediction, so where there are many it is a lower bound.\n"
      "bytes: of global memory, read and written. scratch: a block's own, through the second cache. mma, fp32: FLOP.\n"
      "Time: the longest of bytes at ",
      short_number(kPredictedGpus[0].bandwidth), " and ", short_number(kPredictedGpus[1].bandwidth), "B/s, scratch at ",
      short_number(kCacheBandwidth), "B/s (a guess), mma at 0.6 of ",
      short_number(dense_bf16_peak(kPredictedGpus[0].name)), "FLOP/s (mma.sync\ndoes not reach wgmma's peak), fp32 at ",
      short_number(kFp32Peak),
      "FLOP/s, and 3 us for the launch; mma and fp32 by the busiest multiprocessor's share.\n");
  if (plan.kernels.empty()) text += "registers are unknown: this ttt was built without nvcc\n";
  return text;
}

Json to_json(const OpPlan& plan) {
  Json predicted = Json::array();
  for (const PredictedKernel& kernel : plan.predicted) {
    const KernelWork& work = kernel.work;
    Json on = Json::array();
    for (const Prediction& prediction : kernel.on)
      on.push_back({{"gpu", prediction.gpu}, {"us", 1e6 * prediction.seconds}, {"bound", prediction.bound}});
    predicted.push_back({{"kernel", work.kernel},
                         {"blocks", work.blocks},
                         {"threads", work.threads},
                         {"shared_bytes", work.shared_bytes},
                         {"registers", json_if_known(kernel, kernel.registers)},
                         {"blocks_per_multiprocessor", json_if_known(kernel, kernel.blocks_held)},
                         {"waves", json_if_known(kernel, kernel.waves)},
                         {"serial_steps", work.serial_steps},
                         {"bytes", work.bytes},
                         {"scratch_bytes", work.scratch_bytes},
                         {"mma_flop", work.mma_flop},
                         {"fp32_flop", work.fp32_flop},
                         {"of", work.note},
                         {"predicted", std::move(on)}});
  }
  return {{"op", plan.op},
          {"batch", plan.sizes.batch},
          {"heads", plan.sizes.heads},
          {"head_dim", plan.sizes.head_dim},
          {"context", plan.sizes.context},
          {"mini_batch", plan.sizes.mini_batch},
          {"vocab_size", plan.sizes.vocab},
          {"dtype", dtype_text(plan.sizes)},
          {"kernels", to_json(plan.kernels)},
          {"predictions", std::move(predicted)},
          {"note", plan.note}};
}

}  // namespace ttt
