// What TTT-MLP's kernels share beside ttt_block.h: the hidden layer, the state, sums over the warps.
//
// Warp w owns 32 of the M = 4 K hidden columns of everything, of the state W1^T's rows and W2^T's columns, and 8 of the
// K columns. What is K wide and inner to a product (K W1, G2 W2^T) is read from shared memory by all; what is hidden
// and inner (X2 W2) gives every warp a part [16,K] of the sum. These parts meet in shared memory, always in the same
// order. A matrix [16,16] with hidden inner columns, X2q X2^T, stays in parts too: what it is used for is linear in it.
#pragma once

#include "kernels/cuda/scalar_math.h"
#include "kernels/cuda/ttt_block.h"
#include "kernels/cuda/ttt_mlp_args.h"
#include "kernels/cuda/ttt_mlp_state.h"

namespace ttt::kernels::cuda {

// kTensors, kOperands, kStageCount: as TttBlock has them; kGradients: operands [16,K] that the kernel
// makes; kVectors: pairs of vectors [K] and [M] that it holds.
template <class Element, int kHeadDim, int kTensors, int kOperands, int kStageCount, int kGradients, int kVectors>
struct TttMlpBlock : TttBlock<Element, kHeadDim, kHeadDim / 8, kTensors, kOperands, kStageCount> {
  using Base = TttBlock<Element, kHeadDim, kHeadDim / 8, kTensors, kOperands, kStageCount>;
  using Base::kPlanes, Base::kTiles, Base::row, Base::pair, Base::lane, Base::p, Base::in, Base::shared;
  using typename Base::Operand, typename Base::Own, typename Base::Vector, typename Base::Quarters;
  static constexpr int kWarps = kHeadDim / 8, kHidden = 4 * kHeadDim, kHiddenOwn = 32, kHiddenTiles = 4;
  static constexpr int kMatrix = kHeadDim * kHidden;  // floats of W1, W2
  static_assert(kTiles == 1 && kHiddenOwn * kWarps == kHidden);

  using Hidden = OwnColumns<kHiddenTiles>;
  using HiddenWords = RoundedColumns<kPlanes, kHiddenTiles>;
  using Part = OwnColumns<kHeadDim / 16>;  // half the columns of a warp's part of a sum [16,K]
  template <bool kInRegisters>
  using W1 = FastWeights<kPlanes, kHiddenOwn, kHeadDim, kInRegisters>;  // W1^T, the warp's rows
  template <bool kInRegisters>
  using W2 = FastWeights<kPlanes, kHeadDim, kHiddenOwn, kInRegisters>;  // W2^T, its columns

  static constexpr int kPartsAt = Base::kSharedBytes;
  static constexpr int kGradientsAt = kPartsAt + kWarps * (kHeadDim / 8) * 32 * 16;
  static constexpr int kVectorsAt = kGradientsAt + kGradients * Operand::kBytes;
  static constexpr int kSharedBytes = kVectorsAt + kVectors * (kHeadDim + kHidden) * 4;

  const int warp = thread_in_block() / 32;

  using Base::Base;

  TTT_DEVICE int hidden_column(int tile) const { return kHiddenOwn * warp + 8 * tile + pair; }
  TTT_DEVICE Operand gradient_rows(int which) const {
    return {reinterpret_cast<std::uint16_t*>(shared + kGradientsAt + which * Operand::kBytes)};
  }
  // Own columns as part of an operand that all warps can read.
  TTT_DEVICE void share(const RoundedColumns<kPlanes, kTiles>& own, const Operand& rows) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) rows.set(row + 8 * i, this->column(j), own.word[j][i]);
    }
  }

  // y += the sum over the warps of their parts, which add(part, first) makes: columns 8 first... A barrier must lie
  // between two of these.
  template <class Add>
  TTT_DEVICE void add_parts(Own& y, const Add& add) const {
    struct alignas(16) Accumulator {
      float x[4];
    };
    Accumulator* const parts = reinterpret_cast<Accumulator*>(shared + kPartsAt);
    TTT_UNROLL
    for (int first = 0; first < kHeadDim / 8; first += kHeadDim / 16) {
      Part part = {};
      add(part, first);
      TTT_UNROLL
      for (int n = 0; n < kHeadDim / 16; ++n)
        parts[((first + n) * kWarps + warp) * 32 + lane] = {part.x[n][0], part.x[n][1], part.x[n][2], part.x[n][3]};
    }
    sync_block();
    TTT_UNROLL
    for (int w = 0; w < kWarps; ++w) {
      const Accumulator a = parts[(warp * kWarps + w) * 32 + lane];
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) y.x[0][x] += a.x[x];
    }
  }
  // part += Y W2, Y W1^T, Y hidden;  part += A Y, A [16,16].
  template <bool kInRegisters>
  TTT_DEVICE static void add_product(Part& part, const HiddenWords& y, const W2<kInRegisters>& w2, int first) {
    w2.template add_product_transposed<1>(
        {&part}, [&](int slice, FragmentA<kPlanes>(&a)[1]) { a[0] = y.a(slice); }, first);
  }
  template <bool kInRegisters>
  TTT_DEVICE static void add_product(Part& part, const HiddenWords& y, const W1<kInRegisters>& w1, int first) {
    w1.add_product(
        part, [&](int slice) { return y.a(slice); }, first);
  }
  TTT_DEVICE static void add_product(Part& part, const FragmentA<kPlanes>& a, const Operand& y, int first) {
    TTT_UNROLL
    for (int n = 0; n < kHeadDim / 16; n += 2) {
      FragmentB<kPlanes> columns[2];
      y.b(0, 8 * (first + n), columns);
      multiply_add(part.x[n], a, columns[0]);
      multiply_add(part.x[n + 1], a, columns[1]);
    }
  }

  // --- the hidden layer ---

  template <class Function>
  TTT_DEVICE static Hidden map(const Hidden& x, const Function& function) {
    Hidden y;
    TTT_UNROLL
    for (int i = 0; i < 4 * kHiddenTiles; ++i) y.x[i / 4][i % 4] = function(x.x[i / 4][i % 4]);
    return y;
  }
  TTT_DEVICE static HiddenWords gelu(const Hidden& z) {
    return HiddenWords::of(map(z, [](float x) { return GeluTanh(x).value(); }));
  }
  TTT_DEVICE static Hidden gelu_slope(const Hidden& z) {
    return map(z, [](float x) { return GeluTanh(x).slope(); });
  }
  TTT_DEVICE static Hidden gelu_curvature(const Hidden& z) {
    return map(z, [](float x) { return GeluTanh(x).curvature(); });
  }
  TTT_DEVICE static Hidden sum(const Hidden& x, const Hidden& y) {
    Hidden z;
    TTT_UNROLL
    for (int i = 0; i < 4 * kHiddenTiles; ++i) z.x[i / 4][i % 4] = x.x[i / 4][i % 4] + y.x[i / 4][i % 4];
    return z;
  }
  TTT_DEVICE static Hidden product(const Hidden& x, const Hidden& y) {
    Hidden z;
    TTT_UNROLL
    for (int i = 0; i < 4 * kHiddenTiles; ++i) z.x[i / 4][i % 4] = x.x[i / 4][i % 4] * y.x[i / 4][i % 4];
    return z;
  }

  // --- matrices [16,16] ---

  // A += the products of columns 16 slice.. of X and Y: of X, that fragment.
  TTT_DEVICE static void add_scores(float (&a)[2][4], const FragmentA<kPlanes>& x, const Operand& y, int slice) {
    FragmentB<kPlanes> columns[2];
    y.b_transposed(16 * slice, 0, columns);
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) multiply_add(a[j], x, columns[j]);
  }
  // The sum of all warps' is 1.
  TTT_DEVICE float one_in_parts() const { return warp == 0 ? 1.0f : 0.0f; }
  // A += X2q X2^T, this warp's part.
  TTT_DEVICE static void add_scores(float (&a)[2][4], const HiddenWords& x2q, const HiddenWords& x2) {
    TTT_UNROLL
    for (int slice = 0; slice < kHiddenOwn / 16; ++slice) {
      const FragmentA<kPlanes> rows = x2q.a(slice);
      TTT_UNROLL
      for (int j = 0; j < 2; ++j) multiply_add(a[j], rows, x2.b_transposed(slice, j));
    }
  }
  // x += A Y, A [16,16].
  TTT_DEVICE static void add_product(Hidden& x, const FragmentA<kPlanes>& a, const HiddenWords& y) {
    TTT_UNROLL
    for (int j = 0; j < kHiddenTiles; ++j) multiply_add(x.x[j], a, y.b(j));
  }

  // --- the state ---

  // A vector [M] or [K], of which every warp uses its own columns. In shared memory: the registers are taken.
  template <int n>
  struct OwnVector {
    float* columns;  // from this lane's first on

    TTT_DEVICE Two two(int tile) const { return {columns[8 * tile], columns[8 * tile + 1]}; }
    // The warp goes on when all of it is set.
    template <class Values>
    TTT_DEVICE void set(const Values& values) const {
      if (thread_in_block() % 32 < 4) {
        TTT_UNROLL
        for (int j = 0; j < n; ++j) {
          const Two v = values(j);
          columns[8 * j] = v.x, columns[8 * j + 1] = v.y;
        }
      }
      sync_warp();
    }
    // x = 1 c: every row the vector.
    TTT_DEVICE void broadcast(OwnColumns<n>& x) const {
      TTT_UNROLL
      for (int j = 0; j < n; ++j) {
        const Two v = two(j);
        x.x[j][0] = x.x[j][2] = v.x, x.x[j][1] = x.x[j][3] = v.y;
      }
    }
    // c += the sum of x's rows.
    TTT_DEVICE void add_rows(const OwnColumns<n>& x) const {
      Two sums[n];
      TTT_UNROLL
      for (int j = 0; j < n; ++j) {
        const Two v = two(j);
        sums[j] = {v.x + sum_over_column(x.x[j][0] + x.x[j][2]), v.y + sum_over_column(x.x[j][1] + x.x[j][3])};
      }
      sync_warp();
      set([&](int j) { return sums[j]; });
    }
    TTT_DEVICE void load(const float* source) const {
      set([&](int j) { return Two{source[8 * j], source[8 * j + 1]}; });
    }
    TTT_DEVICE void store(float* destination) const {
      if (thread_in_block() % 32 >= 4) return;
      TTT_UNROLL
      for (int j = 0; j < n; ++j) store_two(destination + 8 * j, two(j).x, two(j).y);
    }
  };
  using HiddenVector = OwnVector<kHiddenTiles>;
  using HeadVector = OwnVector<kTiles>;
  // Memory of a pair of vectors, [K] and [M].
  TTT_DEVICE float* vectors(int which) const {
    return reinterpret_cast<float*>(shared + kVectorsAt) + which * (kHeadDim + kHidden);
  }

  // W1 += K^T Y, c1 += 1^T Y;  W2 += Y^T G2.
  template <bool kInRegisters>
  TTT_DEVICE static void update(W1<kInRegisters>& w1, const HiddenVector& c1, const Operand& k, const HiddenWords& y) {
    w1.template update<1>([&](int m, FragmentA<kPlanes>(&a)[1]) { a[0] = y.a_transposed(m); },
                          [&](int, int col, FragmentB<kPlanes>(&b)[2]) { k.b(0, col, b); });
    c1.add_rows(y.values());
  }
  template <bool kInRegisters>
  TTT_DEVICE static void update(W2<kInRegisters>& w2, const Operand& g2, const HiddenWords& y) {
    w2.template update<1>(
        [&](int m, FragmentA<kPlanes>(&a)[1]) { a[0] = g2.a_transposed(16 * m, 0); },
        [&](int, int col, FragmentB<kPlanes>(&b)[2]) { b[0] = y.b(col / 8), b[1] = y.b(col / 8 + 1); });
  }

  // The state and places in memory, W1 [K,M] and W2 [M,K].
  TTT_DEVICE static int place1(int r, int col, int of_warp) { return col * kHidden + kHiddenOwn * of_warp + r; }
  TTT_DEVICE static int place2(int r, int col, int of_warp) { return (kHiddenOwn * of_warp + col) * kHeadDim + r; }
  template <bool kInRegisters>
  struct State {
    W1<kInRegisters> w1;
    HiddenVector c1;
    W2<kInRegisters> w2;
    HeadVector c2;

    // vectors: memory of both; w1_at, w2_at: of a matrix that is not in registers.
    TTT_DEVICE State(const TttMlpBlock& block, float* w1_at, float* w2_at, float* vectors)
        : w1(w1_at), c1{vectors + kHeadDim + block.hidden_column(0)}, w2(w2_at), c2{vectors + block.column(0)} {}
  };
  template <class AnyState>
  TTT_DEVICE void set_zero(AnyState& s) const {
    s.w1.for_each([](float& x, int, int) { x = 0; });
    s.w2.for_each([](float& x, int, int) { x = 0; });
    s.c1.set([](int) { return Two{0, 0}; });
    s.c2.set([](int) { return Two{0, 0}; });
  }
  template <class AnyState>
  TTT_DEVICE void load(const TttMlpWeights<const float>& from, AnyState& s) const {
    s.w1.for_each([&](float& x, int r, int col) { x = from.w1[place1(r, col, warp)]; });
    s.w2.for_each([&](float& x, int r, int col) { x = from.w2[place2(r, col, warp)]; });
    s.c1.load(from.b1 + hidden_column(0));
    s.c2.load(from.b2 + this->column(0));
  }
  template <class AnyState>
  TTT_DEVICE void store(AnyState& s, const TttMlpWeights<float>& to) const {
    s.w1.for_each([&](const float& x, int r, int col) { to.w1[place1(r, col, warp)] = x; });
    s.w2.for_each([&](const float& x, int r, int col) { to.w2[place2(r, col, warp)] = x; });
    s.c1.store(to.b1 + hidden_column(0));
    s.c2.store(to.b2 + this->column(0));
  }
  // Weights number `index` of an array of every head's or p's.
  template <class T>
  TTT_DEVICE static TttMlpWeights<T> weights_of(const TttMlpWeights<T>& all, std::int64_t index) {
    return {all.w1 + index * (kHeadDim * kHidden), all.b1 + index * kHidden, all.w2 + index * (kHidden * kHeadDim),
            all.b2 + index * kHeadDim};
  }
  // Those after a segment, in states [B*H,segments,2 K*M + M + K].
  template <class T>
  TTT_DEVICE TttMlpWeights<T> weights_after(T* states, std::int64_t segment, std::int64_t mini_batches) const {
    const std::int64_t segments = (this->whole_mini_batches() + mini_batches - 1) / mini_batches;
    T* const at = states + (p() * segments + segment) * (2 * kHeadDim * kHidden + kHidden + kHeadDim);
    return {at, at + kHeadDim * kHidden, at + kHeadDim * kHidden + kHidden, at + 2 * kHeadDim * kHidden + kHidden};
  }

  // --- a hidden matrix [16,32] as it is kept for later: in bf16 rounded, in fp32 as it is ---

  using Kept = std::conditional_t<kPlanes == 1, HiddenWords, Hidden>;

  TTT_DEVICE static Kept kept(const Hidden& x) {
    if constexpr (kPlanes == 1) {
      return HiddenWords::of(x);
    } else {
      return x;
    }
  }
  // What is computed from the values is computed anew each time, and takes no registers beside the kept ones.
  TTT_DEVICE static Hidden values_of(const Kept& kept) {
    if constexpr (kPlanes == 1) {
      HiddenWords words;
      TTT_UNROLL
      for (int i = 0; i < 2 * kHiddenTiles; ++i)
        words.word[i / 2][i % 2].plane[0] =
            static_cast<std::uint32_t>(recomputed(static_cast<int>(kept.word[i / 2][i % 2].plane[0])));
      return words.values();
    } else {
      return kept;
    }
  }
  TTT_DEVICE static HiddenWords operand_of(const Kept& kept) {
    if constexpr (kPlanes == 1) {
      return kept;
    } else {
      return HiddenWords::of(kept);
    }
  }

  // In memory a thread's 16 values stand together. place: in elements, of the block's matrix.
  struct alignas(16) Bytes16 {
    std::conditional_t<kPlanes == 1, std::uint32_t, float> x[4];
  };
  static constexpr int kKeptElements = 16 * kHidden;
  TTT_DEVICE static Bytes16* own_place(const Element* matrix) {
    return reinterpret_cast<Bytes16*>(const_cast<Element*>(matrix)) + thread_in_block() * kHiddenTiles / (3 - kPlanes);
  }
  TTT_DEVICE static void store_kept(const Kept& kept, Element* matrix) {
    Bytes16* const at = own_place(matrix);
    TTT_UNROLL
    for (int i = 0; i < kHiddenTiles * kPlanes / 2; ++i) {
      if constexpr (kPlanes == 1) {
        at[i] = {kept.word[2 * i][0].plane[0], kept.word[2 * i][1].plane[0], kept.word[2 * i + 1][0].plane[0],
                 kept.word[2 * i + 1][1].plane[0]};
      } else {
        at[i] = {kept.x[i][0], kept.x[i][1], kept.x[i][2], kept.x[i][3]};
      }
    }
  }
  TTT_DEVICE static Kept load_kept(const Element* matrix) {
    const Bytes16* const at = own_place(matrix);
    Kept kept;
    TTT_UNROLL
    for (int i = 0; i < kHiddenTiles * kPlanes / 2; ++i) {
      const Bytes16 x = at[i];
      TTT_UNROLL
      for (int k = 0; k < 4; ++k) {
        if constexpr (kPlanes == 1) {
          kept.word[2 * i + k / 2][k % 2].plane[0] = x.x[k];
        } else {
          kept.x[i][k] = x.x[k];
        }
      }
    }
    return kept;
  }
  // Z1 of a mini-batch, of all [B*H,mini-batches,C*M].
  template <class T>
  TTT_DEVICE T* z1_of(T* all, std::int64_t m) const {
    return all + (p() * this->mini_batches() + m) * kKeptElements;
  }
};

}  // namespace ttt::kernels::cuda
