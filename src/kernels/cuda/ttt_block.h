// What the TTT kernels share: one block of kWarps warps works on one sequence and head, mini-batch after mini-batch.
// Equations: ../reference/ttt_reference.h.
//
// A mini-batch is one tile of 16 rows. Warp w owns K / kWarps columns of what is K wide; only row statistics cross
// warps. Q K^T is computed by every warp. Tensors of the mini-batches ahead are on their way by asynchronous copies.
#pragma once

#include "kernels/cuda/rows.h"
#include "kernels/cuda/ttt_args.h"

namespace ttt::kernels::cuda {

// kTensors of Element are staged; the first kOperands of them, q and k at places 0 and 1, are operands of products.
template <class Element, int kHeadDim, int kWarps, int kTensors, int kOperands, int kStageCount>
struct TttBlock {
  static constexpr int kPlanes = sizeof(Element) == 2 ? 1 : 2;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kStages = kStageCount;     // mini-batches staged
  static constexpr int kOwn = kHeadDim / kWarps;  // columns of a warp
  static constexpr int kTiles = kOwn / 8;         // accumulators of a warp's part of 16 rows
  static_assert(kOwn % 8 == 0 && kHeadDim % kWarps == 0);

  using Rows = RowTile<Element, kHeadDim>;
  using Operand = OperandTile<kPlanes, kHeadDim>;
  using Exchange = RowExchange<kWarps>;
  using Own = OwnColumns<kTiles>;
  using Vector = float[kTiles][2];  // of the own columns, the same in all eight rows of lanes

  // Shared memory: the stages; in fp32 the operands as planes; the exchange; gain, bias and scale; where the head's
  // rows begin (in registers that would be two a tensor); then what a kernel adds.
  static constexpr int kStageBytes = kTensors * Rows::kBytes;
  static constexpr int kOperandsAt = kStages * kStageBytes;
  static constexpr int kExchangeAt = kOperandsAt + (kPlanes == 1 ? 0 : kOperands * Operand::kBytes);
  static constexpr int kNormAt = kExchangeAt + Exchange::kBytes;
  static constexpr int kHeadAt = kNormAt + (2 * kHeadDim + kMiniBatch) * 4;
  static constexpr int kSharedBytes = kHeadAt + 16 * 8;

  const TttInputs<Element>& in;
  char* shared;
  const int lane = thread_in_block() % 32, first_column = thread_in_block() / 32 * kOwn;
  const int row = lane / 4, pair = lane % 4 * 2;  // this lane's place in a fragment
  Exchange exchange;

  TTT_DEVICE TttBlock(const TttInputs<Element>& inputs, char* memory)
      : in(inputs), shared(memory), exchange(reinterpret_cast<float*>(memory + kExchangeAt)) {
    float* norm = reinterpret_cast<float*>(shared + kNormAt);
    for (int i = thread_in_block(); i < kHeadDim; i += kThreads)
      norm[i] = in.gain[head() * kHeadDim + i], norm[kHeadDim + i] = in.bias[head() * kHeadDim + i];
    if (thread_in_block() < kMiniBatch) norm[2 * kHeadDim + lane] = in.scale[lane];
  }

  TTT_DEVICE std::int64_t p() const { return block_in_grid(); }
  TTT_DEVICE int head() const { return block_in_grid() % in.heads; }
  template <class T>
  TTT_DEVICE T* rows_of_head(const HeadRows<T>& x) const {
    return x.data + block_in_grid() / in.heads * x.sequence + head() * x.head;
  }
  // What Head, a struct of at most 16 pointers, has in shared memory.
  template <class Head>
  TTT_DEVICE Head& pointers() const {
    static_assert(sizeof(Head) <= 16 * 8);
    return *reinterpret_cast<Head*>(shared + kHeadAt);
  }
  TTT_DEVICE std::int64_t whole_mini_batches() const { return in.time / kMiniBatch; }
  TTT_DEVICE std::int64_t mini_batches() const { return (in.time + kMiniBatch - 1) / kMiniBatch; }
  // Rows of a mini-batch, not more than C; none or fewer beyond the end.
  TTT_DEVICE std::int64_t rows_in(std::int64_t mini_batch) const {
    const std::int64_t rows = in.time - mini_batch * kMiniBatch;
    return rows < kMiniBatch ? rows : kMiniBatch;
  }
  TTT_DEVICE int column(int tile) const { return first_column + 8 * tile + pair; }
  // s of a row.
  TTT_DEVICE float scale(int of_row) const {
    return reinterpret_cast<const float*>(shared + kNormAt)[2 * kHeadDim + of_row];
  }
  // Of the inner LayerNorm, at accumulator place x of a tile.
  TTT_DEVICE float gain(int tile, int x) const {
    return reinterpret_cast<const float*>(shared + kNormAt)[column(tile) + x % 2];
  }
  TTT_DEVICE float bias(int tile, int x) const {
    return reinterpret_cast<const float*>(shared + kNormAt)[kHeadDim + column(tile) + x % 2];
  }

  // --- staging ---

  TTT_DEVICE Rows staged(std::int64_t mini_batch, int tensor) const {
    return {reinterpret_cast<Element*>(shared + mini_batch % kStages * kStageBytes + tensor * Rows::kBytes)};
  }
  // Starts copying a mini-batch's rows of `source`, which begins at the head's first row.
  TTT_DEVICE void fetch(std::int64_t mini_batch, int tensor, const Element* source, std::int64_t step) const {
    staged(mini_batch, tensor)
        .template fetch<kThreads>(source + mini_batch * kMiniBatch * step, step, rows_in(mini_batch));
  }
  // sigma of row lane % 16 of a mini-batch; 0 where there is no such row. sigma: the head's first.
  TTT_DEVICE float sigma_of(const float* sigma, std::int64_t mini_batch) const {
    const std::int64_t t = mini_batch * kMiniBatch + lane % kMiniBatch;
    return t >= 0 && t < in.time ? sigma[t * in.sigma.row] : 0.0f;
  }
  // A staged tensor as an operand of products: itself, or in fp32 its planes, which split() made.
  TTT_DEVICE Operand operand(std::int64_t mini_batch, int tensor) const {
    if constexpr (kPlanes == 1) {
      return {staged(mini_batch, tensor).data};
    } else {
      return {reinterpret_cast<std::uint16_t*>(shared + kOperandsAt + tensor * Operand::kBytes)};
    }
  }
  TTT_DEVICE void split(std::int64_t mini_batch) const {
    if constexpr (kPlanes == 2) {
      static_assert(kTileRows * kHeadDim / 2 % kThreads == 0);
      const int thread = recomputed(thread_in_block());
      TTT_UNROLL
      for (int first = 0; first < kTileRows * kHeadDim / 2; first += kThreads) {
        const int i = first + thread, r = i / (kHeadDim / 2), col = i % (kHeadDim / 2) * 2;
        TTT_UNROLL
        for (int tensor = 0; tensor < kOperands; ++tensor) {
          const Two v = staged(mini_batch, tensor).two(r, col);
          operand(mini_batch, tensor).set(r, col, round_to_word<kPlanes>(v.x, v.y));
        }
      }
      sync_block();
    }
  }

  // --- vectors and rows in memory ---

  TTT_DEVICE void load(const float* source, Vector& x) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) x[j][0] = source[column(j)], x[j][1] = source[column(j) + 1];
  }
  TTT_DEVICE void store(const Vector& x, float* destination) const {
    if (row != 0) return;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) store_two(destination + column(j), x[j][0], x[j][1]);
  }
  // The block's part of a mini-batch's rows; head: the head's first row.
  TTT_DEVICE void store_rows(Element* head, std::int64_t step, std::int64_t mini_batch, const Own& x) const {
    TTT_UNROLL
    for (int i = 0; i < 2; ++i) {
      if (row + 8 * i >= rows_in(mini_batch)) continue;
      Element* at = head + (mini_batch * kMiniBatch + row + 8 * i) * step;
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) store_two(at + column(j), x.x[j][2 * i], x.x[j][2 * i + 1]);
    }
  }

  // --- products ---

  // x = 1 c: every row the vector.
  template <int n>
  TTT_DEVICE static void broadcast(const float (&c)[n][2], OwnColumns<n>& x) {
    TTT_UNROLL
    for (int j = 0; j < n; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) x.x[j][i] = c[j][i % 2];
    }
  }
  // x (.) E (.) M of a tile [16,16] in two accumulators: row i times s_i, column j times sigma_j, 0 above the diagonal.
  TTT_DEVICE void apply_rates(float (&x)[2][4], float sigma) const {
    const int below = recomputed(row - pair);
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const float rate[2] = {shuffle(sigma, 8 * j + pair), shuffle(sigma, 8 * j + pair + 1)};
      TTT_UNROLL
      for (int i = 0; i < 4; ++i)
        x[j][i] = 8 * j + i % 2 - i / 2 * 8 <= below ? scale(row + i / 2 * 8) * rate[i % 2] * x[j][i] : 0.0f;
    }
  }
  // A tile, rounded: words of its 8 x 8 quarters.
  using Quarters = RoundedColumns<kPlanes, 2>;
  TTT_DEVICE static Quarters round(const float (&x)[2][4]) {
    Quarters out;
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) out.word[j][i] = round_to_word<kPlanes>(x[j][2 * i], x[j][2 * i + 1]);
    }
    return out;
  }
  // -N = -M (.) E (.) (A + 1); `one` is 0 in all but one of the parts of A.
  TTT_DEVICE Quarters minus_dual_mask(const float (&a)[2][4], float sigma, float one = 1) const {
    float n[2][4];
    TTT_UNROLL
    for (int i = 0; i < 8; ++i) n[i / 4][i % 4] = -(a[i / 4][i % 4] + one);
    apply_rates(n, sigma);
    return round(n);
  }
  // D = gain xh + bias - (V - K) at accumulator place x of a tile.
  TTT_DEVICE float difference(const Rows& k, const Rows& v, const Own& xh, int tile, int x) const {
    const Two key = k.two(row + x / 2 * 8, column(tile)), value = v.two(row + x / 2 * 8, column(tile));
    return gain(tile, x) * xh.x[tile][x] + bias(tile, x) - (x % 2 == 0 ? value.x - key.x : value.y - key.y);
  }

  // z: Z -> G = r * P(H; xh), H = gain (.) (gain xh + bias - (V - K)).
  TTT_DEVICE void inner_gradient(const Rows& k, const Rows& v, Own& z) {
    float r[1][2], sums[2][2];
    normalise<kHeadDim, kTiles>(exchange, r, z);
    Own h;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) h.x[j][x] = gain(j, x) * difference(k, v, z, j, x);
    }
    sum_rows<2, kTiles>(exchange, sums,
                        [&](int j, int x, float(&own)[2]) { own[0] += h.x[j][x], own[1] += h.x[j][x] * z.x[j][x]; });
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x)
        z.x[j][x] = project<kHeadDim>(h.x[j][x], z.x[j][x], r[0][x / 2], sums[x / 2][0], sums[x / 2][1]);
    }
  }
  // Of columns 8 j + pair + x, summed over the lanes that hold them: to lane t (mod 16) that of column t.
  TTT_DEVICE float sum_by_column(const float (&x)[2][2]) const {
    float of[2][2];
    TTT_UNROLL
    for (int i = 0; i < 4; ++i) of[i / 2][i % 2] = shuffle(sum_over_column(x[i / 2][i % 2]), lane % 8 / 2);
    const float low = lane % 2 == 0 ? of[0][0] : of[0][1], high = lane % 2 == 0 ? of[1][0] : of[1][1];
    return lane % 16 < 8 ? low : high;
  }
  // Of rows `row` and `row` + 8, the same in a quad: to lane t (mod 16) that of row t.
  TTT_DEVICE float by_row(float low, float high) const {
    const float upper = shuffle(low, lane % 8 * 4), lower = shuffle(high, lane % 8 * 4);
    return lane % 16 < 8 ? upper : lower;
  }
  // The sum over lanes 0..15, and again over 16..31.
  TTT_DEVICE static float sum_over_rows(float x) {
    TTT_UNROLL
    for (int mask = 1; mask < kMiniBatch; mask *= 2) x += shuffle_xor(x, mask);
    return x;
  }
  // e of rows `row` and `row` + 8.
  TTT_DEVICE void last_rates(float sigma, float (&e)[2]) const {
    e[0] = scale(kMiniBatch - 1) * shuffle(sigma, row), e[1] = scale(kMiniBatch - 1) * shuffle(sigma, row + 8);
  }
};

}  // namespace ttt::kernels::cuda
