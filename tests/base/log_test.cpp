// How log lines and progress reach stderr where it is no terminal; e2e/terminal_test.sh looks at a terminal.
#include "base/log.h"

#include <gtest/gtest.h>

#include <string>

namespace ttt {
namespace {

TEST(Log, CutsToWholeCharacters) {
  EXPECT_EQ(cut_to_columns("abc", 10), "abc");
  EXPECT_EQ(cut_to_columns("abc", 2), "ab");
  EXPECT_EQ(cut_to_columns("a\xc3\xa9z", 2), "a\xc3\xa9");
  EXPECT_EQ(cut_to_columns("a\xe2\x82\xacz", 1), "a");
  EXPECT_EQ(cut_to_columns("abc", 0), "");
}

TEST(Log, PlainLinesWhereItIsNoTerminal) {
  ::testing::internal::CaptureStderr();
  show_progress("1 of 3");
  show_progress("2 of 3");  // within ten seconds of the first
  log_warn("so so");
  show_progress("");
  print_error("no good");
  const std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_NE(text.find("1 of 3\n"), std::string::npos) << text;
  EXPECT_EQ(text.find("2 of 3"), std::string::npos) << text;
  EXPECT_NE(text.find(" warning: so so\n"), std::string::npos) << text;
  EXPECT_TRUE(text.ends_with("\nerror: no good\n")) << text;
  EXPECT_EQ(text.find_first_of("\r\033"), std::string::npos) << text;
}

}  // namespace
}  // namespace ttt
