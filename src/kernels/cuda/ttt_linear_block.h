// What TTT-Linear's kernels share beside ttt_block.h: the state and its products.
//
// Warp w owns K / kWarps output columns of everything: of Z, G, Zq and of the state. The state stands transposed in
// accumulators, S = W^T with S's rows the warp's columns: an accumulator of S is, rounded, the B fragment of K W (see
// warp.h), so that a product with W takes it from the registers.
#pragma once

#include "kernels/cuda/ttt_block.h"

namespace ttt::kernels::cuda {

// kTensors of Element are staged; the first kOperands of them, q and k at places 0 and 1, are operands of products.
template <class Element, int kHeadDim, int kWarps, int kTensors, int kOperands, int kStageCount>
struct TttLinearBlock : TttBlock<Element, kHeadDim, kWarps, kTensors, kOperands, kStageCount> {
  using Base = TttBlock<Element, kHeadDim, kWarps, kTensors, kOperands, kStageCount>;
  using Base::Base, Base::load, Base::store, Base::kPlanes, Base::kOwn, Base::kTiles, Base::row, Base::pair,
      Base::first_column;
  using typename Base::Operand, typename Base::Own, typename Base::Vector;
  static_assert(kOwn % 16 == 0);

  using State = float[kOwn / 16][kHeadDim / 8][4];  // tiles of S: rows 16 m.. of the own columns, inner columns 8 n..

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

  // The B fragment of W, columns of tile j, inner rows 16 slice..
  TTT_DEVICE static FragmentB<kPlanes> fragment_of(const State& state, int j, int slice) {
    const float(&low)[4] = state[j / 2][2 * slice], (&high)[4] = state[j / 2][2 * slice + 1];
    const int half = j % 2 * 2;
    return fragment_b(round_to_word<kPlanes>(low[half], low[half + 1]),
                      round_to_word<kPlanes>(high[half], high[half + 1]));
  }
  // Z = K W + c, Zq = Q W + c (own columns), A = Q K^T.
  TTT_DEVICE void products(const Operand& q, const Operand& k, const State& w, const Vector& c, Own& z, Own& zq,
                           float (&a)[2][4]) const {
    this->broadcast(c, z);
    this->broadcast(c, zq);
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
};

}  // namespace ttt::kernels::cuda
