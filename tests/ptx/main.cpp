// Runs the kernels' tests on their PTX. A whole run fails where a kernel of the table did not run.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <set>
#include <string_view>

#include "kernels/cuda/kernel_table.h"
#include "ptx/gpu.h"

namespace ttt::ptx {
namespace {

class EveryKernelRan : public ::testing::Environment {
 public:
  void TearDown() override {
    if (GTEST_FLAG_GET(filter) != "*") return;  // a part of the tests
    std::map<std::string, KernelCoverage> by_name;
    std::int64_t launches = 0;
    std::size_t instructions = 0, executed = 0;
    for (const KernelCoverage& kernel : coverage()) {
      by_name[kernel.kernel] = kernel;
      launches += kernel.launches, instructions += kernel.instructions, executed += kernel.executed;
    }
    std::set<std::string> planned;
    for (const auto& plan : kernels::cuda::gpu::kernels().plans()) {
      const std::string name = kernel_of(plan.type);
      planned.insert(name);
      EXPECT_GT(by_name.at(name).launches, 0) << plan.op << " " << plan.kernel << " did not run";
    }
    for (const auto& [name, kernel] : by_name) EXPECT_TRUE(planned.contains(name)) << name << " is in no plan";
    std::printf("PTX: %zu kernels, %lld launches; %zu of %zu instructions ran\n", by_name.size(),
                static_cast<long long>(launches), executed, instructions);
    if (std::getenv("TTT_PTX_COVERAGE") == nullptr) return;
    for (const auto& [name, kernel] : by_name)
      std::printf("%5zu of %5zu  %s\n", kernel.executed, kernel.instructions, name.c_str());
  }
};

}  // namespace
}  // namespace ttt::ptx

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  try {
    ttt::ptx::coverage();
  } catch (const ttt::ptx::Problem& problem) {  // another CUDA's format
    std::printf("the PTX tests are skipped, since they cannot read what this nvcc has built: %s\n", problem.what());
    const char* ci = std::getenv("CI");
    return ci != nullptr && std::string_view(ci) == "true" ? 1 : 77;
  }
  ::testing::AddGlobalTestEnvironment(new ttt::ptx::EveryKernelRan);
  return RUN_ALL_TESTS();
}
