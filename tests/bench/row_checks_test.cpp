// What the child of a self-check says of rows that are right and of one that is not.
#include "bench/row_checks.h"

#include <gtest/gtest.h>

#include <set>

#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "ops/ttt_testing.h"
#include "support/user_error.h"

namespace ttt {
namespace {

// The lines of one row.
std::vector<Json> said_of(const CheckedRow& row, const std::string& faults = "") {
  std::vector<Json> lines;
  check_row(row, 5, at::kCPU, PlantedFaults(faults), [&](const Json& line) { lines.push_back(line); });
  return lines;
}

CheckedRow row_named(const std::string& op, const std::string& row) {
  const KernelTable& table = find_kernel_table(op, "the test");
  return {&table, table.find(row, "the test")};
}

TEST(RowsToCheck, AreTheFusedOnesOfThePlace) {
  const auto rows_of = [](const std::string& ending) {
    std::set<std::string> ops;
    for (const CheckedRow& row : rows_to_check(at::kCPU)) {
      EXPECT_TRUE(row.name().find(ending) != std::string::npos) << row.name();
      ops.insert(row.table->op());
    }
    return ops;
  };
  EXPECT_TRUE(rows_of("/fused").contains("swiglu"));
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  const std::set<std::string> ops = rows_of("/cuda");
  EXPECT_TRUE(ops.contains("ttt_linear") && ops.contains("ttt_mlp") && ops.contains("adamw"));
  EXPECT_FALSE(ops.contains("gated_delta"));
}

TEST(RowChecks, SayWhatTheyBeginAndEnd) {
  const testing::SingleThread single_thread;
  const std::vector<Json> lines = said_of(row_named("ttt_linear", "fused_portable"));
  std::string open;
  std::vector<std::string> checks;
  for (const Json& line : lines) {
    EXPECT_EQ(line["row"], 5);
    if (line["self_check"] == "begin") open = line["check"];
    if (line["self_check"] != "end") continue;
    EXPECT_EQ(line["check"], open);
    EXPECT_LE(line["error_output"].get<double>(), line["tolerance"].get<double>());
    checks.push_back(open);
  }
  EXPECT_EQ(lines.back()["self_check"], "row");
  EXPECT_EQ(lines.back()["state"], "agrees") << lines.back();
  const auto has = [&](const char* part) {
    return std::any_of(checks.begin(), checks.end(), [&](const std::string& c) { return c.find(part) != c.npos; });
  };
  EXPECT_TRUE(has("fp32") && has("bf16") && has("decoding") && has("on two streams") && has("heads of 96"));
}

TEST(RowChecks, WrongNumbersFail) {
  const testing::SingleThread single_thread;
  const CheckedRow row = row_named("rms_norm", "fused");
  EXPECT_EQ(said_of(row, "swiglu/fused:wrong").back()["state"], "agrees");
  const std::vector<Json> lines = said_of(row, "swiglu/fused:wrong,rms_norm/fused:wrong");
  EXPECT_EQ(lines.back()["state"], "fails");
  const std::string text = lines.back()["text"];
  EXPECT_TRUE(text.starts_with("computed wrong numbers: its output was off by 0.5")) << text;
}

// The CUDA rows themselves, by emulated lanes: some that take a moment.
TEST(RowChecks, CudaRowsAgree) {
  const testing::SingleThread single_thread;
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels());
  for (const char* op : {"ttt_linear", "adamw"})
    EXPECT_EQ(said_of(row_named(op, "cuda")).back()["state"], "agrees") << op;
  EXPECT_EQ(said_of(row_named("adamw", "cuda"), "adamw/cuda:wrong").back()["state"], "fails");
}

TEST(RowChecks, ABlockThatDoesNotFitIsNoFailure) {
  const testing::SingleThread single_thread;
  const EmulatedGpu gpu(kernels::cuda::emulated::kernels(), /*shared_bytes=*/1);
  EXPECT_EQ(said_of(row_named("ttt_linear", "cuda")).back()["state"], "takes_none");
}

TEST(PlantedFaults, AreReadOrRefused) {
  const PlantedFaults faults("a/b:hang,c/d:abort");
  EXPECT_TRUE(faults.has("a/b", "hang") && faults.has("c/d", "abort"));
  EXPECT_FALSE(faults.has("a/b", "abort"));
  for (const char* wrong : {"a/b", "a/b:slow", ":hang", "a/b:hang,c"}) {
    const std::string error = user_error_of("/nowhere", [&] { PlantedFaults{wrong}; });
    EXPECT_TRUE(error.starts_with("TTT_SELF_CHECK_FAULT")) << error;
  }
}

}  // namespace
}  // namespace ttt
