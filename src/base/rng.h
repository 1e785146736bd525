// Counter-based random numbers: a value is a pure function of (key, counter), so that nothing depends on the order of
// draws.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/hash.h"

namespace ttt {

// The finaliser of splitmix64: a bijection of 64-bit words in which every input bit reaches every output bit.
constexpr std::uint64_t mix64(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15ULL;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
  return x ^ (x >> 31);
}

// A seed for the stream `name` of the run seeded by `seed` (parameter initialisation, data order, sampling, ...).
inline std::uint64_t stream_seed(std::uint64_t seed, std::string_view name) {
  return xxh3(name, mix64(seed));
}

// A pseudo-random permutation of [0, size): a four-round Feistel network on the smallest even number of bits that holds
// size, cycle-walked back into the range. O(1) memory and expected O(1) time a value.
class KeyedPermutation {
 public:
  KeyedPermutation(std::uint64_t size, std::uint64_t key);
  std::uint64_t operator()(std::uint64_t index) const;  // index < size

 private:
  std::uint64_t size_;
  std::uint64_t key_;
  int half_bits_;
};

// A stream of random words; its whole state is two integers.
class CounterRng {
 public:
  explicit CounterRng(std::uint64_t key, std::uint64_t counter = 0) : key_(mix64(key)), counter_(counter) {}
  std::uint64_t next() { return mix64(key_ ^ mix64(counter_++)); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }  // [0, 1)
  std::uint64_t counter() const { return counter_; }

 private:
  std::uint64_t key_;
  std::uint64_t counter_;
};

}  // namespace ttt
