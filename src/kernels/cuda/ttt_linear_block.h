// What TTT-Linear's kernels share: one block of kWarps warps works on one sequence and head, mini-batch after
// mini-batch. Equations: ../reference/ttt_reference.h.
//
// Warp w owns K / kWarps output columns of everything: of Z, G, Zq and of the state. The state stands transposed in
// accumulators, S = W^T with S's rows the warp's columns: an accumulator of S is, rounded, the B fragment of K W (see
// warp.h), so that a product with W takes it from the registers. A mini-batch is one tile of 16 rows. Q K^T is computed
// by every warp; only row statistics cross warps. Tensors of the mini-batches ahead are on their way by asynchronous
// copies.
#pragma once

#include "kernels/cuda/rows.h"
#include "kernels/cuda/ttt_args.h"

namespace ttt::kernels::cuda {

// kTensors of Element are staged; the first kOperands of them, q and k at places 0 and 1, are operands of products.
template <class Element, int kHeadDim, int kWarps, int kTensors, int kOperands, int kStageCount>
struct TttLinearBlock {
  static constexpr int kPlanes = sizeof(Element) == 2 ? 1 : 2;
  static constexpr int kThreads = 32 * kWarps;
  static constexpr int kStages = kStageCount;     // mini-batches staged
  static constexpr int kOwn = kHeadDim / kWarps;  // columns of a warp
  static constexpr int kTiles = kOwn / 8;         // accumulators of a warp's part of 16 rows
  static_assert(kOwn % 16 == 0 && kHeadDim % kWarps == 0);

  using Rows = RowTile<Element, kHeadDim>;
  using Operand = OperandTile<kPlanes, kHeadDim>;
  using Exchange = RowExchange<kWarps>;
  using Own = OwnColumns<kTiles>;
  using State = float[kOwn / 16][kHeadDim / 8][4];  // tiles of S: rows 16 m.. of the own columns, inner columns 8 n..
  using Vector = float[kTiles][2];                  // of the own columns, the same in all eight rows of lanes

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

  TTT_DEVICE TttLinearBlock(const TttInputs<Element>& inputs, char* memory)
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

  // --- vectors and states in memory ---

  TTT_DEVICE void load(const float* source, Vector& x) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) x[j][0] = source[column(j)], x[j][1] = source[column(j) + 1];
  }
  TTT_DEVICE void store(const Vector& x, float* destination) const {
    if (row != 0) return;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) store_two(destination + column(j), x[j][0], x[j][1]);
  }
  // Calls body(value, place in W [K,K]) for every value of a state that this lane holds.
  template <class S, class Body>
  TTT_DEVICE void for_each(S& state, const Body& body) const {
    TTT_UNROLL
    for (int m = 0; m < kOwn / 16; ++m) {
      TTT_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        TTT_UNROLL
        for (int x = 0; x < 4; ++x)
          body(state[m][n][x], (8 * n + pair + x % 2) * kHeadDim + first_column + 16 * m + row + x / 2 * 8);
      }
    }
  }
  TTT_DEVICE void load(const float* w, State& state) const {
    for_each(state, [&](float& x, int place) { x = w[place]; });
  }
  TTT_DEVICE void store(const State& state, float* w) const {
    for_each(state, [&](const float& x, int place) { w[place] = x; });
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

  // The B fragment of W, columns of tile j, inner rows 16 slice..
  TTT_DEVICE static FragmentB<kPlanes> fragment_of(const State& state, int j, int slice) {
    const float(&low)[4] = state[j / 2][2 * slice], (&high)[4] = state[j / 2][2 * slice + 1];
    const int half = j % 2 * 2;
    return fragment_b(round_to_word<kPlanes>(low[half], low[half + 1]),
                      round_to_word<kPlanes>(high[half], high[half + 1]));
  }
  // x = 1 c: every row the vector.
  TTT_DEVICE static void broadcast(const Vector& c, Own& x) {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) x.x[j][i] = c[j][i % 2];
    }
  }
  // Z = K W + c, Zq = Q W + c (own columns), A = Q K^T.
  TTT_DEVICE void products(const Operand& q, const Operand& k, const State& w, const Vector& c, Own& z, Own& zq,
                           float (&a)[2][4]) const {
    broadcast(c, z);
    broadcast(c, zq);
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) a[j][x] = 0;
    }
    TTT_UNROLL
    for (int slice = 0; slice < kHeadDim / 16; ++slice) {
      const FragmentA<kPlanes> k_rows = k.a(0, 16 * slice), q_rows = q.a(0, 16 * slice);
      FragmentB<kPlanes> k_columns[2];
      k.b_transposed(16 * slice, 0, k_columns);
      TTT_UNROLL
      for (int j = 0; j < 2; ++j) multiply_add(a[j], q_rows, k_columns[j]);
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) {
        const FragmentB<kPlanes> columns = fragment_of(w, j, slice);
        multiply_add(z.x[j], k_rows, columns);
        multiply_add(zq.x[j], q_rows, columns);
      }
    }
  }

  // x (.) E (.) M of a tile [16,16] in two accumulators: row i times s_i, column j times sigma_j, 0 above the diagonal.
  TTT_DEVICE void apply_rates(float (&x)[2][4], float sigma) const {
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const float rate[2] = {shuffle(sigma, 8 * j + pair), shuffle(sigma, 8 * j + pair + 1)};
      TTT_UNROLL
      for (int i = 0; i < 4; ++i)
        x[j][i] = 8 * j + pair + i % 2 <= row + i / 2 * 8 ? scale(row + i / 2 * 8) * rate[i % 2] * x[j][i] : 0.0f;
    }
  }
  // A tile, rounded: words of its 8 x 8 quarters, [column half][row half], and these as an A fragment, of it or of its
  // transpose.
  struct Quarters {
    Word<kPlanes> word[2][2];
    TTT_DEVICE FragmentA<kPlanes> a() const { return fragment_a(word[0][0], word[0][1], word[1][0], word[1][1]); }
    TTT_DEVICE FragmentA<kPlanes> a_transposed() const {
      return fragment_a(transpose(word[0][0]), transpose(word[1][0]), transpose(word[0][1]), transpose(word[1][1]));
    }
  };
  TTT_DEVICE static Quarters round(const float (&x)[2][4]) {
    Quarters out;
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) out.word[j][i] = round_to_word<kPlanes>(x[j][2 * i], x[j][2 * i + 1]);
    }
    return out;
  }
  // -N = -M (.) E (.) (A + 1)
  TTT_DEVICE Quarters minus_dual_mask(const float (&a)[2][4], float sigma) const {
    float n[2][4];
    TTT_UNROLL
    for (int i = 0; i < 8; ++i) n[i / 4][i % 4] = -(a[i / 4][i % 4] + 1);
    apply_rates(n, sigma);
    return round(n);
  }
  // D = gain xh + bias - (V - K) at accumulator place x of a tile.
  TTT_DEVICE float difference(const Rows& k, const Rows& v, const Own& xh, int tile, int x) const {
    const Two key = k.two(row + x / 2 * 8, column(tile)), value = v.two(row + x / 2 * 8, column(tile));
    return gain(tile, x) * xh.x[tile][x] + bias(tile, x) - (x % 2 == 0 ? value.x - key.x : value.y - key.y);
  }

  // Rows of a state += A X, X a tile of 16 tokens.
  TTT_DEVICE static void add_product(float (&x)[kHeadDim / 8][4], const FragmentA<kPlanes>& a, const Operand& tokens) {
    TTT_UNROLL
    for (int n = 0; n < kHeadDim / 16; ++n) {
      FragmentB<kPlanes> columns[2];
      tokens.b(0, 16 * n, columns);
      multiply_add(x[2 * n], a, columns[0]);
      multiply_add(x[2 * n + 1], a, columns[1]);
    }
  }
  // S += E^T K and c += 1^T E for E = e G or -e G (own columns), rounded words [tile][row half].
  TTT_DEVICE void update(const Operand& k, Word<kPlanes> (&eg)[kTiles][2], State& state, Vector& c) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      const Two upper = values_of(eg[j][0]), lower = values_of(eg[j][1]);
      c[j][0] += sum_over_column(upper.x + lower.x), c[j][1] += sum_over_column(upper.y + lower.y);
      eg[j][0] = transpose(eg[j][0]), eg[j][1] = transpose(eg[j][1]);
    }
    TTT_UNROLL
    for (int i = 0; i < kOwn / 16; ++i)
      add_product(state[i], fragment_a(eg[2 * i][0], eg[2 * i + 1][0], eg[2 * i][1], eg[2 * i + 1][1]), k);
  }
  // e of rows `row` and `row` + 8.
  TTT_DEVICE void last_rates(float sigma, float (&e)[2]) const {
    e[0] = scale(kMiniBatch - 1) * shuffle(sigma, row), e[1] = scale(kMiniBatch - 1) * shuffle(sigma, row + 8);
  }
};

}  // namespace ttt::kernels::cuda
