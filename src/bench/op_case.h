// What `ttt bench op NAME` times: the ways to compute an op side by side, and what they are held against. Adding an op
// is adding a function here and a line to op_table().
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>
#include <c10/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "bench/yardstick.h"
#include "ops/kernel_table.h"

namespace ttt {

struct OpSizes {
  std::int64_t batch = 1, heads = 12, head_dim = 64, context = 2048, mini_batch = 16, vocab = 32000;
  at::ScalarType dtype = at::kFloat;  // of activations, or bf16; what stays fp32 in a model in bf16 is fp32
  at::Device device = at::kCPU;
  bool exact = true;          // whether contenders know what they should give: fp64 on the CPU, in its time and memory
  bool attention = false;     // for the TTT ops: attention of the same sizes beside them
  bool checked_only = false;  // also the ways to compute the op that are checked and not timed

  at::Tensor activation(const at::Tensor& x) const { return x.to(dtype); }
  static at::Tensor wide(const at::Tensor& x) { return x.to(at::kFloat); }
  double value_bytes() const { return static_cast<double>(c10::elementSize(dtype)); }  // of an activation
  std::int64_t width() const { return heads * head_dim; }
  std::int64_t mlp_width() const { return (8 * width() / 3 + 15) / 16 * 16; }  // SwiGLU's hidden width
};

using Tensors = std::vector<at::Tensor>;

using OpFunction = std::function<at::Tensor(const Tensors&)>;

// Of one unit: floating-point operations of the products, or bytes that must be read and written.
struct Work {
  double forward = 0, forward_backward = 0;
};

// One way to compute the op, ready to run: its arguments are made.
struct Contender {
  std::string name;
  double units = 0;                           // of work in a call, see OpCase::unit
  std::function<Tensors()> forward;           // -> {output}, without gradients
  std::function<Tensors()> forward_backward;  // -> {output, the gradient of every input...}; empty: there is none
  std::shared_ptr<const Tensors> exact;       // what its first call should give, computed in fp64
  std::string note;                           // what is special about it, or ""
  std::optional<Work> work = {};              // where it is not the op's: another op of the same unit
  Tensors arguments = {};                     // what it reads, where these are the tensors of autograd_contender()
};

struct OpCase {
  std::string unit;                // "token-head"
  Bound bound = Bound::kProducts;  // and so which rate is shown: GFLOP/s of products or GB/s of traffic
  Work work;
  std::string work_note;  // how the work was counted
  std::vector<Contender>
      contenders;  // rows in the order of the op's table; `naive` last: what the others are compared to
  std::vector<std::string> left_out;  // "ROW: why", rows that cannot take these sizes
  std::function<Tensors()>
      as_called;  // forward and backward pass as a model runs them: by the row that the table chooses
};

struct BenchOp {
  const char* name;
  const char* summary;
  OpCase (*make)(const OpSizes& sizes);
};

// Every op that can be timed, in the order in which help lists them.
const std::vector<BenchOp>& op_table();

OpCase ttt_linear_case(const OpSizes& sizes);  // ttt_case.cpp
OpCase ttt_mlp_case(const OpSizes& sizes);
OpCase gated_delta_case(const OpSizes& sizes);  // gated_delta_case.cpp
OpCase attention_case(const OpSizes& sizes);    // mixer_cases.cpp
OpCase selective_scan_case(const OpSizes& sizes);
OpCase linear_case(const OpSizes& sizes);
OpCase rms_norm_case(const OpSizes& sizes);  // row_cases.cpp
OpCase swiglu_case(const OpSizes& sizes);
OpCase layer_norm_gate_case(const OpSizes& sizes);
OpCase causal_conv_case(const OpSizes& sizes);
OpCase rope_case(const OpSizes& sizes);
OpCase conv_rope_case(const OpSizes& sizes);
OpCase conv_silu_case(const OpSizes& sizes);
OpCase cross_entropy_case(const OpSizes& sizes);  // step_cases.cpp
OpCase adamw_case(const OpSizes& sizes);

// --- for writing a case ---

// Tensors with the same values in every run: fp64 on the CPU (below: int64) or, where nothing exact is wanted of a GPU,
// fp32 made there.
class RandomTensors {
 public:
  explicit RandomTensors(const OpSizes& sizes, std::uint64_t seed = 1);
  at::Tensor normal(at::IntArrayRef sizes, double std_dev);
  at::Tensor below(std::int64_t bound, at::IntArrayRef sizes);

 private:
  std::optional<at::Generator> generator_;
  at::TensorOptions options_;
};

Tensors to_type(const Tensors& tensors, at::ScalarType dtype);
Tensors to_device(const Tensors& tensors, at::Device device);

// A function of leaves with its backward pass by autograd, as a contender: gradients of sum(grad (.) function(leaves)),
// zeros of a leaf that the function does not reach.
Contender autograd_contender(std::string name, double units, const Tensors& leaves, const at::Tensor& grad,
                             OpFunction function);

// `function`, which asks that table, on that row.
OpFunction on_row(const KernelTable& table, std::size_t row, OpFunction function);

// The rows of the table that take a call of the op at these sizes; why the others cannot goes to op.left_out.
std::vector<std::size_t> rows_that_take(OpCase& op, const KernelTable& table, const OpSizes& sizes);

// The contenders of an op that is a function of its arguments, which asks that table, on the device of the sizes: its
// rows and `naive`, and what that one gives for those arguments in fp64 on the CPU.
void add_autograd_contenders(OpCase& op, const KernelTable& table, const OpSizes& sizes, double units,
                             const Tensors& arguments, at::IntArrayRef output_sizes, const OpFunction& function,
                             const OpFunction& naive);

// The largest difference relative to the expected tensor's largest value; infinite when a value is not finite or the
// shapes differ.
double relative_error(const at::Tensor& actual, const at::Tensor& expected);

}  // namespace ttt
