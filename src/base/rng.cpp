#include "base/rng.h"

#include <bit>

#include "base/error.h"

namespace ttt {

KeyedPermutation::KeyedPermutation(std::uint64_t size, std::uint64_t key) : size_(size), key_(key) {
  TTT_CHECK(size > 0 && size <= (std::uint64_t{1} << 62), "size ", size);
  half_bits_ = (std::bit_width(size - 1) + 1) / 2;
  if (half_bits_ == 0) half_bits_ = 1;
}

std::uint64_t KeyedPermutation::operator()(std::uint64_t index) const {
  TTT_CHECK(index < size_, "index ", index, " of ", size_);
  const std::uint64_t mask = (std::uint64_t{1} << half_bits_) - 1;
  do {
    std::uint64_t left = index >> half_bits_, right = index & mask;
    for (std::uint64_t round = 0; round < 4; ++round) {
      const std::uint64_t next = left ^ (mix64(key_ ^ mix64(right * 4 + round)) & mask);
      left = right;
      right = next;
    }
    index = (left << half_bits_) | right;
  } while (index >= size_);
  return index;
}

}  // namespace ttt
