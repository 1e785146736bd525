// Runs an OpCase: interleaved repeats of every contender, and of what bounds them.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "bench/op_case.h"
#include "bench/timing.h"

namespace ttt {

struct OpRow {
  std::string name, note;
  Spread forward, forward_backward;              // microseconds a unit
  Spread one_thread;                             // forward_backward on one thread; zeros when that is all there is
  double error_output = 0, error_gradients = 0;  // relative to fp64; of all gradients the worst
  double forward_rate = 0, forward_backward_rate = 0;  // GFLOP/s or GB/s, of the medians
  double thread_ratio() const { return one_thread.median / forward_backward.median; }
};

struct OpBench {
  std::string name;
  OpSizes sizes;
  OpCase op;    // its contenders dropped
  Spread peak;  // GFLOP/s of the large product or GB/s of the copy
  int threads = 0, repeats = 0;
  std::vector<OpRow> rows;  // `naive` last

  double times_naive(const OpRow& row) const {
    return rows.back().forward_backward.median / row.forward_backward.median;
  }
  double times_naive_forward(const OpRow& row) const { return rows.back().forward.median / row.forward.median; }
};

// Throws UserError with the nearest name when there is no such op. threads 0: all cores.
OpBench bench_op(const std::string& name, const OpSizes& sizes, std::int64_t threads, int repeats);

Json to_json(const OpBench& bench);

}  // namespace ttt
