// What a launch (kernels/cuda/launch.h) says of errors, its own and those that it only finds.
#include <gtest/gtest.h>

#include <string>

#include "base/error.h"
#include "kernels/cuda/kernel_table.h"
#include "kernels/cuda/row_args.h"
#include "ptx/gpu.h"

namespace ttt::ptx {
namespace {

// Of the CUDA runtime's errors.
constexpr int kInvalidArgument = 1, kLaunchFailure = 719, kIllegalAddress = 700;

std::string error_of_launch() {
  kernels::cuda::RmsNormForward<float> arguments;
  arguments.rows = 1, arguments.width = 4;
  try {
    kernels::cuda::gpu::kernels().launch(arguments, nullptr);
  } catch (const Error& error) {
    return error.what();
  }
  return "(no error)";
}

TEST(PtxLaunch, ItsOwnErrorNamesTheKernelItsShapeAndItsSize) {
  fail_next_launch(kInvalidArgument);
  const std::string error = error_of_launch();
  EXPECT_TRUE(error.starts_with("the GPU refused kernel rms_norm_forward ([1,4] fp32; 1 blocks of ")) << error;
}

TEST(PtxLaunch, AnEarlierKernelsFaultIsNotBlamedOnIt) {
  for (const int fault : {kIllegalAddress, kLaunchFailure}) {
    fail_next_launch(fault);
    const std::string error = error_of_launch();
    EXPECT_TRUE(
        error.starts_with("before kernel rms_norm_forward was started an earlier call of CUDA's had failed, "
                          "or a kernel: "))
        << error;
  }
}

TEST(PtxLaunch, NorWhatAnotherCallHasLeft) {
  leave_error(kInvalidArgument);
  EXPECT_TRUE(error_of_launch().starts_with("before kernel rms_norm_forward was started"));
  fail_next_launch(kInvalidArgument);  // the first one is not found again
  EXPECT_TRUE(error_of_launch().starts_with("the GPU refused kernel rms_norm_forward"));
}

}  // namespace
}  // namespace ttt::ptx
