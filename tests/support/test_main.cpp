// main() of the tests on torch: leaves without taking LibTorch's registry of operators down, which takes a tenth of a
// second in each of many hundred processes. What tests own has been destroyed before.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <iostream>

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  const int code = RUN_ALL_TESTS();
  std::cout.flush();
  std::fflush(nullptr);
  std::_Exit(code);
}
