// Every row of an op against fp64 at small and odd shapes: `ttt bench op NAME --check`.
#pragma once

#include <string>
#include <vector>

#include "base/json.h"
#include "bench/op_bench.h"

namespace ttt {

std::string shape_text(const OpSizes& sizes);  // "2 x 3 heads of 64, 37 tokens"
const char* dtype_text(const OpSizes& sizes);  // "fp32" or "bf16"

struct OpCheck {
  OpSizes sizes;
  std::string row;
  OpErrors errors;
  double tolerance = 0;  // of both
  std::string failure;   // what the row threw, or ""

  bool passed() const { return failure.empty() && errors.output <= tolerance && errors.gradients <= tolerance; }
};

// The largest error that passes, of activations of that type.
double check_tolerance(at::ScalarType dtype);

struct OpChecks {
  std::string name, gpu;  // gpu: "" on a CPU
  std::vector<OpCheck> checks;
  std::vector<std::string> left_out;  // "ROW: why", each once

  bool passed() const;  // all of them, and there is one
};

// Sequences shorter than a mini-batch, with tails, several sequences and heads, head sizes 64 and 96, in fp32 and bf16.
std::vector<OpSizes> check_sizes(at::Device device);

// Of all rows, or the one that is named. Throws UserError when there is no such op, with the nearest name, or row.
OpChecks check_op(const std::string& name, const std::vector<OpSizes>& sizes, const std::string& row = "");

Json to_json(const OpChecks& checks);

}  // namespace ttt
