// The faults that tests ask for in the environment: which are due, and what is no fault.
#include "base/fault.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "base/error.h"

namespace ttt {
namespace {

TEST(Fault, IsDueOnceAtItsStepAndRank) {
  setenv("TTT_FAULT", "stop@9:1,nan_gradient@7", 1);
  EXPECT_FALSE(fault_is_due("stop", 9, 0));
  EXPECT_FALSE(fault_is_due("stop", 8, 1));
  EXPECT_TRUE(fault_is_due("stop", 9, 1));
  EXPECT_FALSE(fault_is_due("stop", 9, 1));
  EXPECT_TRUE(fault_is_due("nan_gradient", 7, 3));
  unsetenv("TTT_FAULT");
  EXPECT_FALSE(fault_is_due("nan_gradient", 7, 3));
}

TEST(Fault, ANumberIsOneFromItsFirstToItsLastCharacter) {
  for (const char* text : {"stop", "stop@", "stop@x", "stop@9x", "stop@ 9", "stop@9:", "stop@9:1x", "stop@9:1:2",
                           "stop@99999999999999999999"}) {
    setenv("TTT_FAULT", text, 1);
    EXPECT_THROW(fault_is_due("stop", 1, 0), UserError) << text;
  }
  unsetenv("TTT_FAULT");
  EXPECT_FALSE(fault_is_due("stop", 1, 0));
}

}  // namespace
}  // namespace ttt
