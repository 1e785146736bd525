// Runs an OpCase: interleaved repeats of every contender, and of what bounds them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/op_case.h"
#include "bench/timing.h"

namespace ttt {

// Relative to fp64; of all gradients the worst.
struct OpErrors {
  double output = 0, gradients = 0;
};

// Those of a contender that knows what it should give.
OpErrors measure_errors(const Contender& contender);

struct OpRow {
  std::string name, note;
  Spread forward;                          // microseconds a unit
  std::optional<Spread> forward_backward;  // where there is a backward pass
  Spread one_thread;                       // whole() on one thread; zeros when that is all there is
  OpErrors errors;
  double forward_rate = 0, whole_rate = 0;  // GFLOP/s or GB/s, of the medians

  const Spread& whole() const { return forward_backward ? *forward_backward : forward; }
  double thread_ratio() const { return one_thread.median / whole().median; }
};

struct OpBench {
  std::string name;
  OpSizes sizes, checked;      // timed, and held against fp64: fewer tokens where there are many
  OpCase op;                   // its contenders dropped
  Spread peak;                 // GFLOP/s of the large product or GB/s of the copy
  std::string peak_text, gpu;  // gpu: "" on a CPU
  int threads = 0, repeats = 0;
  std::vector<OpRow> rows;  // `naive` last, unless a GPU's memory was too small for it

  bool on_gpu() const { return !gpu.empty(); }
  bool times_one_thread() const { return threads > 1 && !on_gpu(); }
  bool is_checked_in_part() const { return checked.batch != sizes.batch || checked.context != sizes.context; }
  const OpRow* naive() const { return rows.empty() || rows.back().name != "naive" ? nullptr : &rows.back(); }
  // How many times faster than naive, where it was timed; on as many threads, or with naive on one where that is the
  // faster.
  double times_naive(const OpRow& row) const { return naive()->whole().median / row.whole().median; }
  double times_best_naive(const OpRow& row) const;
  double times_naive_forward(const OpRow& row) const { return naive()->forward.median / row.forward.median; }
};

struct OpBenchOptions {
  std::int64_t threads = 0;  // 0: all cores
  int repeats = 5;
  double seconds = kBenchSeconds;  // after which nothing is repeated: OpBench::repeats are those that were done
  std::string row;                 // this row and `naive` alone; "": every row
};

// The entry of op_table(). Throws UserError with the nearest name when there is no such op.
const BenchOp& find_op(const std::string& name);

// On the device of `sizes`. Throws UserError with the nearest name when there is no such op or row.
OpBench bench_op(const std::string& name, const OpSizes& sizes, const OpBenchOptions& options);

Json to_json(const OpBench& bench);

}  // namespace ttt
