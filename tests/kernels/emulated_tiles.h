// Tiles of AMX as arrays, following the instructions' definition, for kernels/cpu/bf16_tiles.h on any machine.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

namespace ttt::kernels {
namespace {

class EmulatedTiles {
 public:
  struct Session {
    Session() { ++open(); }
    ~Session() { --open(); }
    static int& open() {
      static int sessions = 0;
      return sessions;
    }
  };
  template <int t>
  static void zero() {
    tile<t>() = {};
  }
  template <int t>
  static void load(const void* first, std::int64_t to_next) {
    for (int row = 0; row < 16; ++row)
      std::memcpy(&tile<t>()[row], static_cast<const char*>(first) + row * to_next, 64);
  }
  template <int t>
  static void store(void* first, std::int64_t to_next) {
    for (int row = 0; row < 16; ++row) std::memcpy(static_cast<char*>(first) + row * to_next, &tile<t>()[row], 64);
  }
  // TDPBF16PS: for every row i, pair p and column j, first the lower halves, then the upper ones.
  template <int c, int a, int b>
  static void dot() {
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 16; ++j) {
        float sum = number(tile<c>()[i][j]);
        for (int p = 0; p < 16; ++p) {
          const std::uint32_t x = tile<a>()[i][p], y = tile<b>()[p][j];
          sum += number(x << 16) * number(y << 16);
          sum += number(x & 0xffff0000) * number(y & 0xffff0000);
        }
        std::memcpy(&tile<c>()[i][j], &sum, sizeof sum);
      }
    }
  }

 private:
  using Tile = std::array<std::array<std::uint32_t, 16>, 16>;
  template <int t>
  static Tile& tile() {
    static Tile words = {};
    if (Session::open() != 1) __builtin_trap();  // the passes must have set the tiles up
    return words;
  }
  static float number(std::uint32_t word) {
    float x;
    std::memcpy(&x, &word, sizeof x);
    return x;
  }
};

}  // namespace
}  // namespace ttt::kernels
