// TTT-Linear backward on a GPU: what a block does (ttt_linear_block.h; equations: reference/ttt_reference.h).
//
// From the last mini-batch to the first. The state before a mini-batch is had by taking back its update, W = W' +
// (e (.) K)^T G, with the very G that the forward pass used; every `segment` mini-batches it is read anew from what
// that stored, so that rounding does not add up. W and dW' stand in accumulators (transposed, as S), and rounded in
// shared memory for the products that sum over output columns (U W^T, dZ W^T, G dW'^T): of these each warp makes the
// inner columns of the same numbers as its own output columns.
#pragma once

#include "kernels/cuda/ttt_linear_block.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim, int kWarps>
struct TttLinearBackwardBlock : TttLinearBlock<Element, kHeadDim, kWarps, 5, 3, 2> {
  using Base = TttLinearBlock<Element, kHeadDim, kWarps, 5, 3, 2>;
  using Base::kPlanes, Base::kTiles, Base::kOwn, Base::row, Base::pair, Base::lane, Base::p, Base::first_column,
      Base::gain, Base::bias, Base::exchange, Base::in;
  using typename Base::Operand, typename Base::Own, typename Base::Rows, typename Base::State, typename Base::Vector;
  enum Tensor { kQ, kK, kG, kV, kDo };  // the staged ones

  struct Head {
    const Element *q, *k, *g, *v, *d_o;
    Element *dq, *dk, *dv;
    const float* sigma;
  };

  // S (S's rows) and dS as operands, U and dZ.
  using Square = OperandTile<kPlanes, kHeadDim, kHeadDim>;
  static constexpr int kSquaresAt = Base::kSharedBytes;
  static constexpr int kTotalsAt = kSquaresAt + 2 * Square::kBytes + 2 * Operand::kBytes;
  static constexpr int kSharedBytes = kTotalsAt + 4 * kTiles * Base::kThreads * 4;

  const TttLinearBackward<Element>& args;
  State state, dstate = {};  // S before the mini-batch; dS' = dW'^T after it
  Vector c, dc = {};
  float dscale = 0;  // of position lane % 16

  TTT_DEVICE TttLinearBackwardBlock(const TttLinearBackward<Element>& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments) {
    if (thread_in_block() == 0)
      rows() = {this->rows_of_head(in.q),    this->rows_of_head(in.k),     args.g + p() * in.time * kHeadDim,
                this->rows_of_head(in.v),    this->rows_of_head(args.d_o), this->rows_of_head(args.dq),
                this->rows_of_head(args.dk), this->rows_of_head(args.dv),  this->rows_of_head(in.sigma)};
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 2; ++x) dgain(j, x) = dbias(j, x) = 0;
    }
    sync_block();
  }

  // What this thread's rows add to the gradients of gain and bias, until the end. In shared memory, since the registers
  // are taken and these are used but twice a mini-batch.
  TTT_DEVICE float& dgain(int tile, int x) const { return total(2 * tile + x % 2); }
  TTT_DEVICE float& dbias(int tile, int x) const { return total(2 * kTiles + 2 * tile + x % 2); }
  TTT_DEVICE float& total(int which) const {
    return reinterpret_cast<float*>(this->shared + kTotalsAt)[which * Base::kThreads + thread_in_block()];
  }
  TTT_DEVICE Head& rows() const { return this->template pointers<Head>(); }

  TTT_DEVICE Square square(int which) const {
    return {reinterpret_cast<std::uint16_t*>(this->shared + kSquaresAt + which * Square::kBytes)};
  }
  TTT_DEVICE Operand gradient_rows(int which) const {
    return {reinterpret_cast<std::uint16_t*>(this->shared + kSquaresAt + 2 * Square::kBytes + which * Operand::kBytes)};
  }
  // A state's own rows, rounded, where all warps can read them.
  TTT_DEVICE void share(const State& own, const Square& square) const {
    TTT_UNROLL
    for (int m = 0; m < kOwn / 16; ++m) {
      TTT_UNROLL
      for (int n = 0; n < kHeadDim / 8; ++n) {
        TTT_UNROLL
        for (int i = 0; i < 2; ++i)
          square.set(first_column + 16 * m + row + 8 * i, 8 * n + pair,
                     round_to_word<kPlanes>(own[m][n][2 * i], own[m][n][2 * i + 1]));
      }
    }
  }
  TTT_DEVICE void share(const Own& own, const Operand& rows) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i)
        rows.set(row + 8 * i, this->column(j), round_to_word<kPlanes>(own.x[j][2 * i], own.x[j][2 * i + 1]));
    }
  }
  TTT_DEVICE void fetch(std::int64_t m) const {
    if (m >= 0) {
      Base::fetch(m, kQ, rows().q, in.q.row);
      Base::fetch(m, kK, rows().k, in.k.row);
      Base::fetch(m, kG, rows().g, kHeadDim);
      Base::fetch(m, kV, rows().v, in.v.row);
      Base::fetch(m, kDo, rows().d_o, args.d_o.row);
    }
    close_copies();
  }

  // state, c: as of before mini-batch m, from as of after it.
  TTT_DEVICE void step_back(std::int64_t m, const float (&e)[2]) {
    const std::int64_t whole = this->whole_mini_batches();
    if (m >= whole) return;  // a short last one has changed nothing
    if ((m + 1) % args.segment == 0 && m + 1 < whole) load_state(m / args.segment);
    const Rows g = this->staged(m, kG);
    Word<kPlanes> eg[kTiles][2];
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two v = g.two(row + 8 * i, this->column(j));
        eg[j][i] = round_to_word<kPlanes>(e[i] * v.x, e[i] * v.y);
      }
    }
    this->update(this->operand(m, kK), eg, state, c);
  }
  TTT_DEVICE void load_state(std::int64_t segment) {
    const std::int64_t segments = (this->whole_mini_batches() + args.segment - 1) / args.segment;
    const float* at = args.states + (p() * segments + segment) * (kHeadDim * kHeadDim + kHeadDim);
    this->load(at, state);
    this->load(at + kHeadDim * kHeadDim, c);
  }

  // x += A B(rows of `square` or of a tile), inner columns as this warp's own.
  template <class Tile>
  TTT_DEVICE void add_product(Own& x, const FragmentA<kPlanes>& a, const Tile& b, int k) const {
    TTT_UNROLL
    for (int j = 0; j < kTiles; j += 2) {
      FragmentB<kPlanes> columns[2];
      b.b(k, first_column + 8 * j, columns);
      multiply_add(x.x[j], a, columns[0]);
      multiply_add(x.x[j + 1], a, columns[1]);
    }
  }
  // x += rows X, X a square: sums over all columns of `rows`.
  TTT_DEVICE void add_product(Own& x, const Operand& rows, const Square& by) const {
    TTT_UNROLL
    for (int slice = 0; slice < kHeadDim / 16; ++slice) add_product(x, rows.a(0, 16 * slice), by, 16 * slice);
  }

  TTT_DEVICE void mini_batch(std::int64_t m, float sigma) {
    const Operand q = this->operand(m, kQ), k = this->operand(m, kK), g = this->operand(m, kG);
    const Operand u_rows = gradient_rows(0), dz_rows = gradient_rows(1);
    float e[2];
    this->last_rates(sigma, e);
    step_back(m, e);
    share(state, square(0));
    share(dstate, square(1));

    // Z, Zq = Q W + c - N G, A
    Own z, zq;
    float a[2][4];
    this->products(q, k, state, c, z, zq, a);
    const typename Base::Quarters minus_n = this->minus_dual_mask(a, sigma);
    add_product(zq, minus_n.a(), g, 0);

    // xh, r; xhq, rq
    float r[2][2];
    normalise<kHeadDim, kTiles>(exchange, r, z, zq);
    Own &xh = z, &xhq = zq;

    // Output norm: U = rq * P(gain (.) dO; xhq). D = gain xh + bias - (V - K), H = gain (.) D.
    Own u;
    const Rows d_o = this->staged(m, kDo), keys = this->staged(m, kK), values = this->staged(m, kV);
    const auto d = [&](int j, int x) { return this->difference(keys, values, xh, j, x); };
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two o = d_o.two(row + 8 * i, this->column(j));
        dgain(j, 0) += o.x * xhq.x[j][2 * i], dgain(j, 1) += o.y * xhq.x[j][2 * i + 1];
        dbias(j, 0) += o.x, dbias(j, 1) += o.y;
        u.x[j][2 * i] = gain(j, 0) * o.x, u.x[j][2 * i + 1] = gain(j, 1) * o.y;
      }
    }
    float sums[2][3];
    sum_rows<3, kTiles>(exchange, sums, [&](int j, int x, float(&own)[3]) {
      own[0] += u.x[j][x], own[1] += u.x[j][x] * xhq.x[j][x], own[2] += gain(j, x) * d(j, x) * xh.x[j][x];
    });
    const float mean_h_xh[2] = {sums[0][2] / kHeadDim, sums[1][2] / kHeadDim};
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x)
        u.x[j][x] = project<kHeadDim>(u.x[j][x], xhq.x[j][x], r[1][x / 2], sums[x / 2][0], sums[x / 2][1]);
    }
    share(u, u_rows);
    sync_block();

    // dN = -M (.) (U G^T);  dE = (A + 1) (.) dN;  dA = E (.) dN; every warp makes it whole.
    float dn[2][4] = {};
    TTT_UNROLL
    for (int slice = 0; slice < kHeadDim / 16; ++slice) {
      const FragmentA<kPlanes> rows = u_rows.a(0, 16 * slice);
      FragmentB<kPlanes> columns[2];
      g.b_transposed(16 * slice, 0, columns);
      multiply_add(dn[0], rows, columns[0]);
      multiply_add(dn[1], rows, columns[1]);
    }
    float dsigma[2][2] = {}, ds[2] = {};  // of columns 8 j + pair + x; of rows
    TTT_UNROLL
    for (int j = 0; j < 2; ++j) {
      const float rate[2] = {shuffle(sigma, 8 * j + pair), shuffle(sigma, 8 * j + pair + 1)};
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        dn[j][x] = 8 * j + pair + x % 2 <= row + x / 2 * 8 ? -dn[j][x] : 0.0f;
        const float de = (a[j][x] + 1) * dn[j][x];
        dsigma[j][x % 2] += de * this->scale(row + x / 2 * 8);
        ds[x / 2] += de * rate[x % 2];
      }
    }
    this->apply_rates(dn, sigma);
    const typename Base::Quarters da = this->round(dn);

    // Gam = -N^T U - e (.) (K dW' + 1 dc')
    Own gam;
    this->broadcast(dc, gam);
    TTT_UNROLL
    for (int slice = 0; slice < kHeadDim / 16; ++slice) {
      const FragmentA<kPlanes> k_rows = k.a(0, 16 * slice);
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) multiply_add(gam.x[j], k_rows, this->fragment_of(dstate, j, slice));
    }
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) gam.x[j][x] *= -e[x / 2];
    }
    add_product(gam, minus_n.a_transposed(), u_rows, 0);

    // LN-L2: dH = r * P(Gam; xh);  dD = gain (.) dH;  dxh = gain (.) dD - r * (mean(H (.) xh) Gam + mean(Gam (.) xh) H)
    //        dZ = r * P(dxh; xh) - xh * (r/f) * sum_f(Gam (.) G)
    const Rows inner = this->staged(m, kG);
    float of_g[2] = {};  // G . dc' of this warp's columns
    sum_rows<3, kTiles>(exchange, sums, [&](int j, int x, float(&own)[3]) {
      const Two two = inner.two(row + x / 2 * 8, this->column(j));
      const float one = x % 2 == 0 ? two.x : two.y;
      of_g[x / 2] += one * dc[j][x % 2];
      own[0] += gam.x[j][x], own[1] += gam.x[j][x] * xh.x[j][x], own[2] += gam.x[j][x] * one;
    });
    Own dd, dz;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int i = x / 2;
        const float dh = project<kHeadDim>(gam.x[j][x], xh.x[j][x], r[0][i], sums[i][0], sums[i][1]);
        dd.x[j][x] = gain(j, x) * dh;
        const float difference = d(j, x);
        dgain(j, x) += dh * difference + dd.x[j][x] * xh.x[j][x];
        dbias(j, x) += dd.x[j][x];
        dz.x[j][x] = gain(j, x) * dd.x[j][x] -
                     r[0][i] * (mean_h_xh[i] * gam.x[j][x] + sums[i][1] / kHeadDim * (gain(j, x) * difference));
      }
    }
    const float gam_g[2] = {sums[0][2] / kHeadDim, sums[1][2] / kHeadDim};
    float more[2][2];
    sum_rows<2, kTiles>(exchange, more,
                        [&](int j, int x, float(&own)[2]) { own[0] += dz.x[j][x], own[1] += dz.x[j][x] * xh.x[j][x]; });
    Own minus_dd;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 4; ++x) {
        const int i = x / 2;
        dz.x[j][x] = project<kHeadDim>(dz.x[j][x], xh.x[j][x], r[0][i], more[i][0], more[i][1]) -
                     xh.x[j][x] * r[0][i] * gam_g[i];
        minus_dd.x[j][x] = -dd.x[j][x];
      }
    }
    share(dz, dz_rows);
    this->store_rows(rows().dv, args.dv.row, m, minus_dd);  // dV = -dD
    sync_block();

    // dQ = dO + U W^T + dA K
    Own dq;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int i = 0; i < 2; ++i) {
        const Two o = d_o.two(row + 8 * i, this->column(j));
        dq.x[j][2 * i] = o.x, dq.x[j][2 * i + 1] = o.y;
      }
    }
    add_product(dq, u_rows, square(0));
    add_product(dq, da.a(), k, 0);
    this->store_rows(rows().dq, args.dq.row, m, dq);

    // dK = dD + dZ W^T + dA^T Q - e (.) R,  R = G dW'^T;  de_j = -(K_j . R_j + G_j . dc')
    Own r_rows = {};
    add_product(r_rows, g, square(1));
    float rate[2][1];
    TTT_UNROLL
    for (int i = 0; i < 2; ++i) {
      float own = of_g[i];
      TTT_UNROLL
      for (int j = 0; j < kTiles; ++j) {
        const Two key = keys.two(row + 8 * i, this->column(j));
        own += key.x * r_rows.x[j][2 * i] + key.y * r_rows.x[j][2 * i + 1];
        dd.x[j][2 * i] -= e[i] * r_rows.x[j][2 * i], dd.x[j][2 * i + 1] -= e[i] * r_rows.x[j][2 * i + 1];
      }
      rate[i][0] = sum_over_quad(own);
    }
    add_product(dd, dz_rows, square(0));
    add_product(dd, da.a_transposed(), q, 0);
    this->store_rows(rows().dk, args.dk.row, m, dd);
    exchange.sum(rate);
    learning_rates(m, sigma, dsigma, ds, rate);

    // dW = dW' + Q^T U + K^T dZ;  dc = dc' + sum U + sum dZ
    TTT_UNROLL
    for (int i = 0; i < kOwn / 16; ++i) {
      Base::add_product(dstate[i], u_rows.a_transposed(first_column + 16 * i, 0), q);
      Base::add_product(dstate[i], dz_rows.a_transposed(first_column + 16 * i, 0), k);
    }
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 2; ++x)
        dc[j][x] += sum_over_column(u.x[j][x] + u.x[j][2 + x]) + sum_over_column(dz.x[j][x] + dz.x[j][2 + x]);
    }
  }

  // dsigma_j = sum_i dE_ij s_i + s_last de_j;  ds_i += sum_j dE_ij sigma_j, ds_last += sum_j sigma_j de_j. All warps
  // have the same numbers; the first one stores them. minus_de: -de of this lane's rows.
  TTT_DEVICE void learning_rates(std::int64_t m, float sigma, float (&dsigma)[2][2], float (&ds)[2],
                                 const float (&minus_de)[2][1]) {
    const float own = this->sum_by_column(dsigma);
    dscale += this->by_row(sum_over_quad(ds[0]), sum_over_quad(ds[1]));
    const float de = -this->by_row(minus_de[0][0], minus_de[1][0]);
    const float of_last = this->sum_over_rows(sigma * de);
    if (lane % kMiniBatch == kMiniBatch - 1) dscale += of_last;
    if (thread_in_block() < this->rows_in(m))
      args.dsigma[p() * in.time + m * kMiniBatch + lane] = own + this->scale(kMiniBatch - 1) * de;
  }

  TTT_DEVICE void run() {
    const std::int64_t whole = this->whole_mini_batches(), last = this->mini_batches() - 1;
    if (whole > 0) {
      load_state((whole - 1) / args.segment);
    } else {
      this->load(args.w + this->head() * kHeadDim * kHeadDim, state);
      this->load(args.b + this->head() * kHeadDim, c);
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
    this->store(dstate, args.dw + p() * kHeadDim * kHeadDim);
    this->store(dc, args.db + p() * kHeadDim);
    Vector gains, biases;
    TTT_UNROLL
    for (int j = 0; j < kTiles; ++j) {
      TTT_UNROLL
      for (int x = 0; x < 2; ++x)
        gains[j][x] = sum_over_column(dgain(j, x)), biases[j][x] = sum_over_column(dbias(j, x));
    }
    this->store(gains, args.dgain + p() * kHeadDim);
    this->store(biases, args.dbias + p() * kHeadDim);
    if (thread_in_block() < kMiniBatch) args.dscale[p() * kMiniBatch + lane] = dscale;
  }
};

}  // namespace ttt::kernels::cuda
