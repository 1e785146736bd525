// Every op has one kernel table, and nothing else chooses among its rows: what is forced is what runs, forward and
// backward, and the sources hold no other choice. An op that chooses by hand fails here by its name.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "bench/op_bench.h"
#include "kernels/cuda/kernel_table.h"
#include "ops/cuda_target.h"
#include "ops/ttt_testing.h"

namespace ttt {
namespace {

template <class Call>
std::string refusal(const Call& call) {
  try {
    call();
  } catch (const UserError& error) {
    return error.what();
  }
  return "nothing was refused";
}

bool has(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

OpSizes sizes_of(at::ScalarType dtype) {
  OpSizes sizes{1, 2, 64, 18, 16};
  sizes.vocab = 30;
  sizes.dtype = dtype;
  sizes.exact = false;
  return sizes;
}

std::vector<std::int64_t> counts(const KernelTable& table) {
  std::vector<std::int64_t> all;
  for (std::size_t i = 0; i < table.size(); ++i) all.push_back(table.taken(i));
  return all;
}

// One call, forward and backward, as a model makes it: it must ask the table once, and take that row.
void expect_row_runs(const OpCase& op, const KernelTable& table, std::size_t row) {
  std::vector<std::int64_t> expected = counts(table);
  ++expected[row];
  op.as_called();
  EXPECT_EQ(counts(table), expected) << "the op " << table.op() << " did not take its row " << table.row(row).name
                                     << " from its kernel table, once: does it choose by hand?";
}

class KernelTables : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam()) gpu_.emplace(kernels::cuda::emulated::kernels());
  }
  void TearDown() override { force_kernels({}); }

 private:
  const testing::SingleThread single_thread_;
  std::optional<EmulatedGpu> gpu_;
};
INSTANTIATE_TEST_SUITE_P(Devices, KernelTables, ::testing::Bool(),
                         [](const auto& p) { return p.param ? "OnEmulatedGpu" : "OnCpu"; });

TEST(KernelTableList, IsThatOfTheOpsThatCanBeTimed) {
  std::vector<std::string> tables, ops;
  for (const KernelTable* table : kernel_tables()) tables.push_back(table->op());
  for (const BenchOp& op : op_table()) ops.emplace_back(op.name);
  EXPECT_EQ(tables, ops);
}

TEST_P(KernelTables, WhatIsForcedIsWhatRuns) {
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    for (const BenchOp& bench_op : op_table()) {
      const KernelTable& table = find_kernel_table(bench_op.name, "the test");
      const OpSizes sizes = sizes_of(dtype);
      const OpCase op = bench_op.make(sizes);
      const KernelCall call =
          table.call_in_model(sizes.device, dtype == at::kBFloat16, sizes.head_dim, sizes.mini_batch);
      std::vector<std::string> rows;
      for (std::size_t i = 0; i < table.size(); ++i) {
        const std::string& name = table.row(i).name;
        const std::vector<KernelChoice> choice = {{table.op(), name, "the test"}};
        const std::string what = table.op() + " " + name;
        if (const std::string never = why_never(table.row(i).needs); !never.empty()) {
          EXPECT_TRUE(has(refusal([&] { force_kernels(choice); }), never)) << what;
          EXPECT_FALSE(table.forced()) << what;
          continue;
        }
        force_kernels(choice);
        EXPECT_EQ(table.forced(), i) << what;
        if (const std::string reason = why_not(table.row(i).needs, call); reason.empty()) {
          expect_row_runs(op, table, i);
          rows.push_back(name);
        } else {
          const std::string refused = refusal([&] { op.as_called(); });
          EXPECT_TRUE(has(refused, reason) && has(refused, "the test") && has(refused, table.row_names()))
              << what << ": " << refused;
        }
        force_kernels({});
      }
      expect_row_runs(op, table, table.would_choose(call).value());
      EXPECT_EQ(table.row(table.would_choose(call).value()).name, rows.front()) << table.op();
      // The rows of `ttt bench op`, in the table's order. (bf16 rows of the TTT ops take q, k and v in bf16 there.)
      std::vector<std::string> timed;
      for (const Contender& contender : op.contenders) timed.push_back(contender.name);
      rows.emplace_back("naive");
      EXPECT_EQ(timed, rows) << table.op();
    }
  }
}

// A row of its own for each op in one environment variable; the older one for the TTT ops.
TEST_P(KernelTables, TheEnvironmentForces) {
  ::setenv("TTT_KERNEL", "reference", 1);
  ::setenv("TTT_KERNELS", "rms_norm=composed,ttt_mlp=composed,ttt=fused_portable", 1);
  read_kernel_environment();
  const auto forced = [](const char* op) {
    const KernelTable& table = find_kernel_table(op, "the test");
    return table.forced() ? table.row(*table.forced()).name : "";
  };
  EXPECT_EQ(forced("ttt_linear"), "fused_portable");
  EXPECT_EQ(forced("ttt_mlp"), "composed");
  EXPECT_EQ(forced("rms_norm"), "composed");
  EXPECT_EQ(forced("swiglu"), "");
  force_kernels({{"ttt", "reference", "train.kernels"}});  // comes first
  EXPECT_EQ(forced("ttt_mlp"), "reference");
  EXPECT_EQ(find_kernel_table("ttt_mlp", "").forced_by(), "train.kernels");
  EXPECT_EQ(forced("rms_norm"), "composed");
  force_kernels({{"ttt", "auto", "train.kernels"}});
  EXPECT_EQ(forced("ttt_mlp"), "composed");
  for (const char* wrong :
       {"rms_norm", "rms_norm=", "=composed", "rms_norm=composed;swiglu=composed", "rms_nrom=fused"}) {
    ::setenv("TTT_KERNELS", wrong, 1);
    EXPECT_TRUE(has(refusal([] { read_kernel_environment(); }), "TTT_KERNELS")) << wrong;
  }
  ::unsetenv("TTT_KERNELS");
  ::unsetenv("TTT_KERNEL");
  read_kernel_environment();
  EXPECT_EQ(forced("ttt_linear"), "");
}

TEST(KernelTableList, UnknownNamesAreRefusedWithWhatThereIs) {
  const std::string op = refusal([] { force_kernels({{"rms_nrom", "fused", "train.kernels"}}); });
  EXPECT_TRUE(has(op, "train.kernels names no op: \"rms_nrom\"")) << op;
  for (const KernelTable* table : kernel_tables()) {
    EXPECT_TRUE(has(op, table->op())) << op;
    const std::string row = refusal([&] { force_kernels({{table->op(), "fsued", "train.kernels"}}); });
    EXPECT_TRUE(has(row, "train.kernels names no") && has(row, "\"fsued\"") && has(row, table->row_names())) << row;
  }
  // All or nothing.
  refusal([] { force_kernels({{"rms_norm", "composed", "x"}, {"swiglu", "fsued", "x"}}); });
  EXPECT_FALSE(find_kernel_table("rms_norm", "").forced());
}

// What a call lacks, by the data alone.
TEST(KernelNeedsOfARow, GiveTheReason) {
  const KernelNeeds needs{.place = KernelPlace::kCpu, .dtypes = {at::kFloat, at::kBFloat16}, .head_dim_multiple = 16};
  EXPECT_EQ(why_not(needs, {.head_dim = 32}), "");
  EXPECT_EQ(why_not(needs, {}), "");
  EXPECT_EQ(why_not(needs, {.head_dim = 20}), "its head sizes are multiples of 16, not 20");
  EXPECT_EQ(why_not(needs, {.dtype = at::kDouble}), "it takes fp32 and bf16, not Double");
  EXPECT_EQ(why_not(needs, {.device = at::Device(at::kCUDA, 0)}), "it runs on the CPU only");
  EXPECT_EQ(why_not({.instructions = "AMX", .processor_has = [] { return false; }}, {}), "this processor has no AMX");
  EXPECT_FALSE(takes({.mini_batch = 16}, {.mini_batch = 8}));
}

// --- the sources ---

// Places that ask where a tensor is or what the processor can do, in code: "rms_norm.cpp:12: x.is_cuda()".
std::vector<std::string> choices_by_hand(const std::string& file, const std::string& source) {
  const std::vector<std::string> kSigns = {"is_cpu()",   "is_cuda()",          "cuda_kernels(",       "device().type()",
                                           "supported(", "get_cpu_capability", "through_fp32_panels("};
  std::vector<std::string> found;
  std::istringstream lines(source);
  std::string line;
  for (int number = 1; std::getline(lines, line); ++number) {
    const std::string code = line.substr(0, line.find("//"));
    if (std::any_of(kSigns.begin(), kSigns.end(), [&](const std::string& sign) { return has(code, sign); }))
      found.push_back(cat(file, ":", number, ": ", code.substr(code.find_first_not_of(' '))));
  }
  return found;
}

struct NoChoice {
  const char *file, *code, *why;
};
const NoChoice kNoChoices[] = {
    {"ops/kernel_table.cpp", "", "the one place that chooses"},
    {"ops/cuda_target.h", "", "what a device has"},
    {"ops/cuda_target.cpp", "", "what a device has"},
    {"ops/device_graph.cpp", "", "graphs of launches"},
    {"ops/products.cpp", "", "train.bf16_products, for products inside rows"},
    {"ops/products.h", "bool through_fp32_panels(const at::Tensor& x);", "the same"},
    {"ops/attention.cpp", "return device.is_cpu() && (bf16_products()", "what the call asks of its row"},
    {"ops/attention.cpp", "at::get_cpu_capability()", "the same"},
    {"ops/linear.cpp", "return device.is_cpu() && bf16_products()", "what the call asks of its row"},
    {"ops/adamw_step.cpp", "pinned_memory(device.is_cuda())", "host memory of copies"},
    {"ops/cross_entropy.cpp",
     "default_chunk_tokens(head_VD.size(0), hidden_ND.scalar_type(), hidden_ND.device().type())",
     "how many rows at a time, of whichever row"},
    {"ops/ttt_cuda.cpp", "*any_cuda_kernels()", "the kernels' sizes, as data"},
};

TEST(KernelTableSources, HoldNoOtherChoice) {
  std::vector<int> used(std::size(kNoChoices), 0);
  std::vector<std::string> left;
  int files = 0;
  for (const char* layer : {"ops", "optim", "nn"}) {
    for (const auto& entry : fs::recursive_directory_iterator(fs::path(TTT_SOURCE_DIR) / "src" / layer)) {
      if (!entry.is_regular_file()) continue;
      ++files;
      const std::string file = fs::relative(entry.path(), fs::path(TTT_SOURCE_DIR) / "src").string();
      for (const std::string& found : choices_by_hand(file, read_file(entry.path()))) {
        bool known = false;
        for (std::size_t i = 0; i < std::size(kNoChoices); ++i) {
          if (file != kNoChoices[i].file || !has(found, kNoChoices[i].code)) continue;
          known = true, ++used[i];
        }
        if (!known) left.push_back(found);
      }
    }
  }
  EXPECT_GT(files, 50);
  for (const std::string& found : left)
    ADD_FAILURE() << found
                  << "\n  chooses by hand; make it a row of the op's kernel table, or say here why it is no choice";
  for (std::size_t i = 0; i < std::size(kNoChoices); ++i)
    EXPECT_GT(used[i], 0) << kNoChoices[i].file << " holds no '" << kNoChoices[i].code << "' any more";
}

TEST(KernelTableSources, APlantedChoiceIsFound) {
  const auto found = choices_by_hand("ops/planted.cpp",
                                     "// x.is_cuda() in a comment\n"
                                     "at::Tensor planted(const at::Tensor& x) {\n"
                                     "  if (x.is_cuda()) return fast(x);\n"
                                     "  if (cuda_kernels(x) != nullptr) return faster(x);\n"
                                     "  return slow(x);\n"
                                     "}\n");
  EXPECT_EQ(found, (std::vector<std::string>{"ops/planted.cpp:3: if (x.is_cuda()) return fast(x);",
                                             "ops/planted.cpp:4: if (cuda_kernels(x) != nullptr) return faster(x);"}));
}

}  // namespace
}  // namespace ttt
