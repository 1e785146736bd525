#include "bench/op_check.h"

#include <algorithm>
#include <exception>

#include "base/error.h"
#include "ops/cuda_target.h"

namespace ttt {

std::string shape_text(const OpSizes& s) {
  return cat(s.batch, " x ", s.heads, " heads of ", s.head_dim, ", ", s.context, " tokens");
}

const char* dtype_text(const OpSizes& s) {
  return s.dtype == at::kBFloat16 ? "bf16" : "fp32";
}

// Of the largest value of a tensor. In fp32 the CPU's rows are within 3e-6 and CUDA's, which multiply 16 bits of each
// operand, within 3e-5 (by emulated lanes). bf16 rounds operands and results by 2^-9, some of them twice: CUDA's rows
// are within 1.2e-2, the CPU's within 3e-2.
double check_tolerance(at::ScalarType dtype) {
  return dtype == at::kBFloat16 ? 5e-2 : 1e-4;
}

namespace {

OpCheck check_row(const OpSizes& sizes, const Contender& contender) {
  OpCheck check{sizes, contender.name, {}, check_tolerance(sizes.dtype), ""};
  try {
    check.errors = measure_errors(contender);
  } catch (const std::exception& error) {
    check.failure = error.what();
    check.failure.resize(std::min(check.failure.size(), check.failure.find('\n')));
  }
  return check;
}

}  // namespace

bool OpChecks::passed() const {
  return !checks.empty() && std::all_of(checks.begin(), checks.end(), [](const OpCheck& c) { return c.passed(); });
}

std::vector<OpSizes> check_sizes(at::Device device) {
  std::vector<OpSizes> all;
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (OpSizes s : {OpSizes{1, 1, 64, 16}, OpSizes{1, 2, 64, 3}, OpSizes{2, 3, 64, 37}, OpSizes{1, 2, 96, 50},
                      OpSizes{1, 3, 64, 130}}) {
      s.vocab = 517;
      s.dtype = dtype;
      s.device = device;
      s.checked_only = true;
      all.push_back(s);
    }
  }
  return all;
}

OpChecks check_op(const std::string& name, const std::vector<OpSizes>& sizes, const std::string& row) {
  OpChecks all;
  all.name = name;
  const BenchOp& found = find_op(name);
  for (const OpSizes& s : sizes) {
    all.gpu = gpu_name(s.device);
    const OpCase op = found.make(s);
    for (const std::string& reason : op.left_out)
      if (std::find(all.left_out.begin(), all.left_out.end(), reason) == all.left_out.end())
        all.left_out.push_back(reason);
    for (const Contender& contender : op.contenders)
      if (row.empty() || contender.name == row) all.checks.push_back(check_row(s, contender));
  }
  if (all.checks.empty()) user_error("no row '", row, "' of the op ", name, " takes the sizes that are checked");
  return all;
}

Json to_json(const OpChecks& all) {
  Json checks = Json::array();
  for (const OpCheck& check : all.checks) {
    const OpSizes& s = check.sizes;
    Json object = {{"row", check.row},
                   {"batch", s.batch},
                   {"heads", s.heads},
                   {"head_dim", s.head_dim},
                   {"context", s.context},
                   {"dtype", dtype_text(s)},
                   {"error_output", check.errors.output},
                   {"error_gradients", check.errors.gradients},
                   {"tolerance", check.tolerance},
                   {"passed", check.passed()}};
    if (!check.failure.empty()) object["failure"] = check.failure;
    checks.push_back(std::move(object));
  }
  return {{"op", all.name},           {"device", all.gpu.empty() ? "cpu" : "cuda"},
          {"passed", all.passed()},   {"checks", checks},
          {"left_out", all.left_out}, {"machine", machine_json(all.gpu)}};
}

}  // namespace ttt
