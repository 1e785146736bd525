#include "bench/op_bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "bench/device_memory.h"
#include "bench/yardstick.h"
#include "config/load.h"
#include "model/device.h"
#include "ops/cuda_target.h"

namespace ttt {
namespace {

// The entry of that name; `what` it is, for the message.
template <class Entry>
const Entry& find(const std::vector<Entry>& entries, const std::string& name, const char* what) {
  std::vector<std::string> names;
  std::string list;
  for (const Entry& entry : entries) {
    if (name == entry.name) return entry;
    names.emplace_back(entry.name);
    list += (list.empty() ? "" : ", ") + names.back();
  }
  const std::string near = nearest(name, names);
  user_error("there is no ", what, " '", name, "' to time; ",
             near.empty() ? cat("there are ", list) : cat("did you mean '", near, "'?"));
}

// `op` with one row and naive left.
void keep_row(OpCase& op, const std::string& name) {
  std::vector<Contender> kept = {find(op.contenders, name, "row")};
  if (name != op.contenders.back().name) kept.push_back(op.contenders.back());
  op.contenders = std::move(kept);
}

// Microseconds a unit.
struct Times {
  std::vector<double> forward, forward_backward, one_thread;
};

double microseconds(const Contender& contender, const std::function<Tensors()>& call, at::Device device) {
  const DeviceTimer timer(device);
  const Tensors results = call();
  return 1e6 * timer.seconds() / contender.units;
}

// Of a number of tokens that fp64 on the CPU computes in seconds: a prefix, of fewer sequences.
OpSizes checked_sizes(const OpSizes& sizes) {
  constexpr std::int64_t kTokens = 2048;
  OpSizes checked = sizes;
  checked.context = std::min(sizes.context, kTokens);
  checked.batch = std::min(sizes.batch, std::max<std::int64_t>(kTokens / checked.context, 1));
  return checked;
}

OpCase make_case(const BenchOp& op, const OpSizes& sizes, const std::string& row) {
  OpCase made = op.make(sizes);
  if (!row.empty()) keep_row(made, row);
  return made;
}

// Whether a GPU's memory holds the call; it also warms up.
bool fits(const Contender& contender) {
  try {
    if (contender.forward_backward) contender.forward_backward();
    contender.forward();
    return true;
  } catch (const c10::OutOfMemoryError&) {
    return false;
  }
}

void leave_out_what_does_not_fit(OpCase& op) {
  std::vector<Contender> kept;
  for (Contender& contender : op.contenders) {
    if (fits(contender)) {
      kept.push_back(std::move(contender));
    } else {
      op.left_out.push_back(contender.name + ": the GPU's memory is too small for it at these sizes");
    }
  }
  op.contenders = std::move(kept);
}

}  // namespace

OpErrors measure_errors(const Contender& contender) {
  const Tensors actual = contender.forward_backward ? contender.forward_backward() : contender.forward();
  const Tensors& exact = *contender.exact;
  TTT_CHECK(actual.size() == exact.size(), contender.name, ": ", actual.size(), " results, ", exact.size());
  OpErrors errors;
  errors.output = relative_error(actual[0], exact[0]);
  for (std::size_t i = 1; i < actual.size(); ++i)
    errors.gradients = std::max(errors.gradients, relative_error(actual[i], exact[i]));
  if (contender.forward_backward)
    errors.output = std::max(errors.output, relative_error(contender.forward()[0], exact[0]));
  return errors;
}

double OpBench::times_best_naive(const OpRow& row) const {
  const double whole = naive()->whole().median;
  return (times_one_thread() ? std::min(whole, naive()->one_thread.median) : whole) / row.whole().median;
}

const BenchOp& find_op(const std::string& name) {
  return find(op_table(), name, "op");
}

OpBench bench_op(const std::string& name, const OpSizes& sizes, const OpBenchOptions& options) {
  TTT_CHECK(options.repeats >= 1, options.repeats, " repeats");
  const BenchOp& found = find_op(name);
  prepare_cpu(options.threads);
  if (sizes.dtype == at::kBFloat16) select_bf16_products(ProductsKind::kAuto, sizes.device);
  OpBench bench;
  bench.name = name;
  bench.sizes = sizes;
  bench.threads = at::get_num_threads();
  bench.repeats = options.repeats;
  bench.checked = checked_sizes(sizes);
  bench.gpu = gpu_name(sizes.device);
  OpSizes timed = sizes;
  timed.exact = !bench.is_checked_in_part();
  OpCase op = make_case(found, timed, options.row);
  if (sizes.device.is_cuda()) leave_out_what_does_not_fit(op);
  if (op.contenders.empty()) user_error("the GPU's memory is too small for the op ", name, " at these sizes");
  Yardstick yardstick(op.bound, sizes.dtype, sizes.device);
  bench.peak_text = yardstick.text();

  std::map<std::string, OpErrors> errors;
  {
    const OpCase checked = timed.exact ? op : make_case(found, bench.checked, options.row);
    for (const Contender& contender : checked.contenders) errors[contender.name] = measure_errors(contender);
  }
  for (const Contender& contender : op.contenders) {
    OpRow& row = bench.rows.emplace_back();
    row.name = contender.name;
    row.note = contender.note;
    row.errors = errors.at(contender.name);
    if (!timed.exact) contender.forward();  // warms up
  }
  yardstick.run();

  std::vector<double> peak;
  std::vector<Times> times(op.contenders.size());
  const Timer whole;
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    if (repeat > 0 && whole.seconds() > options.seconds) {
      log_info(cat("the other ", options.repeats - repeat, " repeats are left out: --seconds ", options.seconds,
                   " are over"));
      bench.repeats = repeat;
      break;
    }
    peak.push_back(yardstick.run());
    for (std::size_t i = 0; i < op.contenders.size(); ++i) {
      const Contender& contender = op.contenders[i];
      times[i].forward.push_back(microseconds(contender, contender.forward, sizes.device));
      if (contender.forward_backward)
        times[i].forward_backward.push_back(microseconds(contender, contender.forward_backward, sizes.device));
    }
    if (bench.times_one_thread()) {
      at::set_num_threads(1);
      for (std::size_t i = 0; i < op.contenders.size(); ++i) {
        const Contender& contender = op.contenders[i];
        times[i].one_thread.push_back(microseconds(
            contender, contender.forward_backward ? contender.forward_backward : contender.forward, sizes.device));
      }
      at::set_num_threads(bench.threads);
    }
    log_info(cat("repeat ", repeat + 1, "/", options.repeats));
  }
  bench.peak = spread_of(peak);
  for (std::size_t i = 0; i < op.contenders.size(); ++i) {
    OpRow& row = bench.rows[i];
    row.forward = spread_of(times[i].forward);
    if (!times[i].forward_backward.empty()) row.forward_backward = spread_of(times[i].forward_backward);
    if (bench.times_one_thread()) row.one_thread = spread_of(times[i].one_thread);
    const Work work = op.contenders[i].work.value_or(op.work);
    row.forward_rate = work.forward / row.forward.median / 1e3;
    row.whole_rate = (row.forward_backward ? work.forward_backward : work.forward) / row.whole().median / 1e3;
  }
  op.contenders.clear();
  bench.op = std::move(op);
  return bench;
}

Json to_json(const OpBench& bench) {
  const bool products = bench.op.bound == Bound::kProducts;
  const std::string rate = products ? "gflops" : "gb_per_second";
  Json rows = Json::array();
  for (const OpRow& row : bench.rows) {
    Json object = {{"name", row.name},
                   {"forward_us", to_json(row.forward)},
                   {"forward_" + rate, row.forward_rate},
                   {"forward_peak_fraction", row.forward_rate / bench.peak.median},
                   {"error_output", row.errors.output}};
    if (bench.naive() != nullptr) object["times_naive_forward"] = bench.times_naive_forward(row);
    if (row.forward_backward) {
      object["forward_backward_us"] = to_json(*row.forward_backward);
      object["forward_backward_" + rate] = row.whole_rate;
      object["forward_backward_peak_fraction"] = row.whole_rate / bench.peak.median;
      if (bench.naive() != nullptr) object["times_naive_forward_backward"] = bench.times_naive(row);
      object["error_gradients"] = row.errors.gradients;
    }
    if (bench.naive() != nullptr) object["times_best_naive"] = bench.times_best_naive(row);
    if (bench.times_one_thread()) {
      object["one_thread_us"] = to_json(row.one_thread);
      object["thread_ratio"] = row.thread_ratio();
    }
    if (!row.note.empty()) object["note"] = row.note;
    rows.push_back(std::move(object));
  }
  const OpSizes& s = bench.sizes;
  return {{"op", bench.name},
          {"batch", s.batch},
          {"heads", s.heads},
          {"head_dim", s.head_dim},
          {"context", s.context},
          {"mini_batch", s.mini_batch},
          {"vocab_size", s.vocab},
          {"dtype", s.dtype == at::kBFloat16 ? "bf16" : "fp32"},
          {"device", bench.on_gpu() ? "cuda" : "cpu"},
          {"threads", bench.threads},
          {"repeats", bench.repeats},
          {"unit", bench.op.unit},
          {products ? "flops_per_unit" : "bytes_per_unit",
           {{"forward", bench.op.work.forward}, {"forward_backward", bench.op.work.forward_backward}}},
          {"work", bench.op.work_note},
          {"peak_" + rate, to_json(bench.peak)},
          {"peak", bench.peak_text},
          {"checked_batch", bench.checked.batch},
          {"checked_context", bench.checked.context},
          {"rows", rows},
          {"left_out", bench.op.left_out},
          {"machine", machine_json(bench.gpu)}};
}

}  // namespace ttt
