// What TTT-MLP's kernels share beside ttt_block.h: the hidden layer, the state, sums over the warps.
//
// Warp w owns 32 of the M = 4 K hidden columns of everything, of the state W1^T's rows and W2^T's columns, and 8 of the
// K columns. What is K wide and inner to a product (K W1, G2 W2^T) is read from shared memory by all; what is hidden
// and inner (X2 W2) gives every warp a part [16,K] of the sum. These parts meet in shared memory, always in the same
// order. A matrix [16,16] with hidden inner columns, X2q X2^T, stays in parts too: what it is used for is linear in it.
#pragma once

#include "kernels/cuda/ttt_block.h"
#include "kernels/cuda/ttt_mlp_args.h"
#include "kernels/cuda/ttt_mlp_state.h"

namespace ttt::kernels::cuda {

// phi(z) = z/2 (1 + t), t = tanh(u), u = k (z + a z^3), and what its derivatives need.
struct Gelu {
  static constexpr float kK = 0.79788456f, kA = 0.044715f;
  float z, t, du;

  TTT_DEVICE explicit Gelu(float of)
      : z(of),
        t(1 - 2 * reciprocal(1 + exponential(2 * kK * of * (1 + kA * of * of)))),
        du(kK * (1 + 3 * kA * of * of)) {}
  TTT_DEVICE float value() const { return 0.5f * z * (1 + t); }
  TTT_DEVICE float first() const { return 0.5f * (1 + t) + 0.5f * z * (1 - t * t) * du; }
  TTT_DEVICE float second() const { return (1 - t * t) * (du + 0.5f * z * (6 * kK * kA * z - 2 * t * du * du)); }
};

// kTensors, kOperands, kStageCount: as TttBlock has them; kGradients: operands [16,K] that the kernel makes.
template <class Element, int kHeadDim, bool kInRegisters, int kTensors, int kOperands, int kStageCount, int kGradients>
struct TttMlpBlock : TttBlock<Element, kHeadDim, kHeadDim / 8, kTensors, kOperands, kStageCount> {
  using Base = TttBlock<Element, kHeadDim, kHeadDim / 8, kTensors, kOperands, kStageCount>;
  using Base::kPlanes, Base::kTiles, Base::row, Base::pair, Base::lane, Base::p, Base::in, Base::shared;
  using typename Base::Operand, typename Base::Own, typename Base::Vector, typename Base::Quarters;
  static constexpr int kWarps = kHeadDim / 8, kHidden = 4 * kHeadDim, kHiddenOwn = 32, kHiddenTiles = 4;
  static_assert(kTiles == 1 && kHiddenOwn * kWarps == kHidden);

  using Hidden = OwnColumns<kHiddenTiles>;
  using HiddenWords = RoundedColumns<kPlanes, kHiddenTiles>;
  using HiddenVector = float[kHiddenTiles][2];
  using Part = OwnColumns<kHeadDim / 8>;                                // of a sum [16,K] over the warps
  using W1 = FastWeights<kPlanes, kHiddenOwn, kHeadDim, kInRegisters>;  // W1^T, the warp's rows
  using W2 = FastWeights<kPlanes, kHeadDim, kHiddenOwn, kInRegisters>;  // W2^T, its columns

  static constexpr int kPartsAt = Base::kSharedBytes;
  static constexpr int kGradientsAt = kPartsAt + kWarps * (kHeadDim / 8) * 32 * 16;
  static constexpr int kSharedBytes = kGradientsAt + kGradients * Operand::kBytes;

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

  // own += the sum of all warps' parts. A barrier must lie between two of these.
  TTT_DEVICE void add_parts(const Part& part, Own& own) const {
    struct alignas(16) Accumulator {
      float x[4];
    };
    Accumulator* const parts = reinterpret_cast<Accumulator*>(shared + kPartsAt);
    TTT_UNROLL
    for (int n = 0; n < kHeadDim / 8; ++n)
      parts[(n * kWarps + warp) * 32 + lane] = {part.x[n][0], part.x[n][1], part.x[n][2], part.x[n][3]};
    sync_block();
    TTT_UNROLL
    for (int w = 0; w < kWarps; ++w) {
      const Accumulator a = parts[(warp * kWarps + w) * 32 + lane];
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) own.x[0][x] += a.x[x];
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
    return HiddenWords::of(map(z, [](float x) { return Gelu(x).value(); }));
  }
  TTT_DEVICE static Hidden gelu_slope(const Hidden& z) {
    return map(z, [](float x) { return Gelu(x).first(); });
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
  TTT_DEVICE static void add_product(Part& x, const FragmentA<kPlanes>& a, const Operand& y) {
    TTT_UNROLL
    for (int n = 0; n < kHeadDim / 8; n += 2) {
      FragmentB<kPlanes> columns[2];
      y.b(0, 8 * n, columns);
      multiply_add(x.x[n], a, columns[0]);
      multiply_add(x.x[n + 1], a, columns[1]);
    }
  }

  // --- the state ---

  // c += the sum of x's rows.
  template <int n>
  TTT_DEVICE static void add_rows(float (&c)[n][2], const OwnColumns<n>& x) {
    TTT_UNROLL
    for (int j = 0; j < n; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) c[j][i] += sum_over_column(x.x[j][i] + x.x[j][2 + i]);
    }
  }
  // W1 += K^T Y, c1 += 1^T Y;  W2 += Y^T G2.
  TTT_DEVICE static void update(W1& w1, HiddenVector& c1, const Operand& k, const HiddenWords& y) {
    w1.template update<1>([&](int m, FragmentA<kPlanes>(&a)[1]) { a[0] = y.a_transposed(m); },
                          [&](int, int col, FragmentB<kPlanes>(&b)[2]) { k.b(0, col, b); });
    add_rows(c1, y.values());
  }
  TTT_DEVICE static void update(W2& w2, const Operand& g2, const HiddenWords& y) {
    w2.template update<1>(
        [&](int m, FragmentA<kPlanes>(&a)[1]) { a[0] = g2.a_transposed(16 * m, 0); },
        [&](int, int col, FragmentB<kPlanes>(&b)[2]) { b[0] = y.b(col / 8), b[1] = y.b(col / 8 + 1); });
  }

  // The state and places in memory, W1 [K,M] and W2 [M,K].
  TTT_DEVICE static int place1(int r, int col, int of_warp) { return col * kHidden + kHiddenOwn * of_warp + r; }
  TTT_DEVICE static int place2(int r, int col, int of_warp) { return (kHiddenOwn * of_warp + col) * kHeadDim + r; }
  struct State {
    W1 w1;
    HiddenVector c1;
    W2 w2;
    Vector c2;
    TTT_DEVICE explicit State(float* memory) : w1(memory), w2(memory + kHeadDim * kHidden) {}
  };
  TTT_DEVICE void set_zero(State& s) const {
    s.w1.for_each([](float& x, int, int) { x = 0; });
    s.w2.for_each([](float& x, int, int) { x = 0; });
    TTT_UNROLL
    for (int i = 0; i < 2 * kHiddenTiles; ++i) s.c1[i / 2][i % 2] = 0;
    s.c2[0][0] = s.c2[0][1] = 0;
  }
  TTT_DEVICE void load(const TttMlpWeights<const float>& from, State& s) const {
    s.w1.for_each([&](float& x, int r, int col) { x = from.w1[place1(r, col, warp)]; });
    s.w2.for_each([&](float& x, int r, int col) { x = from.w2[place2(r, col, warp)]; });
    TTT_UNROLL
    for (int i = 0; i < 2 * kHiddenTiles; ++i) s.c1[i / 2][i % 2] = from.b1[hidden_column(i / 2) + i % 2];
    Base::load(from.b2, s.c2);
  }
  TTT_DEVICE void store(State& s, const TttMlpWeights<float>& to) const {
    s.w1.for_each([&](const float& x, int r, int col) { to.w1[place1(r, col, warp)] = x; });
    s.w2.for_each([&](const float& x, int r, int col) { to.w2[place2(r, col, warp)] = x; });
    if (row == 0) {
      TTT_UNROLL
      for (int j = 0; j < kHiddenTiles; ++j) store_two(to.b1 + hidden_column(j), s.c1[j][0], s.c1[j][1]);
    }
    Base::store(s.c2, to.b2);
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

  // --- Z1 for the backward pass: a thread's 16 values of a mini-batch together ---

  struct alignas(16) KeptWords {
    std::uint32_t x[4];
  };
  struct alignas(16) KeptFloats {
    float x[4];
  };
  TTT_DEVICE std::int64_t kept_place(std::int64_t m) const {
    return ((p() * this->mini_batches() + m) * Base::kThreads + thread_in_block()) * (4 * kHiddenTiles);
  }
  // z becomes what is kept of it, which goes to `kept` unless that is null.
  TTT_DEVICE void keep(std::int64_t m, Hidden& z, std::uint16_t* kept) const {
    std::uint32_t words[2 * kHiddenTiles];
    TTT_UNROLL
    for (int i = 0; i < 2 * kHiddenTiles; ++i) {
      float(&two)[4] = z.x[i / 2];
      words[i] = pack_bf16(two[i % 2 * 2], two[i % 2 * 2 + 1]);
      two[i % 2 * 2] = low_bf16(words[i]), two[i % 2 * 2 + 1] = high_bf16(words[i]);
    }
    if (kept == nullptr) return;
    TTT_UNROLL
    for (int i = 0; i < kHiddenTiles / 2; ++i)
      reinterpret_cast<KeptWords*>(kept + kept_place(m))[i] = {words[4 * i], words[4 * i + 1], words[4 * i + 2],
                                                               words[4 * i + 3]};
  }
  TTT_DEVICE void keep(std::int64_t m, const Hidden& z, float* kept) const {
    if (kept == nullptr) return;
    TTT_UNROLL
    for (int j = 0; j < kHiddenTiles; ++j)
      reinterpret_cast<KeptFloats*>(kept + kept_place(m))[j] = {z.x[j][0], z.x[j][1], z.x[j][2], z.x[j][3]};
  }
  TTT_DEVICE Hidden kept_hidden(std::int64_t m, const std::uint16_t* kept) const {
    Hidden z;
    TTT_UNROLL
    for (int i = 0; i < kHiddenTiles / 2; ++i) {
      const KeptWords words = reinterpret_cast<const KeptWords*>(kept + kept_place(m))[i];
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        float(&tile)[4] = z.x[2 * i + x / 2];
        tile[x % 2 * 2] = low_bf16(words.x[x]), tile[x % 2 * 2 + 1] = high_bf16(words.x[x]);
      }
    }
    return z;
  }
  TTT_DEVICE Hidden kept_hidden(std::int64_t m, const float* kept) const {
    Hidden z;
    TTT_UNROLL
    for (int j = 0; j < kHiddenTiles; ++j) {
      const KeptFloats tile = reinterpret_cast<const KeptFloats*>(kept + kept_place(m))[j];
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) z.x[j][x] = tile.x[x];
    }
    return z;
  }
};

}  // namespace ttt::kernels::cuda
