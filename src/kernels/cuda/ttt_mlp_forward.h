// TTT-MLP forward on a GPU: what a block does (ttt_mlp_block.h). Two sums over the warps a mini-batch, of Z2 and of
// Zq2; G2 goes through shared memory, X2, G1 and X2q from accumulator to operand in registers.
#pragma once

#include "kernels/cuda/ttt_mlp_block.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim>
struct TttMlpForwardBlock : TttMlpBlock<Element, kHeadDim, 3, 2, 3, 1, 1> {
  using Base = TttMlpBlock<Element, kHeadDim, 3, 2, 3, 1, 1>;
  using Base::kPlanes, Base::kTiles, Base::kStages, Base::row, Base::gain, Base::bias, Base::exchange, Base::in;
  using typename Base::Hidden, typename Base::HiddenWords, typename Base::Kept, typename Base::Operand,
      typename Base::Own, typename Base::Part, typename Base::Quarters, typename Base::Rows;
  static constexpr bool kOnChip = ttt_mlp_on_chip<Element>(kHeadDim);

  static constexpr std::int64_t kScratchFloats = ttt_mlp_forward_scratch<Element>(kHeadDim);

  struct Head {
    const Element *q, *k, *v;
    Element* o;
    const float* sigma;
  };

  const TttMlpForward<Element>& args;
  typename Base::template State<kOnChip> state;

  TTT_DEVICE TttMlpForwardBlock(const TttMlpForward<Element>& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments), state(*this, scratch(0), scratch(1), this->vectors(0)) {
    if (thread_in_block() == 0)
      rows() = {this->rows_of_head(in.q), this->rows_of_head(in.k), this->rows_of_head(in.v),
                this->rows_of_head(args.o), this->rows_of_head(in.sigma)};
    sync_block();
    this->load(this->weights_of(args.w, args.own_start ? this->p() : this->head()), state);
  }

  // W1, W2 where they do not stay on the chip.
  TTT_DEVICE float* scratch(int matrix) const {
    return kOnChip ? nullptr : args.scratch + block_in_grid() * kScratchFloats + matrix * Base::kMatrix;
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

  TTT_DEVICE void mini_batch(std::int64_t m, float sigma) {
    const Operand q = this->operand(m, 0), k = this->operand(m, 1), g2_rows = this->gradient_rows(0);
    float e[2];
    this->last_rates(sigma, e);
    const Two minus_e = {-e[0], -e[1]};

    // Z1 = K W1 + c1, Zq1 = Q W1 + c1, A1 = Q K^T;  X2 = phi(Z1)
    Hidden z1, zq1;
    state.c1.broadcast(z1);
    state.c1.broadcast(zq1);
    float a1[2][4] = {};
    state.w1.template add_product_transposed<2>({&z1, &zq1}, [&](int slice, FragmentA<kPlanes>(&a)[2]) {
      a[0] = k.a(0, 16 * slice), a[1] = q.a(0, 16 * slice);
      this->add_scores(a1, a[1], k, slice);
    });
    const Quarters minus_n1 = this->minus_dual_mask(a1, sigma);
    const Kept z1_kept = this->kept(z1);
    if (args.z1 != nullptr) this->store_kept(z1_kept, this->z1_of(args.z1, m));
    const HiddenWords x2 = this->gelu(this->values_of(z1_kept));

    // Z2 = X2 W2 + c2 -> G2
    Own z2;
    state.c2.broadcast(z2);
    this->add_parts(z2, [&](Part& part, int first) { this->add_product(part, x2, state.w2, first); });
    this->inner_gradient(this->staged(m, 1), this->staged(m, 2), z2);
    const RoundedColumns<kPlanes, kTiles> g2 = RoundedColumns<kPlanes, kTiles>::of(z2);
    this->share(g2, g2_rows);
    if (args.g2 != nullptr) this->store_rows(args.g2 + this->p() * in.time * kHeadDim, kHeadDim, m, g2.values());
    sync_block();

    // G1 = (G2 W2^T) (.) phi'(Z1);  Zq1 -= N1 G1;  Xq2 = phi(Zq1)
    Hidden b = {};
    state.w2.add_product(b, [&](int slice) { return g2_rows.a(0, 16 * slice); });
    const HiddenWords g1 = HiddenWords::of(this->product(b, this->gelu_slope(this->values_of(z1_kept))));
    this->add_product(zq1, minus_n1.a(), g1);
    const HiddenWords xq2 = this->gelu(zq1);

    // Zq2 = Xq2 W2 + c2 - N2 G2
    float a2[2][4] = {};
    this->add_scores(a2, xq2, x2);
    const Quarters minus_n2 = this->minus_dual_mask(a2, sigma, this->one_in_parts());
    Own zq2;
    state.c2.broadcast(zq2);
    this->add_parts(zq2, [&](Part& part, int first) {
      this->add_product(part, xq2, state.w2, first);
      this->add_product(part, minus_n2.a(), g2_rows, first);
    });

    const std::int64_t whole = this->whole_mini_batches();
    if (m < whole) {
      this->update(state.w1, state.c1, k, HiddenWords::scaled(g1.values(), minus_e));
      this->update(state.w2, g2_rows, HiddenWords::scaled(x2.values(), minus_e));
      state.c2.add_rows(RoundedColumns<kPlanes, kTiles>::scaled(g2.values(), minus_e).values());
      if (args.states != nullptr && ((m + 1) % args.segment == 0 || m + 1 == whole))
        this->store(state, this->weights_after(args.states, m / args.segment, args.segment));
    }

    // O = Q + gain xhq + bias
    float r[1][2];
    normalise<kHeadDim, kTiles>(exchange, r, zq2);
    const Rows queries = this->staged(m, 0);
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two query = queries.two(row + 8 * i, this->column(j));
        zq2.x[j][2 * i] = query.x + gain(j, 0) * zq2.x[j][2 * i] + bias(j, 0);
        zq2.x[j][2 * i + 1] = query.y + gain(j, 1) * zq2.x[j][2 * i + 1] + bias(j, 1);
      }
    }
    this->store_rows(rows().o, args.o.row, m, zq2);
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
    if (args.end.w1 != nullptr) this->store(state, this->weights_of(args.end, this->p()));
  }
};

}  // namespace ttt::kernels::cuda
