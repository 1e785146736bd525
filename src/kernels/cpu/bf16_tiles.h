// Products of packed bf16 blocks in tiles of 16 x 16 sums (AMX). Included by products_bf16.h.
//
// TTT_TILES names the tiles: AmxTiles are the processor's registers (amx_tiles.h); the tests put arrays in their place
// that follow the instructions' definition, so that all of this runs on any machine. Tiles t of 0..7:
//     zero<t>(); load<t>(first row, bytes to the next); store<t>(...): 16 rows of 64 bytes
//     dot<c, a, b>(): c[i][j] += sum over p of a[i][p].low b[p][j].low + a[i][p].high b[p][j].high
//     Session: sets the tiles up on this thread, and puts back what was there
#pragma once

namespace ttt::kernels {
namespace {

struct Engine {
  static constexpr bool kPairsOfRowTogether = true;
  using Tiles = TTT_TILES;
  using Session = Tiles::Session;

  // C [rows,cols] (+)= A B over `pairs` pairs of terms (operands are zero up to a multiple of 16); cols a multiple of
  // 16. Blocks of 2 x 2 tiles of sums: 0 1 / 2 3; of A: 4, 5; of B: 6, 7.
  static void multiply(std::int64_t rows, std::int64_t cols, std::int64_t pairs, PackedLeft a, const Pair* b, float* c,
                       std::int64_t c_row, bool add) {
    for (std::int64_t j = 0; j < cols; j += 32) {
      const bool two_cols = j + 16 < cols;
      for (std::int64_t i = 0; i < rows; i += 32) {
        const bool two_rows = i + 16 < rows;
        Sums s00(c + i * c_row + j, c_row, rows - i), s01(s00.data + 16, c_row, rows - i),
            s10(s00.data + 16 * c_row, c_row, rows - i - 16), s11(s10.data + 16, c_row, rows - i - 16);
        begin<0>(s00, add);
        if (two_cols) begin<1>(s01, add);
        if (two_rows) begin<2>(s10, add);
        if (two_rows && two_cols) begin<3>(s11, add);
        for (std::int64_t p = 0; p < pairs; p += 16) {
          const Pair *a_i = a.words + i * a.row + p, *b_j = b + p * kBlockCols + j;
          Tiles::template load<4>(a_i, 4 * a.row);
          Tiles::template load<6>(b_j, 4 * kBlockCols);
          Tiles::template dot<0, 4, 6>();
          if (two_cols) {
            Tiles::template load<7>(b_j + 16, 4 * kBlockCols);
            Tiles::template dot<1, 4, 7>();
          }
          if (two_rows) {
            Tiles::template load<5>(a_i + 16 * a.row, 4 * a.row);
            Tiles::template dot<2, 5, 6>();
            if (two_cols) Tiles::template dot<3, 5, 7>();
          }
        }
        end<0>(s00);
        if (two_cols) end<1>(s01);
        if (two_rows) end<2>(s10);
        if (two_rows && two_cols) end<3>(s11);
      }
    }
  }

 private:
  // A tile of C; its last rows may lie beyond the matrix.
  struct Sums {
    Sums(float* first, std::int64_t to_next, std::int64_t left) : data(first), row(to_next), rows(left) {}
    bool whole() const { return rows >= 16; }
    float* data;
    std::int64_t row, rows;
  };

  template <int t>
  static void begin(const Sums& sums, bool add) {
    if (!add) return Tiles::template zero<t>();
    if (sums.whole()) return Tiles::template load<t>(sums.data, 4 * sums.row);
    alignas(64) float square[16 * 16] = {};
    for (std::int64_t i = 0; i < sums.rows; ++i) save(square + 16 * i, load<Lanes<float>>(sums.data + i * sums.row));
    Tiles::template load<t>(square, 64);
  }

  template <int t>
  static void end(const Sums& sums) {
    if (sums.whole()) return Tiles::template store<t>(sums.data, 4 * sums.row);
    alignas(64) float square[16 * 16];
    Tiles::template store<t>(square, 64);
    for (std::int64_t i = 0; i < sums.rows; ++i) save(sums.data + i * sums.row, load<Lanes<float>>(square + 16 * i));
  }
};

}  // namespace
}  // namespace ttt::kernels
