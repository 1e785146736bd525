// What the 32 lanes of a warp do together. Layouts of fragments: PTX ISA, "Matrix Fragments for mma.m16n8k16 with
// floating point type", "ldmatrix", "movmatrix"; of shuffles: "shfl.sync".
#include <algorithm>
#include <bit>
#include <cstring>

#include "base/error.h"
#include "ptx/machine.h"

namespace ttt::ptx {
namespace {

float bf16(std::uint32_t word, int which) {
  return std::bit_cast<float>(which == 0 ? word << 16 : word & 0xffff0000u);
}
std::uint32_t half(std::uint32_t word, int which) {
  return word >> 16 * which & 0xffffu;
}

}  // namespace

void Machine::collective(Warp& warp, const Instruction& in) {
  switch (in.op) {
    case Op::kBarSync:
      if (in.number != 0) problem(warp, in, 0, "another barrier than 0");
      return;
    case Op::kBarWarpSync:
      for (int i = 0; i < kLanes; ++i)
        if (row(warp, in.slots[0])[i] != kAllLanes) problem(warp, in, i, "a mask without some lanes");
      warp.step = next_time();
      return;
    case Op::kShuffleXor:
    case Op::kShuffleIndex:
      return shuffle(warp, in);
    case Op::kMma:
      return multiply(warp, in);
    case Op::kLoadMatrix:
    case Op::kLoadMatrixTransposed:
      return load_matrix(warp, in);
    case Op::kMoveMatrix: {
      // Row r of the source: lanes 4r..4r+3, two elements each. The destination is its transpose, held likewise.
      const std::uint32_t* source = row(warp, in.slots[1]);
      std::uint32_t moved[kLanes];
      for (int lane = 0; lane < kLanes; ++lane) {
        const int r = lane / 4, c = 2 * (lane % 4);  // of the destination: (r, c), (r, c + 1)
        moved[lane] = half(source[4 * c + r / 2], r % 2) | half(source[4 * (c + 1) + r / 2], r % 2) << 16;
      }
      std::copy_n(moved, kLanes, row(warp, in.slots[0]));
      return;
    }
    default:
      problem(warp, in, 0, "no collective instruction");
  }
}

void Machine::shuffle(Warp& warp, const Instruction& in) {
  const bool with_predicate = in.results == 2;
  const std::uint32_t* s[4];
  for (int i = 0; i < 4; ++i) s[i] = row(warp, in.slots[in.results + i]);
  std::uint32_t moved[kLanes];
  Mask in_range = 0;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (s[3][lane] != kAllLanes) problem(warp, in, lane, "a mask without some lanes");
    const int b = static_cast<int>(s[1][lane] & 31), clamp = static_cast<int>(s[2][lane] & 31),
              segment = static_cast<int>(s[2][lane] >> 8 & 31);
    const int most = (lane & segment) | (clamp & ~segment), least = lane & segment;
    int from = in.op == Op::kShuffleXor ? lane ^ b : least | (b & ~segment);
    if (from <= most) {
      in_range |= Mask{1} << lane;
    } else {
      from = lane;
    }
    moved[lane] = s[0][from];
  }
  std::copy_n(moved, kLanes, row(warp, in.slots[0]));
  if (with_predicate) *row(warp, in.slots[1]) = in_range;
}

void Machine::multiply(Warp& warp, const Instruction& in) {
  ++counts_.products;
  float a[16][16], b[16][8], c[16][8];
  const auto slot = [&](int i) { return row(warp, in.slots[i]); };
  for (int lane = 0; lane < kLanes; ++lane) {
    const int group = lane >> 2, in_group = lane % 4;
    for (int i = 0; i < 8; ++i) {
      const int r = i < 2 || (4 <= i && i < 6) ? group : group + 8;
      const int k = in_group * 2 + (i & 1) + (i < 4 ? 0 : 8);
      a[r][k] = bf16(slot(4 + i / 2)[lane], i % 2);
    }
    for (int i = 0; i < 4; ++i) b[in_group * 2 + (i & 1) + (i < 2 ? 0 : 8)][group] = bf16(slot(8 + i / 2)[lane], i % 2);
    for (int i = 0; i < 4; ++i)
      c[i < 2 ? group : group + 8][in_group * 2 + (i & 1)] = std::bit_cast<float>(slot(10 + i)[lane]);
  }
  for (int r = 0; r < 16; ++r) {
    float sums[8] = {};
    for (int k = 0; k < 16; ++k)
      for (int n = 0; n < 8; ++n) sums[n] += a[r][k] * b[k][n];
    for (int n = 0; n < 8; ++n) c[r][n] += sums[n];
  }
  for (int lane = 0; lane < kLanes; ++lane)
    for (int i = 0; i < 4; ++i)
      slot(i)[lane] = std::bit_cast<std::uint32_t>(c[i < 2 ? (lane >> 2) : (lane >> 2) + 8][lane % 4 * 2 + (i & 1)]);
}

void Machine::load_matrix(Warp& warp, const Instruction& in) {
  ++counts_.matrix_loads;
  // Lanes 8m .. 8m+7 hold the addresses of matrix m's rows.
  std::uint32_t words[4][kLanes];
  for (int m = 0; m < 4; ++m) {
    int rows_at_bank[8] = {};  // banks in groups of four
    for (int r = 0; r < 8; ++r) {
      const int lane = 8 * m + r;
      const std::uint32_t address = row(warp, in.slots[4])[lane] + static_cast<std::uint32_t>(in.number);
      const std::uint32_t at = read_shared(warp, in, lane, address, 16);
      std::memcpy(&words[m][4 * r], shared_.data() + at, 16);
      ++rows_at_bank[at / 16 % 8];
    }
    counts_.bank_conflicts += *std::max_element(rows_at_bank, rows_at_bank + 8) - 1;
  }
  // Lane 4r + c gets elements 2c, 2c+1 of row r of each; of column r with .trans.
  for (int m = 0; m < 4; ++m)
    for (int lane = 0; lane < kLanes; ++lane) {
      const int r = lane / 4, c = 2 * (lane % 4);
      row(warp, in.slots[m])[lane] = in.op == Op::kLoadMatrix ? words[m][lane]
                                                              : half(words[m][4 * c + r / 2], r % 2) |
                                                                    half(words[m][4 * (c + 1) + r / 2], r % 2) << 16;
    }
}

}  // namespace ttt::ptx
