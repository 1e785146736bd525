// The emulated lanes (kernels/cuda/warp_emulated.h): what each word does, and that wrong use of it is an error.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernels/cuda/tiles.h"

namespace ttt::kernels::cuda {
namespace {

constexpr EmulatedLaunch kOneWarp{1, 32, 8192, LaneOrder::kForward};

std::string error_of(const EmulatedLaunch& launch, const std::function<void(char*)>& kernel) {
  try {
    run_emulated(launch, kernel);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

float small_integer(int i, int j) {
  return static_cast<float>((7 * i + 3 * j) % 9 - 4);  // exact in bf16, as are sums of products
}

TEST(CudaWarp, ShufflesAndTransposes) {
  run_emulated(kOneWarp, [](char*) {
    const int lane = thread_in_block();
    EXPECT_EQ(shuffle_xor(static_cast<float>(lane), 5), static_cast<float>(lane ^ 5));
    EXPECT_EQ(shuffle(static_cast<float>(lane), 31 - lane), static_cast<float>(31 - lane));
    const int g = lane / 4, t = lane % 4;
    const std::uint32_t column = transpose_8x8(pack_bf16(small_integer(g, 2 * t), small_integer(g, 2 * t + 1)));
    EXPECT_EQ(low_bf16(column), small_integer(2 * t, g));
    EXPECT_EQ(high_bf16(column), small_integer(2 * t + 1, g));
  });
}

// The first lane to run reads what the last one writes.
TEST(CudaWarp, LanesSeeWhatTheirWarpWroteBeforeTheyMet) {
  for (const LaneOrder order : {LaneOrder::kForward, LaneOrder::kBackward}) {
    run_emulated({1, 32, 8192, order}, [](char* shared) {
      float* const values = reinterpret_cast<float*>(shared);
      const int lane = thread_in_block();
      values[lane] = static_cast<float>(lane);
      sync_warp();
      EXPECT_EQ(values[31 - lane], static_cast<float>(31 - lane));
    });
  }
}

TEST(CudaWarp, RoundsToNearestEven) {
  EXPECT_EQ(low_bf16(pack_bf16(1.00390625f, 0)), 1.0f);       // half of the last place: to even
  EXPECT_EQ(low_bf16(pack_bf16(1.01171875f, 0)), 1.015625f);  // the same, upwards
  EXPECT_EQ(high_bf16(pack_bf16(0, -3.14159f)), -3.140625f);
  EXPECT_TRUE(std::isnan(low_bf16(pack_bf16(NAN, 0))));
  const Word<2> word = round_to_word<2>(3.14159265f, -1e-3f);  // two planes: 16 bits
  EXPECT_NEAR(values_of(word).x, 3.14159265, 3.2e-5);
  EXPECT_NEAR(values_of(word).y, -1e-3, 1e-8);
}

TEST(CudaWarp, Roots) {
  EXPECT_EQ(square_root(0), 0);
  EXPECT_EQ(square_root(6.25f), 2.5f);
  EXPECT_NEAR(inverse_sqrt(6.25f), 0.4f, 1e-7f);
}

TEST(CudaWarp, PowersOfTwo) {
  EXPECT_EQ(power_of_two(-3), 0.125f);
  EXPECT_NEAR(power_of_two(0.5f), 1.41421356, 1e-6);
}

// X [16,32] as rows in shared memory; every way to load it gives the product that its name says.
template <int kPlanes>
void products_of_tiles() {
  using Tile = OperandTile<kPlanes, 32>;
  const auto counts = run_emulated({1, 32, 2 * Tile::kBytes, LaneOrder::kForward}, [](char* shared) {
    const Tile x{reinterpret_cast<std::uint16_t*>(shared)}, y{reinterpret_cast<std::uint16_t*>(shared + Tile::kBytes)};
    const int lane = thread_in_block(), g = lane / 4, t = lane % 4;
    for (int i = lane; i < 16 * 16; i += 32) {
      const int row = i / 16, col = i % 16 * 2;
      x.set(row, col, round_to_word<kPlanes>(small_integer(row, col), small_integer(row, col + 1)));
      y.set(row, col, round_to_word<kPlanes>(small_integer(col, row), small_integer(col + 1, 2 * row)));
    }
    sync_block();
    const auto y_at = [](int row, int col) {
      return col % 2 == 0 ? small_integer(col, row) : small_integer(col, 2 * row);
    };
    const auto expect = [&](const float(&c)[4], int first, const auto& sum) {
      for (int i = 0; i < 4; ++i) EXPECT_EQ(c[i], sum(g + i / 2 * 8, first + 2 * t + i % 2)) << i;
    };
    // X Y^T, over the 32 columns: A and transposed B.
    float c[2][4] = {};
    for (int k = 0; k < 32; k += 16) {
      FragmentB<kPlanes> b[2];
      y.b_transposed(k, 0, b);
      for (int j = 0; j < 2; ++j) multiply_add(c[j], x.a(0, k), b[j]);
    }
    for (int j = 0; j < 2; ++j)
      expect(c[j], 8 * j, [&](int i, int n) {
        float sum = 0;
        for (int k = 0; k < 32; ++k) sum += small_integer(i, k) * y_at(n, k);
        return sum;
      });
    // X^T Y, rows 16.. and columns 16.. of it: transposed A and B.
    float d[2][4] = {};
    FragmentB<kPlanes> b[2];
    y.b(0, 16, b);
    for (int j = 0; j < 2; ++j) {
      multiply_add(d[j], x.a_transposed(16, 0), b[j]);
      expect(d[j], 8 * j, [&](int i, int n) {
        float sum = 0;
        for (int k = 0; k < 16; ++k) sum += small_integer(k, 16 + i) * y_at(k, 16 + n);
        return sum;
      });
    }
  });
  EXPECT_EQ(counts.bank_conflicts, 0);
  EXPECT_EQ(counts.products, (kPlanes == 1 ? 1 : 3) * 6);
  EXPECT_EQ(counts.block_barriers, 1);
}
TEST(CudaTiles, FragmentsMakeTheProductsTheyAreNamedFor) {
  products_of_tiles<1>();
  products_of_tiles<2>();
}

// Operands in two planes: errors of 16 bits, not of 8.
TEST(CudaTiles, TwoPlanesAreNearlyExact) {
  using Tile = OperandTile<2, 16>;
  run_emulated({1, 32, Tile::kBytes, LaneOrder::kForward}, [](char* shared) {
    const Tile x{reinterpret_cast<std::uint16_t*>(shared)};
    const auto value = [](int row, int col) { return std::sin(1.0f + static_cast<float>(16 * row + col)); };
    const int lane = thread_in_block();
    for (int i = lane; i < 16 * 8; i += 32)
      x.set(i / 8, i % 8 * 2, round_to_word<2>(value(i / 8, i % 8 * 2), value(i / 8, i % 8 * 2 + 1)));
    sync_block();
    FragmentB<2> b[2];
    x.b(0, 0, b);
    float c[4] = {};
    multiply_add(c, x.a(0, 0), b[0]);
    for (int i = 0; i < 4; ++i) {
      double sum = 0;
      for (int k = 0; k < 16; ++k) sum += value(lane / 4 + i / 2 * 8, k) * value(k, lane % 4 * 2 + i % 2);
      EXPECT_NEAR(c[i], sum, 1e-4);
    }
  });
}

TEST(CudaTiles, RowsArriveAsynchronouslyAndEndInZeros) {
  std::vector<float> memory(16 * 64 + 64, 0);
  float* rows = memory.data() + (64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64) / 4;
  std::iota(rows, rows + 16 * 64, 1.0f);
  run_emulated(kOneWarp, [&](char* shared) {
    const RowTile<float, 32> tile{reinterpret_cast<float*>(shared)};
    tile.fetch<32>(rows, 64, 5);
    close_copies();
    EXPECT_TRUE(
        std::isnan(tile.two(thread_in_block() / 8, thread_in_block() % 8 * 4).x));  // not before it is waited for
    wait_for_copies<0>();
    sync_block();
    const int row = thread_in_block() / 2;
    for (int col = thread_in_block() % 2 * 16; col < 16; col += 2) {
      EXPECT_EQ(tile.two(row, col).x, row < 5 ? static_cast<float>(1 + 64 * row + col) : 0.0f);
      EXPECT_EQ(tile.two(row, col).y, row < 5 ? static_cast<float>(2 + 64 * row + col) : 0.0f);
    }
  });
}

TEST(CudaWarp, WrongUseIsAnError) {
  const EmulatedLaunch two_warps{1, 64, 256, LaneOrder::kForward};
  EXPECT_NE(error_of(kOneWarp,
                     [](char*) {
                       if (thread_in_block() == 7) {
                         transpose_8x8(0);
                       } else {
                         shuffle_xor(0, 1);
                       }
                     })
                .find("something else than lane"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp,
                     [](char*) {
                       if (thread_in_block() != 7) shuffle_xor(0, 1);
                     })
                .find("lane 7 of its warp has gone on without it"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp,
                     [](char*) {
                       if (thread_in_block() != 31) shuffle_xor(0, 1);
                     })
                .find("wait for others of their warp, which have ended"),
            std::string::npos);
  EXPECT_NE(error_of(two_warps,
                     [](char*) {
                       if (thread_in_block() < 32) sync_block();
                     })
                .find("32 threads of 64 wait at a barrier"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp,
                     [](char* shared) {
                       std::uint32_t words[4];
                       load_matrices(words, shared + 8 * thread_in_block());
                     })
                .find("not aligned to 16 bytes"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp,
                     [](char* shared) {
                       std::uint32_t words[4];
                       load_matrices(words, shared + 8192 - 8 * 16 + 16 * (thread_in_block() % 8 + 1));
                     })
                .find("not in shared memory"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp,
                     [](char* shared) {
                       alignas(16) static const char source[32] = {};
                       copy_16_bytes(shared + 16 * thread_in_block(), source + 4, true);
                     })
                .find("not aligned to 16"),
            std::string::npos);
  EXPECT_NE(error_of(kOneWarp, [](char* shared) { aligned<16>(shared + 8); }).find("not aligned to 16 bytes"),
            std::string::npos);
  // and the next launch is as if nothing had been
  EXPECT_EQ(error_of(two_warps, [](char*) { sync_block(); }), "");
}

TEST(CudaWarp, RowsInTheSameBanksAreCounted) {
  const auto conflicts = [](int step) {
    return run_emulated(kOneWarp,
                        [&](char* shared) {
                          std::uint32_t words[4];
                          load_matrices(words, shared + step * (thread_in_block() % 8));
                        })
        .bank_conflicts;
  };
  EXPECT_EQ(conflicts(16), 0);
  EXPECT_EQ(conflicts(32), 4 * 1);
  EXPECT_EQ(conflicts(128), 4 * 7);
}

// A read that no barrier orders after the write does not see it, or only in one order of the lanes.
TEST(CudaWarp, TheOrderOfLanesShowsRaces) {
  const auto read = [](LaneOrder order) {
    std::vector<float> seen(64);
    run_emulated({1, 64, 256, order}, [&](char* shared) {
      float* values = reinterpret_cast<float*>(shared);
      const int i = thread_in_block();
      values[i] = 1;
      seen[static_cast<std::size_t>(i)] = values[63 - i];
    });
    return std::count(seen.begin(), seen.end(), 1.0f);
  };
  EXPECT_EQ(read(LaneOrder::kForward), 32);
  EXPECT_EQ(read(LaneOrder::kBackward), 32);
}

}  // namespace
}  // namespace ttt::kernels::cuda
