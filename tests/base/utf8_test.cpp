// Finding what is not UTF-8.
#include "base/utf8.h"

#include <gtest/gtest.h>

#include <string>

namespace ttt {
namespace {

TEST(Utf8, FindsTheFirstBadByte) {
  EXPECT_EQ(find_invalid_utf8(""), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("plain text, longer than a word"), std::nullopt);
  EXPECT_EQ(find_invalid_utf8("\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\xed\x9f\xbf\xee\x80\x80"),
            std::nullopt);
  for (const char* bad :
       {"\x80", "\xc1\x81", "\xc0\x80", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf", "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80", "\xff", "\xc3", "\xe2\x98", "\xf0\x9f\x98", "\xc3(", "\xe2(\x98"}) {
    EXPECT_EQ(find_invalid_utf8(bad), 0u);
    for (std::size_t before : {1, 7, 8, 9, 20}) EXPECT_EQ(find_invalid_utf8(std::string(before, 'x') + bad), before);
  }
}

}  // namespace
}  // namespace ttt
