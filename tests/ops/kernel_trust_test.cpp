// A row that is distrusted takes no call, whoever asks, and says why.
#include "ops/kernel_table.h"
#include "ops/rms_norm.h"
#include "ops/ttt_kernels.h"
#include "ops/ttt_testing.h"
#include "support/user_error.h"

namespace ttt {
namespace {

constexpr const char* kReason = "in the self-check it crashed";

// While it lives, the row of the op is distrusted.
class DistrustedRow {
 public:
  DistrustedRow(const std::string& op, const std::string& row) : table_(find_kernel_table(op, "the test")) {
    row_ = table_.find(row, "the test");
    table_.distrust(row_, kReason);
  }
  ~DistrustedRow() {
    table_.distrust(row_, "");
    force_kernels({});
  }
  DistrustedRow(const DistrustedRow&) = delete;
  DistrustedRow& operator=(const DistrustedRow&) = delete;

  const KernelTable& table() const { return table_; }
  std::size_t row() const { return row_; }

 private:
  const KernelTable& table_;
  std::size_t row_;
};

std::string error_of(const std::function<void()>& action) {
  return user_error_of("/nowhere", action);
}

TEST(DistrustedRow, TakesNoCallAndAnotherOneDoes) {
  const KernelTable& table = rms_norm_kernels();
  const KernelCall call = table.call_in_model(at::kCPU, /*bf16=*/false, 64, 16);
  const std::size_t fused = table.find("fused", "the test"), composed = table.find("composed", "the test");
  EXPECT_EQ(table.choose_index(call), fused);
  {
    const DistrustedRow distrusted("rms_norm", "fused");
    EXPECT_FALSE(table.takes(fused, call));
    EXPECT_EQ(table.why_not(fused, call), kReason);
    EXPECT_EQ(table.distrusted(fused), kReason);
    EXPECT_EQ(table.would_choose(call), composed);
    const std::int64_t before = table.taken(fused);
    rms_norm(at::ones({3, 8}), at::ones({8}), kRmsNormEps, at::kFloat);
    EXPECT_EQ(table.taken(fused), before);
    // What it cannot take anyway comes first.
    KernelCall on_gpu = call;
    on_gpu.device = at::Device(at::kCUDA, 0);
    EXPECT_EQ(table.why_not(fused, on_gpu), "it runs on the CPU only");
  }
  EXPECT_EQ(table.choose_index(call), fused);
  EXPECT_EQ(table.why_not(fused, call), "");
}

TEST(DistrustedRow, CannotBeForced) {
  const DistrustedRow distrusted("rms_norm", "fused");
  const std::string later = error_of([] { force_kernels({{"rms_norm", "fused", "train.kernels"}}); });
  EXPECT_EQ(later, cat("train.kernels sets kernel fused for rms_norm, which cannot run here: ", kReason,
                       "; what can is composed"));
  distrusted.table().distrust(distrusted.row(), "");
  force_kernels({{"rms_norm", "fused", "train.kernels"}});
  distrusted.table().distrust(distrusted.row(), kReason);  // behind the choice
  const std::string at_call = error_of([] { rms_norm(at::ones({3, 8}), at::ones({8}), kRmsNormEps, at::kFloat); });
  EXPECT_EQ(at_call, cat("kernel fused, set by train.kernels, cannot take this call of rms_norm: ", kReason,
                         "; choose another of ", distrusted.table().row_names(), " or lift the choice"));
}

// Decoding looks for a row by itself.
TEST(DistrustedRow, DoesNotDecode) {
  const TttNet& net = ttt_linear_net();
  const TttShape shape{1, 1, 1, 64, 16, at::kFloat, at::kCPU};
  const TttKernel* usual = choose_ttt_decoder(net, shape);
  ASSERT_NE(usual, nullptr);
  const std::string name = usual->name;
  const DistrustedRow distrusted("ttt_linear", name);
  const TttKernel* other = choose_ttt_decoder(net, shape);
  EXPECT_TRUE(other == nullptr || other->name != name);
}

}  // namespace
}  // namespace ttt
