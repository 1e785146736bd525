// What `ttt --version` and checkpoints say about the build.
#include "base/build_info.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ttt {
namespace {

TEST(BuildInfo, EveryFactIsThere) {
  const BuildInfo& info = build_info();
  EXPECT_EQ(info.version.find("0."), 0u);
  EXPECT_TRUE(
      info.git_revision == "unknown" ||
      (info.git_revision.size() == 40 && info.git_revision.find_first_not_of("0123456789abcdef") == std::string::npos))
      << info.git_revision;
  EXPECT_NE(info.compiler.find("++ "), std::string::npos);
  EXPECT_FALSE(info.build_type.empty());
  EXPECT_EQ(info.libtorch.find("2.11."), 0u);
}

TEST(BuildInfo, RevisionSaysWhetherTheFilesWereChanged) {
  BuildInfo info;
  info.git_revision = "abc";
  EXPECT_EQ(info.revision(), "abc");
  info.git_dirty = true;
  EXPECT_EQ(info.revision(), "abc-dirty");
}

TEST(CpuFeatures, NameTheArchitectureFirst) {
  const std::vector<std::string> features = cpu_features();
  ASSERT_FALSE(features.empty());
#if defined(__x86_64__)
  EXPECT_EQ(features.front(), "x86-64");
#if defined(__AVX2__)
  EXPECT_NE(std::find(features.begin(), features.end(), "avx2"), features.end());
#endif
#endif
}

}  // namespace
}  // namespace ttt
