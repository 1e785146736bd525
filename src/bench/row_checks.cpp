#include "bench/row_checks.h"

#include <ATen/ATen.h>
#include <c10/core/DeviceGuard.h>
#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <c10/util/Exception.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <iterator>
#include <limits>
#include <optional>

#include "base/error.h"
#include "bench/device_memory.h"
#include "bench/op_bench.h"
#include "bench/op_check.h"
#include "ops/cuda_target.h"

namespace ttt {
namespace {

enum class RowCheckKind { kPasses, kDecoding, kStreams };

struct RowCheck {
  OpSizes sizes;
  RowCheckKind kind;

  std::string text() const {
    return cat(shape_text(sizes), ", ", dtype_text(sizes),
               kind == RowCheckKind::kDecoding  ? ", decoding"
               : kind == RowCheckKind::kStreams ? ", on two streams"
                                                : "");
  }
};

// Both types, head sizes 64 and 96, mini-batches that are whole and not, more than one sequence.
std::vector<RowCheck> checks_on(at::Device device) {
  std::vector<RowCheck> checks;
  const auto add = [&](OpSizes sizes, at::ScalarType dtype, std::initializer_list<RowCheckKind> kinds) {
    sizes.vocab = 517;
    sizes.dtype = dtype;
    sizes.device = device;
    sizes.checked_only = true;
    for (const RowCheckKind kind : kinds) checks.push_back({sizes, kind});
  };
  using enum RowCheckKind;
  add({2, 3, 64, 37}, at::kFloat, {kPasses, kDecoding});
  add({2, 3, 64, 37}, at::kBFloat16, {kPasses, kStreams, kDecoding});
  add({1, 1, 96, 130}, at::kFloat, {kStreams});
  add({1, 1, 96, 130}, at::kBFloat16, {kPasses});
  return checks;
}

Tensors call(const Contender& contender) {
  return contender.forward_backward ? contender.forward_backward() : contender.forward();
}

// What keeps a GPU's stream busy for some milliseconds.
void occupy(at::Device device) {
  constexpr std::int64_t kSize = 2048;
  constexpr int kProducts = 20;
  const at::Tensor square = at::full({kSize, kSize}, 1.0 / kSize, at::TensorOptions(device).dtype(at::kFloat));
  at::Tensor product = square;
  for (int i = 0; i < kProducts; ++i) product = at::mm(product, square);
}

// The contender's call on one stream between what another one does to its arguments: they are not numbers until `first`
// has worked for a while, and are none any more as soon as `second` has done the call. Kernels that run in any other
// stream's turn read them too early or too late.
Tensors call_between(const Contender& contender, const c10::Stream& first, const c10::Stream& second,
                     at::Device device) {
  Tensors right;
  for (const at::Tensor& argument : contender.arguments) right.push_back(argument.clone());
  synchronize(device);
  c10::Event ready(device.type()), done(device.type());
  const auto spoil = [&] {
    for (at::Tensor argument : contender.arguments) argument.fill_(std::numeric_limits<double>::quiet_NaN());
  };
  Tensors results;
  {
    const c10::StreamGuard guard(first);
    spoil();
    occupy(device);
    for (std::size_t i = 0; i < right.size(); ++i) at::Tensor(contender.arguments[i]).copy_(right[i]);
    ready.record(first);
  }
  {
    const c10::StreamGuard guard(second);
    ready.block(second);
    results = call(contender);
    done.record(second);
  }
  {
    const c10::StreamGuard guard(first);
    done.block(first);
    spoil();
  }
  synchronize(device);
  for (std::size_t i = 0; i < right.size(); ++i) at::Tensor(contender.arguments[i]).copy_(right[i]);
  synchronize(device);
  return results;
}

void compare(const Tensors& actual, const Tensors& exact, OpErrors& errors) {
  TTT_CHECK(actual.size() == exact.size(), actual.size(), " results, ", exact.size());
  errors.output = std::max(errors.output, relative_error(actual[0], exact[0]));
  for (std::size_t i = 1; i < actual.size(); ++i)
    errors.gradients = std::max(errors.gradients, relative_error(actual[i], exact[i]));
}

// Calls on two streams in turn; on a CPU, which has none, one after the other. A contender that goes on from call to
// call (an optimizer) is called once.
OpErrors errors_on_streams(const Contender& contender, at::Device device) {
  OpErrors errors;
  const int calls = contender.forward_backward ? 2 : 1;
  if (device.is_cpu()) {
    for (int i = 0; i < calls; ++i) compare(call(contender), *contender.exact, errors);
    return errors;
  }
  const c10::impl::VirtualGuardImpl gpu(device.type());
  const c10::Stream a = gpu.getStreamFromGlobalPool(device), b = gpu.getStreamFromGlobalPool(device);
  for (int i = 0; i < calls; ++i)
    compare(call_between(contender, i == 0 ? a : b, i == 0 ? b : a, device), *contender.exact, errors);
  return errors;
}

std::function<Tensors()> made_wrong(const std::function<Tensors()>& function) {
  if (!function) return function;
  return [function] {
    Tensors results = function();
    results[0] = results[0] * 1.5;
    return results;
  };
}

// The op's case of the sizes asked for last: making one computes what is right, which takes longer than the checks.
class Cases {
 public:
  explicit Cases(const std::string& op) : op_(find_op(op)) {}
  const OpCase& of(const OpSizes& sizes) {
    const auto same = [&](const OpSizes& s) {
      return s.batch == sizes.batch && s.head_dim == sizes.head_dim && s.context == sizes.context &&
             s.dtype == sizes.dtype;
    };
    if (!case_ || used_up_ || !same(sizes_)) case_ = op_.make(sizes);
    sizes_ = sizes;
    used_up_ = false;
    return *case_;
  }
  void use_up() { used_up_ = true; }

 private:
  const BenchOp& op_;
  std::optional<OpCase> case_;
  OpSizes sizes_;
  bool used_up_ = false;
};

// Whether a token of decoding would run on the row, by which a forced row is passed over where it cannot.
bool decodes(const CheckedRow& row, const OpSizes& s) {
  KernelCall call = row.table->call_in_model(s.device, /*bf16=*/false, s.head_dim, s.mini_batch);
  call.pass = KernelPass::kDecoding;
  return row.table->takes(row.row, call);
}

// Null where the row does not take such a call, which UserError says.
std::optional<OpErrors> errors_of(const CheckedRow& row, const RowCheck& check, Cases& cases,
                                  const PlantedFaults& faults) {
  const std::string name = row.name();
  if (faults.has(name, "abort")) std::abort();
  while (faults.has(name, "hang")) pause();
  if (check.kind == RowCheckKind::kDecoding && !decodes(row, check.sizes)) return std::nullopt;
  try {
    const OpCase& op = cases.of(check.sizes);
    const std::string wanted = check.kind == RowCheckKind::kDecoding ? "decoding" : row.table->row(row.row).name;
    const auto found = std::find_if(op.contenders.begin(), op.contenders.end(),
                                    [&](const Contender& contender) { return contender.name == wanted; });
    if (found == op.contenders.end()) return std::nullopt;
    Contender contender = *found;
    if (!contender.forward_backward) cases.use_up();  // it may go on from call to call
    if (faults.has(name, "wrong")) {
      contender.forward = made_wrong(contender.forward);
      contender.forward_backward = made_wrong(contender.forward_backward);
    }
    if (check.kind == RowCheckKind::kStreams) return errors_on_streams(contender, check.sizes.device);
    if (check.kind == RowCheckKind::kPasses) return measure_errors(contender);
    const ForcedRow forced(*row.table, row.row);
    return measure_errors(contender);
  } catch (const UserError&) {
    return std::nullopt;
  }
}

// Its first line; LibTorch's errors go on with a stack.
std::string first_line(const std::exception& error) {
  const std::string text = error.what();
  return text.substr(0, text.find('\n'));
}

}  // namespace

std::vector<CheckedRow> rows_to_check(at::Device device) {
  const KernelPlace place = cuda_kernels(device) != nullptr ? KernelPlace::kGpu : KernelPlace::kCpu;
  std::vector<CheckedRow> rows;
  for (const KernelTable* table : kernel_tables()) {
    for (std::size_t i = 0; i < table->size(); ++i) {
      const KernelNeeds& needs = table->row(i).needs;
      if (needs.place != place || !why_never(needs).empty()) continue;
      if (place == KernelPlace::kGpu || table->row(i).name == "fused") rows.push_back({table, i});
    }
  }
  return rows;
}

PlantedFaults::PlantedFaults(const std::string& text) {
  constexpr const char* kKinds[] = {"wrong", "abort", "hang"};
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string one = text.substr(begin, end - begin);
    const std::size_t colon = std::min(one.find(':'), one.size());
    const std::string kind = one.substr(std::min(colon + 1, one.size()));
    if (colon == 0 || std::find(std::begin(kKinds), std::end(kKinds), kind) == std::end(kKinds))
      user_error("TTT_SELF_CHECK_FAULT \"", one,
                 "\" is not OP/ROW:wrong, OP/ROW:abort or OP/ROW:hang; leave the variable unset outside of tests");
    faults_.emplace_back(one.substr(0, colon), kind);
    begin = end + 1;
  }
}

bool PlantedFaults::has(const std::string& row, const std::string& kind) const {
  return std::find(faults_.begin(), faults_.end(), std::pair(row, kind)) != faults_.end();
}

bool check_row(const CheckedRow& row, std::size_t index, at::Device device, const PlantedFaults& faults,
               const Say& say) {
  const auto ends = [&](const char* state, const std::string& text) {
    say({{"self_check", "row"}, {"row", index}, {"state", state}, {"text", text}});
  };
  int done = 0;
  Cases cases(row.table->op());
  for (const RowCheck& check : checks_on(device)) {
    const std::string text = check.text();
    say({{"self_check", "begin"}, {"row", index}, {"check", text}});
    std::optional<OpErrors> errors;
    try {
      errors = errors_of(row, check, cases, faults);
    } catch (const c10::OutOfMemoryError&) {
      ends("unchecked", "there was too little memory");
      return false;
    } catch (const std::exception& error) {
      ends("fails", cat("failed: ", first_line(error), " (", text, ")"));
      return false;
    }
    if (!errors) continue;
    ++done;
    const double tolerance = check_tolerance(check.sizes.dtype);
    say({{"self_check", "end"},
         {"row", index},
         {"check", text},
         {"error_output", errors->output},
         {"error_gradients", errors->gradients},
         {"tolerance", tolerance}});
    if (errors->output <= tolerance && errors->gradients <= tolerance) continue;
    ends("fails", cat("computed wrong numbers: its output was off by ", errors->output, ", its gradients by ",
                      errors->gradients, " of their largest value, where ", tolerance, " is allowed (", text, ")"));
    return true;
  }
  ends(done > 0 ? "agrees" : "takes_none", "");
  return true;
}

void check_rows(at::Device device, std::size_t from, const PlantedFaults& faults, const Say& say) {
  const c10::OptionalDeviceGuard guard(device.is_cuda() ? std::optional(device) : std::nullopt);
  const std::vector<CheckedRow> rows = rows_to_check(device);
  if (device.is_cuda()) occupy(device);  // it computes at all
  synchronize(device);
  Json names = Json::array();
  for (const CheckedRow& row : rows) names.push_back(row.name());
  say({{"self_check", "rows"}, {"rows", names}, {"compiles", compiles_cuda_kernels(device)}});
  for (std::size_t i = from; i < rows.size(); ++i)
    if (!check_row(rows[i], i, device, faults, say)) return;
  say({{"self_check", "done"}});
}

}  // namespace ttt
