// The table from arguments to launches, and kernels started through it: what the program does on a GPU.
#include "kernels/cuda/kernel_table.h"

#include <set>

#include "kernels/cuda/ttt_args.h"
#include "kernels/cuda_ttt_testing.h"

namespace ttt::kernels::cuda {
namespace {

struct Unknown {
  std::string shape() const { return ""; }
};

TEST(CudaKernelTable, RefusesArgumentsThatNoKernelTakes) {
  EXPECT_THROW(emulated::kernels().launch(Unknown{}, nullptr), Error);
}

TEST(CudaKernelTable, PlansNameEachKernelOnceWithItsBlock) {
  std::set<std::string> names, types;
  for (const KernelPlan& plan : emulated::kernels().plans()) {
    EXPECT_TRUE(names.insert(plan.op + " " + plan.kernel).second) << plan.op << " " << plan.kernel;
    EXPECT_TRUE(types.insert(plan.type).second) << plan.type;
    EXPECT_EQ(plan.threads % 32, 0) << plan.kernel;
    EXPECT_GT(plan.threads, 0) << plan.kernel;
    EXPECT_LE(plan.shared_bytes, 227 << 10) << plan.kernel;  // Hopper's most
  }
  EXPECT_TRUE(names.contains("ttt_linear forward bf16 64"));
}

}  // namespace
}  // namespace ttt::kernels::cuda
