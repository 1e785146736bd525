#include "bench/op_bench.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "base/error.h"
#include "base/log.h"
#include "base/timer.h"
#include "bench/yardstick.h"
#include "config/load.h"
#include "model/device.h"

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

template <class Body>
double seconds_of(const Body& body) {
  const Timer timer;
  body();
  return timer.seconds();
}

// Microseconds a unit.
struct Times {
  std::vector<double> forward, forward_backward, one_thread;
};

double microseconds(const Contender& contender, const std::function<Tensors()>& call) {
  return 1e6 * seconds_of(call) / contender.units;
}

// The first call, which also warms up.
void measure_errors(const Contender& contender, OpRow& row) {
  const Tensors actual = contender.forward_backward ? contender.forward_backward() : contender.forward();
  const Tensors& exact = *contender.exact;
  TTT_CHECK(actual.size() == exact.size(), contender.name, ": ", actual.size(), " results, ", exact.size());
  row.error_output = relative_error(actual[0], exact[0]);
  for (std::size_t i = 1; i < actual.size(); ++i)
    row.error_gradients = std::max(row.error_gradients, relative_error(actual[i], exact[i]));
  if (contender.forward_backward)
    row.error_output = std::max(row.error_output, relative_error(contender.forward()[0], exact[0]));
}

}  // namespace

double OpBench::times_best_naive(const OpRow& row) const {
  const OpRow& naive = rows.back();
  const double best = threads > 1 ? std::min(naive.whole().median, naive.one_thread.median) : naive.whole().median;
  return best / row.whole().median;
}

const BenchOp& find_op(const std::string& name) {
  return find(op_table(), name, "op");
}

OpBench bench_op(const std::string& name, const OpSizes& sizes, const OpBenchOptions& options) {
  TTT_CHECK(options.repeats >= 1, options.repeats, " repeats");
  const BenchOp& found = find_op(name);
  prepare_cpu(options.threads);
  OpBench bench;
  bench.name = name;
  bench.sizes = sizes;
  bench.threads = at::get_num_threads();
  bench.repeats = options.repeats;
  OpCase op = found.make(sizes);
  if (!options.row.empty()) keep_row(op, options.row);
  Yardstick yardstick(op.bound, sizes.dtype);

  for (const Contender& contender : op.contenders) {
    OpRow& row = bench.rows.emplace_back();
    row.name = contender.name;
    row.note = contender.note;
    measure_errors(contender, row);
  }
  yardstick.run();

  std::vector<double> peak;
  std::vector<Times> times(op.contenders.size());
  for (int repeat = 0; repeat < options.repeats; ++repeat) {
    peak.push_back(yardstick.run());
    for (std::size_t i = 0; i < op.contenders.size(); ++i) {
      const Contender& contender = op.contenders[i];
      times[i].forward.push_back(microseconds(contender, contender.forward));
      if (contender.forward_backward)
        times[i].forward_backward.push_back(microseconds(contender, contender.forward_backward));
    }
    if (bench.threads > 1) {
      at::set_num_threads(1);
      for (std::size_t i = 0; i < op.contenders.size(); ++i) {
        const Contender& contender = op.contenders[i];
        times[i].one_thread.push_back(
            microseconds(contender, contender.forward_backward ? contender.forward_backward : contender.forward));
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
    if (bench.threads > 1) row.one_thread = spread_of(times[i].one_thread);
    row.forward_rate = op.forward_work / row.forward.median / 1e3;
    row.whole_rate = (row.forward_backward ? op.forward_backward_work : op.forward_work) / row.whole().median / 1e3;
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
                   {"times_naive_forward", bench.times_naive_forward(row)},
                   {"error_output", row.error_output}};
    if (row.forward_backward) {
      object["forward_backward_us"] = to_json(*row.forward_backward);
      object["forward_backward_" + rate] = row.whole_rate;
      object["forward_backward_peak_fraction"] = row.whole_rate / bench.peak.median;
      object["times_naive_forward_backward"] = bench.times_naive(row);
      object["error_gradients"] = row.error_gradients;
    }
    object["times_best_naive"] = bench.times_best_naive(row);
    if (bench.threads > 1) {
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
          {"threads", bench.threads},
          {"repeats", bench.repeats},
          {"unit", bench.op.unit},
          {products ? "flops_per_unit" : "bytes_per_unit",
           {{"forward", bench.op.forward_work}, {"forward_backward", bench.op.forward_backward_work}}},
          {"work", bench.op.work_note},
          {"peak_" + rate, to_json(bench.peak)},
          {"rows", rows},
          {"left_out", bench.op.left_out},
          {"machine", machine_json()}};
}

}  // namespace ttt
