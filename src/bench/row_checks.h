// What the child process of the self-check (model/self_check.h) does: each fused row of a device against fp64, forward,
// backward and decoding at a few small shapes, and a sequence of calls on two streams. It says what it begins and what
// it has ended, so that whoever reads it knows what it crashed in.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "bench/op_case.h"

namespace ttt {

struct CheckedRow {
  const KernelTable* table;
  std::size_t row;

  std::string name() const { return table->op() + "/" + table->row(row).name; }
};

// The rows of all ops that are this project's own and can run there: on a GPU, and under an EmulatedGpu, its CUDA
// kernels; on a CPU, for tests, those that are called "fused": of ops that take a moment.
std::vector<CheckedRow> rows_to_check(at::Device device);

// Faults on purpose, for tests: "OP/ROW:KIND", with commas between them. KIND: wrong (its output is half as large
// again), abort, hang. Throws UserError for anything else.
class PlantedFaults {
 public:
  explicit PlantedFaults(const std::string& text);
  bool has(const std::string& row, const std::string& kind) const;

 private:
  std::vector<std::pair<std::string, std::string>> faults_;
};

// A line of what the child says.
using Say = std::function<void(const Json& line)>;

// Says, of row number `index`,
//     {"self_check": "begin", "row": index, "check": "2 x 3 heads of 64, 37 tokens, fp32"}   before each check
//     {"self_check": "end", "row", "check", "error_output", "error_gradients", "tolerance"}   behind it
//     {"self_check": "row", "row", "state": "agrees" | "fails" | "takes_none" | "unchecked", "text"}   at last
// and gives whether the process is fit for another row: one in which something was thrown may not be.
// takes_none: it takes none of the shapes; unchecked: there was too little memory.
bool check_row(const CheckedRow& row, std::size_t index, at::Device device, const PlantedFaults& faults,
               const Say& say);

// Says {"self_check": "rows", "rows": [names], "compiles": whether kernels are compiled at their first start}, then does
// the rows from number `from` on, and says {"self_check": "done"} behind the last. Ends without where the process is
// not fit for more: another one is to begin behind that row.
void check_rows(at::Device device, std::size_t from, const PlantedFaults& faults, const Say& say);

}  // namespace ttt
