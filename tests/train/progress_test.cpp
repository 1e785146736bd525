// The line that a terminal shows while a run trains.
#include "train/progress.h"

#include <gtest/gtest.h>

namespace ttt {
namespace {

TEST(ProgressText, LeavesOutWhatHasNoRoom) {
  const ProgressNumbers numbers{150, 600, 4.12345, 12345, 65};
  EXPECT_EQ(progress_line(numbers), "step 150/600  loss 4.1235  ETA 1:05  12.3k tokens/s");
  EXPECT_EQ(progress_line(numbers, 79),
            "step 150/600  loss 4.1235  ETA 1:05  12.3k tokens/s  [######..................]");
  EXPECT_EQ(progress_line(numbers, 40), "step 150/600  loss 4.1235  ETA 1:05");
  EXPECT_EQ(progress_line(numbers, 30), "step 150/600  loss 4.1235");
  EXPECT_EQ(progress_line(numbers, 5), "step 150/600");
  for (std::size_t columns = 12; columns < 200; ++columns) EXPECT_LE(progress_line(numbers, columns).size(), columns);
}

TEST(ProgressText, IsShort) {
  EXPECT_EQ(format_duration(65), "1:05");
  EXPECT_EQ(format_duration(3725.4), "1:02:05");
  EXPECT_EQ(format_count(12345), "12.3k");
  EXPECT_EQ(format_count(125e6), "125M");
  EXPECT_EQ(format_count(12), "12");
}

}  // namespace
}  // namespace ttt
