// Hashes, keyed permutations and counter-based random numbers: that they are what they say, and stay it (data order and
// initialisation are functions of them).
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "base/hash.h"
#include "base/rng.h"
#include "data/scratch.h"

namespace ttt {
namespace {

TEST(Hash, KnownValues) {  // of the xxhash project's own tool, xxhsum -H3
  EXPECT_EQ(hex64(xxh3("")), "2d06800538d394c2");
  EXPECT_EQ(hex64(xxh3("a")), "e6c632b61e964e1f");
  EXPECT_EQ(hex64(xxh3("abc")), "78af5f94892f3950");
  EXPECT_NE(xxh3("abc", 1), xxh3("abc"));
  EXPECT_EQ(hex64(1), "0000000000000001");
}

TEST(Hash, StreamAndFileAgreeWithTheWhole) {
  const ScratchFolder folder;
  std::string text;
  for (int i = 0; i < 5000; ++i) text += std::to_string(i * i);
  Xxh3Stream stream;
  for (std::size_t at = 0; at < text.size(); at += 777) {
    const std::string part = text.substr(at, 777);
    stream.update(part.data(), part.size());
  }
  EXPECT_EQ(stream.digest(), xxh3(text));
  EXPECT_EQ(xxh3_file(folder.write("x", text)), xxh3(text));
  EXPECT_EQ(Xxh3Stream().digest(), xxh3(""));
}

TEST(KeyedPermutation, IsABijectionOfEverySize) {
  for (const std::uint64_t size : {1, 2, 3, 7, 8, 9, 15, 16, 17, 1000, 4096}) {
    for (const std::uint64_t key : {0ULL, 1ULL, 0xffffffffffffffffULL}) {
      const KeyedPermutation permutation(size, key);
      std::set<std::uint64_t> seen;
      for (std::uint64_t i = 0; i < size; ++i) {
        const std::uint64_t value = permutation(i);
        EXPECT_LT(value, size);
        seen.insert(value);
      }
      EXPECT_EQ(seen.size(), size) << "key " << key;
    }
  }
}

TEST(KeyedPermutation, KeysGiveUnrelatedOrders) {
  constexpr std::uint64_t kSize = 1000;
  const KeyedPermutation a(kSize, 1), b(kSize, 2);
  int same = 0, fixed = 0;
  double correlation = 0;  // of neighbours: an order that keeps runs together would show here
  for (std::uint64_t i = 0; i < kSize; ++i) {
    same += a(i) == b(i);
    fixed += a(i) == i;
    if (i > 0) correlation += (static_cast<double>(a(i)) - 499.5) * (static_cast<double>(a(i - 1)) - 499.5);
  }
  // Each count is Poisson(1); the correlation of 999 neighbours has a standard deviation of 0.032 of the variance.
  EXPECT_LT(same, 10);
  EXPECT_LT(fixed, 10);
  EXPECT_LT(std::abs(correlation / 999 / (1e6 / 12)), 0.16);
}

TEST(KeyedPermutation, LargeSizesNeedNoMemory) {
  const std::uint64_t size = (std::uint64_t{1} << 40) + 12345;
  const KeyedPermutation permutation(size, 7);
  std::set<std::uint64_t> seen;
  for (std::uint64_t i = 0; i < 1000; ++i) seen.insert(permutation(size - 1 - i));
  EXPECT_EQ(seen.size(), 1000u);
  EXPECT_LT(*seen.rbegin(), size);
}

TEST(CounterRng, ResumesFromItsCounter) {
  CounterRng rng(42);
  for (int i = 0; i < 10; ++i) rng.next();
  CounterRng resumed(42, rng.counter());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(rng.next(), resumed.next());
  EXPECT_NE(CounterRng(42).next(), CounterRng(43).next());
}

TEST(CounterRng, UniformHasTheRightMoments) {
  CounterRng rng(1);
  constexpr int kDraws = 100000;
  double sum = 0, squares = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double value = rng.uniform();
    ASSERT_GE(value, 0.0);
    ASSERT_LT(value, 1.0);
    sum += value;
    squares += value * value;
  }
  EXPECT_NEAR(sum / kDraws, 0.5, 5 * 0.289 / std::sqrt(kDraws));  // five standard deviations
  EXPECT_NEAR(squares / kDraws, 1.0 / 3, 5 * 0.298 / std::sqrt(kDraws));
}

TEST(StreamSeed, DependsOnSeedAndName) {
  std::set<std::uint64_t> seeds;
  for (const std::uint64_t seed : {0, 1, 2}) {
    for (const char* name : {"", "a", "b", "data order, epoch 1"}) seeds.insert(stream_seed(seed, name));
  }
  EXPECT_EQ(seeds.size(), 12u);
}

}  // namespace
}  // namespace ttt
