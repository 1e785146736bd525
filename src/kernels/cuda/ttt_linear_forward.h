// TTT-Linear forward on a GPU: what a block does (ttt_linear_block.h). G goes from accumulator to operand by
// transposing 8 x 8 matrices in registers; three exchanges of row statistics a mini-batch.
#pragma once

#include "kernels/cuda/ttt_linear_block.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim, int kWarps>
struct TttLinearForwardBlock : TttLinearBlock<Element, kHeadDim, kWarps, 3, 2, 3> {
  using Base = TttLinearBlock<Element, kHeadDim, kWarps, 3, 2, 3>;
  using Base::kPlanes, Base::kTiles, Base::kStages, Base::row, Base::gain, Base::bias, Base::exchange, Base::in;
  using typename Base::Operand, typename Base::Own, typename Base::Rows, typename Base::State, typename Base::Vector;

  struct Head {
    const Element *q, *k, *v;
    Element* o;
    const float* sigma;
  };

  const TttLinearForward<Element>& args;
  State state;
  Vector c;

  TTT_DEVICE TttLinearForwardBlock(const TttLinearForward<Element>& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments) {
    if (thread_in_block() == 0)
      rows() = {this->rows_of_head(in.q), this->rows_of_head(in.k), this->rows_of_head(in.v),
                this->rows_of_head(args.o), this->rows_of_head(in.sigma)};
    sync_block();
    const std::int64_t start = args.weights_of_p ? this->p() : this->head();
    this->load(args.w + start * kHeadDim * kHeadDim, state);
    this->load(args.b + start * kHeadDim, c);
  }

  TTT_DEVICE Head& rows() const { return this->template pointers<Head>(); }

  TTT_DEVICE void fetch(std::int64_t m) const {
    if (m < this->mini_batches()) {
      Base::fetch(m, 0, rows().q, in.q.row);
      Base::fetch(m, 1, rows().k, in.k.row);
      Base::fetch(m, 2, rows().v, in.v.row);
    }
    close_copies();
  }

  // z: Z -> G = r * P(H; xh), H = gain (.) (gain xh + bias - (V - K)).
  TTT_DEVICE void inner_gradient(const Rows& k, const Rows& v, Own& z) {
    float r[1][2], sums[2][2];
    normalise<kHeadDim, kTiles>(exchange, r, z);
    Own h;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) h.x[j][x] = gain(j, x) * this->difference(k, v, z, j, x);
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

  TTT_DEVICE void mini_batch(std::int64_t m, float sigma) {
    const Operand q = this->operand(m, 0), k = this->operand(m, 1);
    Own z, zq;
    float a[2][4];
    this->products(q, k, state, c, z, zq, a);
    inner_gradient(this->staged(m, 1), this->staged(m, 2), z);

    // G and -e G, rounded; G's words transposed are B fragments.
    Word<kPlanes> g[kTiles][2], eg[kTiles][2];
    float e[2];
    this->last_rates(sigma, e);
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        g[j][i] = round_to_word<kPlanes>(z.x[j][2 * i], z.x[j][2 * i + 1]);
        const Two rounded = values_of(g[j][i]);
        eg[j][i] = round_to_word<kPlanes>(-e[i] * rounded.x, -e[i] * rounded.y);
        if (args.g != nullptr && row + 8 * i < this->rows_in(m))
          store_two(args.g + (this->p() * in.time + m * kMiniBatch + row + 8 * i) * kHeadDim + this->column(j),
                    rounded.x, rounded.y);
        g[j][i] = transpose(g[j][i]);
      }
    }

    // Zq -= N G,  N = M (.) E (.) (A + 1)
    const FragmentA<kPlanes> minus_n = this->minus_dual_mask(a, sigma).a();
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) multiply_add(zq.x[j], minus_n, fragment_b(g[j][0], g[j][1]));

    const std::int64_t whole = this->whole_mini_batches();
    if (m < whole) {
      this->update(k, eg, state, c);
      if (args.states != nullptr && ((m + 1) % args.segment == 0 || m + 1 == whole)) {
        const std::int64_t segments = (whole + args.segment - 1) / args.segment;
        float* at = args.states + (this->p() * segments + m / args.segment) * (kHeadDim * kHeadDim + kHeadDim);
        this->store(state, at);
        this->store(c, at + kHeadDim * kHeadDim);
      }
    }

    // O = Q + gain xhq + bias
    float r[1][2];
    normalise<kHeadDim, kTiles>(exchange, r, zq);
    const Rows queries = this->staged(m, 0);
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two query = queries.two(row + 8 * i, this->column(j));
        zq.x[j][2 * i] = query.x + gain(j, 0) * zq.x[j][2 * i] + bias(j, 0);
        zq.x[j][2 * i + 1] = query.y + gain(j, 1) * zq.x[j][2 * i + 1] + bias(j, 1);
      }
    }
    this->store_rows(rows().o, args.o.row, m, zq);
  }

  TTT_DEVICE void run() {
    for (int m = 0; m < kStages - 1; ++m) fetch(m);
    float next_sigma = this->sigma_of(rows().sigma, 0);
    for (std::int64_t m = 0; m < this->mini_batches(); ++m) {
      wait_for_copies<kStages - 2>();
      sync_block();
      fetch(m + kStages - 1);  // into the stage that all have left
      this->split(m);
      const float sigma = next_sigma;
      next_sigma = this->sigma_of(rows().sigma, m + 1);
      mini_batch(m, sigma);
    }
    if (args.final_w == nullptr) return;
    this->store(state, args.final_w + this->p() * kHeadDim * kHeadDim);
    this->store(c, args.final_b + this->p() * kHeadDim);
  }
};

}  // namespace ttt::kernels::cuda
