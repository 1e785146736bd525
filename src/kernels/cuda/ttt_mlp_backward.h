// TTT-MLP backward on a GPU: what a block does (ttt_mlp_block.h; equations: reference/ttt_reference.h).
//
// From the last mini-batch to the first. The state before a mini-batch is had by taking back its update, from the very
// Z1 and G2 that the forward pass used: W2 = W2' + (e (.) X2)^T G2, with which G1 = (G2 W2^T) (.) phi'(Z1), W1 = W1' +
// (e (.) K)^T G1; every `segment` mini-batches it is read anew from what that stored, so that rounding does not add up.
// Five sums over the warps: of Z2, Zq2, dG2, dQ and dK. K_j . R1_j, R1 = G1 dW1'^T, is had as (K dW1')_j . G1_j.
#pragma once

#include "kernels/cuda/ttt_mlp_block.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim>
struct TttMlpBackwardBlock : TttMlpBlock<Element, kHeadDim, 5, 3, 2, 2, 2> {
  using Base = TttMlpBlock<Element, kHeadDim, 5, 3, 2, 2, 2>;
  using Base::kPlanes, Base::kTiles, Base::kWarps, Base::kHiddenTiles, Base::row, Base::pair, Base::lane, Base::warp,
      Base::p, Base::gain, Base::bias, Base::exchange, Base::in;
  using typename Base::Hidden, typename Base::HiddenWords, typename Base::Operand, typename Base::Own,
      typename Base::Part, typename Base::Quarters, typename Base::Rows, typename Base::Vector;
  using TttBase = typename Base::Base;
  using OwnWords = RoundedColumns<kPlanes, kTiles>;
  enum Tensor { kQ, kK, kG2, kV, kDo };  // the staged ones
  static constexpr bool kOnChip = ttt_mlp_on_chip<Element>(kHeadDim);
  static constexpr std::int64_t kScratchFloats = ttt_mlp_backward_scratch<Element>(kHeadDim);

  struct Head {
    const Element *q, *k, *g2, *v, *d_o;
    Element *dq, *dk, *dv;
    const float* sigma;
  };

  // Every warp's part of dsigma; sums for the gradients of gain and bias; W2.
  static constexpr int kRatesAt = Base::kSharedBytes;
  static constexpr int kTotalsAt = kRatesAt + kWarps * kMiniBatch * 4;
  static constexpr int kW2At = kTotalsAt + 4 * Base::kThreads * 4;
  static constexpr int kSharedBytes = kW2At + (kOnChip ? 4 * Base::kMatrix : 0);

  const TttMlpBackward<Element>& args;
  typename Base::template State<false> state, dstate;  // before the mini-batch; its gradient after it
  float dscale = 0;                                    // this warp's part, of position lane % 16

  TTT_DEVICE TttMlpBackwardBlock(const TttMlpBackward<Element>& arguments, char* memory)
      : Base(arguments.in, memory),
        args(arguments),
        state(*this, scratch(), kOnChip ? reinterpret_cast<float*>(memory + kW2At) : scratch() + Base::kMatrix,
              this->vectors(0)),
        dstate(*this, scratch() + 2 * Base::kMatrix, scratch() + 3 * Base::kMatrix, this->vectors(1)) {
    if (thread_in_block() == 0)
      rows() = {this->rows_of_head(in.q),    this->rows_of_head(in.k),     args.g2 + p() * in.time * kHeadDim,
                this->rows_of_head(in.v),    this->rows_of_head(args.d_o), this->rows_of_head(args.dq),
                this->rows_of_head(args.dk), this->rows_of_head(args.dv),  this->rows_of_head(in.sigma)};
    this->set_zero(dstate);
    dgain(0) = dgain(1) = dbias(0) = dbias(1) = 0;
    sync_block();
  }

  // What this thread's rows add to the gradients of gain and bias, until the end.
  TTT_DEVICE float& dgain(int x) const { return totals()[x % 2 * Base::kThreads]; }
  TTT_DEVICE float& dbias(int x) const { return totals()[(2 + x % 2) * Base::kThreads]; }
  TTT_DEVICE float* totals() const { return reinterpret_cast<float*>(this->shared + kTotalsAt) + thread_in_block(); }
  TTT_DEVICE float* scratch() const { return args.scratch + block_in_grid() * kScratchFloats; }
  TTT_DEVICE Head& rows() const { return this->template pointers<Head>(); }
  TTT_DEVICE float* rates() const { return reinterpret_cast<float*>(this->shared + kRatesAt); }

  TTT_DEVICE void fetch(std::int64_t m) const {
    if (m >= 0) {
      Base::fetch(m, kQ, rows().q, in.q.row);
      Base::fetch(m, kK, rows().k, in.k.row);
      Base::fetch(m, kG2, rows().g2, kHeadDim);
      Base::fetch(m, kV, rows().v, in.v.row);
      Base::fetch(m, kDo, rows().d_o, args.d_o.row);
    }
    close_copies();
  }

  // Hidden matrices of the mini-batch that are not in registers all the time: a thread's values in scratch memory.
  enum Parked { kX2, kB, kG1, kZq1, kXq2, kU1, kDz1, kDb, kParked };
  static_assert(4 * kScratchFloats == 16 * Base::kMatrix + kParked * Base::kKeptElements * int{sizeof(Element)});
  TTT_DEVICE Element* parking(int which) const {
    return reinterpret_cast<Element*>(scratch() + 4 * Base::kMatrix) + which * Base::kKeptElements;
  }
  TTT_DEVICE void park(Parked which, const Hidden& x) const { this->store_kept(this->kept(x), parking(which)); }
  // Not earlier than here: for reading ahead there are no registers.
  TTT_DEVICE typename Base::Kept fetch_parked(Parked which) const {
    sync_warp();
    return this->load_kept(parking(which));
  }
  TTT_DEVICE Hidden parked(Parked which) const { return this->values_of(fetch_parked(which)); }
  TTT_DEVICE HiddenWords parked_words(Parked which) const { return this->operand_of(fetch_parked(which)); }
  TTT_DEVICE Hidden z1(std::int64_t m) const { return this->values_of(this->load_kept(this->z1_of(args.z1, m))); }

  // -N of a rounded A.
  TTT_DEVICE Quarters minus_mask_of(const Quarters& a, float one, float sigma) const {
    return this->minus_dual_mask(a.values().x, sigma, one);
  }

  // Of this warp's part of dN [16,16], dN = -M (.) X: dA = E (.) dN, and dE = (A + one) (.) dN through the rates.
  // de_scale: dE s of columns 8 j + pair + x; de_sigma: dE sigma of rows; not yet summed over lanes.
  TTT_DEVICE Quarters dual_mask_backward(const Quarters& a_words, float one, float sigma, float (&x)[2][4],
                                         float (&de_scale)[2][2], float (&de_sigma)[2]) const {
    const OwnColumns<2> a = a_words.values();
    const int below = recomputed(row - pair);
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const float rate[2] = {shuffle(sigma, 8 * j + pair), shuffle(sigma, 8 * j + pair + 1)};
      TTT_UNROLL
      for (int i = 0; i < 4; ++i) {
        x[j][i] = 8 * j + i % 2 - i / 2 * 8 <= below ? -x[j][i] : 0.0f;
        const float de = (a.x[j][i] + one) * x[j][i];
        de_scale[j][i % 2] += de * this->scale(row + i / 2 * 8);
        de_sigma[i / 2] += de * rate[i % 2];
      }
    }
    this->apply_rates(x, sigma);
    return this->round(x);
  }

  // sums += x (.) y over this lane's part of rows g and g + 8.
  template <int n>
  TTT_DEVICE static void add_dots(float (&sums)[2], const OwnColumns<n>& x, const OwnColumns<n>& y) {
    TTT_UNROLL
    for (int i = 0; i < 4 * n; ++i) sums[i % 4 / 2] += x.x[i / 4][i % 4] * y.x[i / 4][i % 4];
  }

  TTT_DEVICE void load_state(std::int64_t segment) {
    this->load(this->weights_after(args.states, segment, args.segment), state);
  }

  TTT_DEVICE void mini_batch(std::int64_t m, float sigma) {
    const Operand q = this->operand(m, kQ), k = this->operand(m, kK), g2 = this->operand(m, kG2);
    const Operand u2_rows = this->gradient_rows(0), dz2_rows = this->gradient_rows(1);
    const Rows keys = this->staged(m, kK), values = this->staged(m, kV), d_o = this->staged(m, kDo),
               inner = this->staged(m, kG2);
    const std::int64_t whole = this->whole_mini_batches();
    float e[2];
    this->last_rates(sigma, e);
    const Two minus_e = {-e[0], -e[1]};

    // X2;  W2, c2 before the mini-batch;  B = G2 W2^T;  G1;  W1, c1
    HiddenWords x2 = this->gelu(z1(m));
    park(kX2, x2.values());
    if (m + 1 < whole && (m + 1) % args.segment == 0) load_state(m / args.segment);
    if (m < whole) {
      this->update(state.w2, g2, HiddenWords::scaled(x2.values(), {e[0], e[1]}));
      state.c2.add_rows(OwnWords::scaled(own_rows(inner), {e[0], e[1]}).values());
    }
    Hidden b = {};
    state.w2.add_product(b, [&](int slice) { return g2.a(0, 16 * slice); });
    park(kB, b);
    const HiddenWords g1 = HiddenWords::of(this->product(b, this->gelu_slope(z1(m))));
    park(kG1, g1.values());
    if (m < whole) this->update(state.w1, state.c1, k, HiddenWords::scaled(g1.values(), {e[0], e[1]}));

    // A1, N1;  Zq1 = Q W1 + c1 - N1 G1;  Xq2;  A2, N2
    Hidden zq1;
    state.c1.broadcast(zq1);
    float a[2][4] = {};
    state.w1.template add_product_transposed<1>({&zq1}, [&](int slice, FragmentA<kPlanes>(&rows_of)[1]) {
      rows_of[0] = q.a(0, 16 * slice);
      this->add_scores(a, rows_of[0], k, slice);
    });
    const Quarters a1 = this->round(a);
    this->add_product(zq1, this->minus_dual_mask(a, sigma).a(), g1);
    park(kZq1, zq1);
    const HiddenWords xq2 = this->gelu(zq1);
    park(kXq2, xq2.values());
    TTT_UNROLL
    for (int i = 0; i < 8; ++i) a[i / 4][i % 4] = 0;
    x2 = parked_words(kX2);
    this->add_scores(a, xq2, x2);
    const Quarters a2 = this->round(a), minus_n2 = this->minus_dual_mask(a, sigma, this->one_in_parts());

    // Z2 = X2 W2 + c2, Zq2 = Xq2 W2 + c2 - N2 G2;  xh, r;  xhq, rq
    Own xh, xhq;
    state.c2.broadcast(xh);
    state.c2.broadcast(xhq);
    this->add_parts(xh, [&](Part& part, int first) { this->add_product(part, x2, state.w2, first); });
    sync_block();
    this->add_parts(xhq, [&](Part& part, int first) {
      this->add_product(part, xq2, state.w2, first);
      this->add_product(part, minus_n2.a(), g2, first);
    });
    float r[2][2];
    normalise<kHeadDim, kTiles>(exchange, r, xh, xhq);

    // Output norm: U2 = rq * P(gain (.) dO; xhq). D = gain xh + bias - (V - K), H = gain (.) D.
    const auto d = [&](int j, int x) { return this->difference(keys, values, xh, j, x); };
    Own u2;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two o = d_o.two(row + 8 * i, this->column(j));
        dgain(0) += o.x * xhq.x[j][2 * i], dgain(1) += o.y * xhq.x[j][2 * i + 1];
        dbias(0) += o.x, dbias(1) += o.y;
        u2.x[j][2 * i] = gain(j, 0) * o.x, u2.x[j][2 * i + 1] = gain(j, 1) * o.y;
      }
    }
    float of_u2[2][2];
    sum_rows<2, kTiles>(exchange, of_u2, [&](int j, int x, float(&own)[2]) {
      own[0] += u2.x[j][x], own[1] += u2.x[j][x] * xhq.x[j][x];
    });
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x)
        u2.x[j][x] = project<kHeadDim>(u2.x[j][x], xhq.x[j][x], r[1][x / 2], of_u2[x / 2][0], of_u2[x / 2][1]);
    }
    const OwnWords u2_words = OwnWords::of(u2);
    this->share(u2_words, u2_rows);
    sync_block();

    // Layer 2, dual form: dN2 = -M (.) (U2 G2^T), dA2;  U1 = (U2 W2^T + dA2 X2) (.) phi'(Zq1)
    float dn[2][4] = {}, de_scale[2][2] = {}, de_sigma[2] = {}, minus_de[2] = {};
    TTT_UNROLL
    for (int slice = 0; slice < kHeadDim / 16; ++slice) this->add_scores(dn, u2_rows.a(0, 16 * slice), g2, slice);
    const Quarters da2 = dual_mask_backward(a2, this->one_in_parts(), sigma, dn, de_scale, de_sigma);
    Hidden du = {};
    state.w2.add_product(du, [&](int slice) { return u2_rows.a(0, 16 * slice); });
    this->add_product(du, da2.a(), parked_words(kX2));
    const HiddenWords u1 = HiddenWords::of(this->product(du, this->gelu_slope(parked(kZq1))));
    park(kU1, u1.values());

    // Layer 1: dN1 = -M (.) (U1 G1^T), in parts, dA1;  dG1 = -N1^T U1 - e (.) (K dW1' + dc1')
    TTT_UNROLL
    for (int i = 0; i < 8; ++i) dn[i / 4][i % 4] = 0;
    this->add_scores(dn, u1, parked_words(kG1));
    const Quarters da1 = dual_mask_backward(a1, 1, sigma, dn, de_scale, de_sigma);
    // ds_i += sum_j dE_ij sigma_j
    const float dsigma = this->sum_by_column(de_scale);
    dscale += this->by_row(sum_over_quad(de_sigma[0]), sum_over_quad(de_sigma[1]));
    Hidden dg1;
    dstate.c1.broadcast(dg1);
    dstate.w1.template add_product_transposed<1>(
        {&dg1}, [&](int slice, FragmentA<kPlanes>(&rows_of)[1]) { rows_of[0] = k.a(0, 16 * slice); });
    add_dots(minus_de, parked(kG1), dg1);
    scale_rows(dg1, minus_e);
    this->add_product(dg1, minus_mask_of(a1, 1, sigma).a_transposed(), parked_words(kU1));

    // dB = dG1 (.) phi'(Z1);  dZ1 = dG1 (.) B (.) phi''(Z1), so far
    const HiddenWords db = HiddenWords::of(this->product(dg1, this->gelu_slope(z1(m))));
    park(kDb, db.values());
    park(kDz1, this->product(this->product(dg1, parked(kB)), this->gelu_curvature(z1(m))));

    // dG2 = -N2^T U2 - e (.) (X2 dW2' + dc2') + dB W2
    Own gam;
    dstate.c2.broadcast(gam);
    scale_rows(gam, minus_e);
    this->add_parts(gam, [&](Part& part, int first) {
      this->add_product(part, db, state.w2, first);
      this->add_product(part, HiddenWords::scaled(parked(kX2), minus_e), dstate.w2, first);
      this->add_product(part, minus_mask_of(a2, this->one_in_parts(), sigma).a_transposed(), u2_rows, first);
    });

    // LN-L2: dH = r * P(Gam; xh);  dD = gain (.) dH;  dxh = gain (.) dD - r * (mean(H (.) xh) Gam + mean(Gam (.) xh) H)
    //        dZ2 = r * P(dxh; xh) - xh * (r/f) * sum_f(Gam (.) G2)
    const Own g2_own = own_rows(inner);
    Own dc2;
    dstate.c2.broadcast(dc2);
    add_dots(minus_de, g2_own, dc2);
    dstate.c2.add_rows(u2_words.values());
    float sums[2][4];
    sum_rows<4, kTiles>(exchange, sums, [&](int j, int x, float(&own)[4]) {
      own[0] += gam.x[j][x], own[1] += gam.x[j][x] * xh.x[j][x], own[2] += gam.x[j][x] * g2_own.x[j][x],
          own[3] += gain(j, x) * d(j, x) * xh.x[j][x];
    });
    Own dd, dz2;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int i = x / 2;
        const float dh = project<kHeadDim>(gam.x[j][x], xh.x[j][x], r[0][i], sums[i][0], sums[i][1]);
        dd.x[j][x] = gain(j, x) * dh;
        const float difference = d(j, x);
        dgain(x) += dh * difference + dd.x[j][x] * xh.x[j][x];
        dbias(x) += dd.x[j][x];
        dz2.x[j][x] = gain(j, x) * dd.x[j][x] - r[0][i] * (sums[i][3] / kHeadDim * gam.x[j][x] +
                                                           sums[i][1] / kHeadDim * (gain(j, x) * difference));
      }
    }
    const float gam_g[2] = {sums[0][2] / kHeadDim, sums[1][2] / kHeadDim};
    float more[2][2];
    sum_rows<2, kTiles>(exchange, more, [&](int j, int x, float(&own)[2]) {
      own[0] += dz2.x[j][x], own[1] += dz2.x[j][x] * xh.x[j][x];
    });
    Own minus_dd;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int i = x / 2;
        dz2.x[j][x] = project<kHeadDim>(dz2.x[j][x], xh.x[j][x], r[0][i], more[i][0], more[i][1]) -
                      xh.x[j][x] * r[0][i] * gam_g[i];
        minus_dd.x[j][x] = -dd.x[j][x];
      }
    }
    this->share(OwnWords::of(dz2), dz2_rows);
    dstate.c2.add_rows(dz2);
    this->store_rows(rows().dv, args.dv.row, m, minus_dd);  // dV = -dD
    sync_block();

    // dQ = dO + U1 W1^T + dA1 K
    Own dq = own_rows(d_o);
    this->add_parts(dq, [&](Part& part, int first) {
      this->add_product(part, parked_words(kU1), state.w1, first);
      this->add_product(part, da1.a(), k, first);
    });
    this->store_rows(rows().dq, args.dq.row, m, dq);

    // dX2 = dA2^T Xq2 - e (.) R2 + dZ2 W2^T,  R2 = G2 dW2'^T;  dZ1 += dX2 (.) phi'(Z1)
    Hidden dx2 = {};
    dstate.w2.add_product(dx2, [&](int slice) { return g2.a(0, 16 * slice); });
    add_dots(minus_de, parked(kX2), dx2);
    scale_rows(dx2, minus_e);
    this->add_product(dx2, da2.a_transposed(), parked_words(kXq2));
    state.w2.add_product(dx2, [&](int slice) { return dz2_rows.a(0, 16 * slice); });
    const HiddenWords dz1 = HiddenWords::of(this->sum(parked(kDz1), this->product(dx2, this->gelu_slope(z1(m)))));
    learning_rates(sigma, dsigma, minus_de);
    sync_block();
    if (thread_in_block() < this->rows_in(m)) args.dsigma[p() * in.time + m * kMiniBatch + lane] = sum_of_rates();

    // dK = dD + dZ1 W1^T + dA1^T Q - e (.) R1
    this->add_parts(dd, [&](Part& part, int first) {
      this->add_product(part, dz1, state.w1, first);
      this->add_product(part, HiddenWords::scaled(parked(kG1), minus_e), dstate.w1, first);
      this->add_product(part, da1.a_transposed(), q, first);
    });
    this->store_rows(rows().dk, args.dk.row, m, dd);

    // dW2 = dW2' + Xq2^T U2 + dB^T G2 + X2^T dZ2;  dW1 = dW1' + Q^T U1 + K^T dZ1;  dc alike
    const HiddenWords y2[2] = {parked_words(kXq2), parked_words(kDb)};
    dstate.w2.template update<2>(
        [&](int tile, FragmentA<kPlanes>(&f)[2]) {
          f[0] = u2_rows.a_transposed(16 * tile, 0), f[1] = g2.a_transposed(16 * tile, 0);
        },
        [&](int i, int col, FragmentB<kPlanes>(&f)[2]) { f[0] = y2[i].b(col / 8), f[1] = y2[i].b(col / 8 + 1); });
    this->update(dstate.w2, dz2_rows, parked_words(kX2));
    this->update(dstate.w1, dstate.c1, q, parked_words(kU1));
    this->update(dstate.w1, dstate.c1, k, dz1);
  }

  template <int n>
  TTT_DEVICE static void scale_rows(OwnColumns<n>& x, const Two& factors) {
    TTT_UNROLL
    for (int i = 0; i < 4 * n; ++i) x.x[i / 4][i % 4] *= i % 4 < 2 ? factors.x : factors.y;
  }
  TTT_DEVICE Own own_rows(const Rows& rows_of) const {
    Own x;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two v = rows_of.two(row + 8 * i, this->column(j));
        x.x[j][2 * i] = v.x, x.x[j][2 * i + 1] = v.y;
      }
    }
    return x;
  }

  // dsigma_j = sum_i dE_ij s_i + s_last de_j;  ds_last += sum_j sigma_j de_j: this warp's parts, to lane t (mod 16)
  // token t's. dsigma: the sum so far. minus_de: -de of this lane's rows, not yet summed over its quad.
  TTT_DEVICE void learning_rates(float sigma, float dsigma, const float (&minus_de)[2]) {
    const float de = -this->by_row(sum_over_quad(minus_de[0]), sum_over_quad(minus_de[1]));
    const float of_last = this->sum_over_rows(sigma * de);
    if (lane % kMiniBatch == kMiniBatch - 1) dscale += of_last;
    if (lane < kMiniBatch) rates()[warp * kMiniBatch + lane] = dsigma + this->scale(kMiniBatch - 1) * de;
  }
  TTT_DEVICE float sum_of_rates() const {
    float sum = 0;
    TTT_UNROLL
    for (int w = 0; w < kWarps; ++w) sum += rates()[w * kMiniBatch + lane % kMiniBatch];
    return sum;
  }

  TTT_DEVICE void run() {
    const std::int64_t whole = this->whole_mini_batches(), last = this->mini_batches() - 1;
    if (whole > 0) {
      load_state((whole - 1) / args.segment);
    } else {
      this->load(this->weights_of(args.w, this->head()), state);
    }
    fetch(last);
    float next_sigma = this->sigma_of(rows().sigma, last);
    for (std::int64_t m = last; m >= 0; --m) {
      wait_for_copies<0>();
      sync_block();
      fetch(m - 1);  // into the stage that all have left
      this->split(m);
      const float sigma = next_sigma;
      next_sigma = this->sigma_of(rows().sigma, m - 1);
      mini_batch(m, sigma);
    }
    this->store(dstate, this->weights_of(args.dw, p()));
    Vector gains, biases;
    TTT_UNROLL
    for (int x = 0; x < 2; ++x) gains[0][x] = sum_over_column(dgain(x)), biases[0][x] = sum_over_column(dbias(x));
    TttBase::store(gains, args.dgain + p() * kHeadDim);
    TttBase::store(biases, args.dbias + p() * kHeadDim);
    sync_block();
    if (lane < kMiniBatch) rates()[warp * kMiniBatch + lane] = dscale;
    sync_block();
    if (thread_in_block() < kMiniBatch) args.dscale[p() * kMiniBatch + lane] = sum_of_rates();
  }
};

}  // namespace ttt::kernels::cuda
