// Decoding with TTT-Linear and TTT-MLP on a GPU: what a block does (ttt_decode_block.h).
#pragma once

#include "kernels/cuda/scalar_math.h"
#include "kernels/cuda/ttt_decode_block.h"

namespace ttt::kernels::cuda {

template <class Element, int kHeadDim>
struct TttLinearDecodeBlock : TttDecodeBase<Element, kHeadDim, 256, kMostHeadDim> {
  using Base = TttDecodeBase<Element, kHeadDim, 256, kMostHeadDim>;
  using Base::args, Base::memory, Base::thread, Base::head_dim, Base::mini_batch, Base::open, Base::keys;
  using typename Base::Four;

  TTT_DEVICE float* w() const { return this->own(args.w1, head_dim() * head_dim()); }
  TTT_DEVICE float* c() const { return this->own(args.b1, head_dim()); }
  TTT_DEVICE float* g() const { return this->own(args.g1, mini_batch * head_dim()); }

  TTT_DEVICE TttLinearDecodeBlock(const TttDecode<Element>& arguments, char* shared) : Base(arguments, shared) {
    this->prefetch(w(), head_dim() * head_dim());
    this->prefetch(c(), head_dim());
    this->prefetch(keys(), open * head_dim());
    this->prefetch(g(), open * head_dim());
  }

  TTT_DEVICE void token(std::int64_t t) {
    this->read_token(t);
    // Z = K W + c;  Q W + c;  N
    this->template multiply<2>({memory.k, memory.q}, w(), head_dim(), head_dim(), c(), 0);
    this->dual_mask(memory.q, keys(), head_dim());
    sync_block();
    if (thread < 32) this->inner_gradient(this->columns(0, head_dim()), g() + open * head_dim());
    sync_block();
    // Zq = Q W + c - N G
    this->template multiply<1>({memory.n}, g(), open + 1, head_dim(), nullptr, 0);
    sync_block();
    if (thread < 32) {
      Four zq = this->columns(1, head_dim());
      zq.add(-1, this->columns(0, open + 1));
      this->output(zq, t);
    }
    if (++open < mini_batch) return;
    this->last_rates();
    this->update(w(), c(), keys(), head_dim(), g(), head_dim());
    open = 0;
  }
  TTT_DEVICE void run() {
    for (std::int64_t t = 0; t < args.in.time; ++t) token(t);
  }
};

template <class Element, int kHeadDim>
struct TttMlpDecodeBlock : TttDecodeBase<Element, kHeadDim, 512, kMostHidden> {
  using Base = TttDecodeBase<Element, kHeadDim, 512, kMostHidden>;
  using Base::args, Base::memory, Base::thread, Base::head_dim, Base::mini_batch, Base::open, Base::keys,
      Base::kThreads;
  using typename Base::Four;

  TTT_DEVICE int hidden() const { return kHeadDim != 0 ? 4 * kHeadDim : recomputed(args.hidden); }
  TTT_DEVICE float* w1() const { return this->own(args.w1, head_dim() * hidden()); }
  TTT_DEVICE float* c1() const { return this->own(args.b1, hidden()); }
  TTT_DEVICE float* w2() const { return this->own(args.w2, hidden() * head_dim()); }
  TTT_DEVICE float* c2() const { return this->own(args.b2, head_dim()); }
  TTT_DEVICE float* g1() const { return this->own(args.g1, mini_batch * hidden()); }
  TTT_DEVICE float* x2() const { return this->own(args.x2, mini_batch * hidden()); }
  TTT_DEVICE float* g2() const { return this->own(args.g2, mini_batch * head_dim()); }

  TTT_DEVICE TttMlpDecodeBlock(const TttDecode<Element>& arguments, char* shared) : Base(arguments, shared) {
    this->prefetch(w1(), head_dim() * hidden());
    this->prefetch(c1(), hidden());
    this->prefetch(w2(), hidden() * head_dim());
    this->prefetch(c2(), head_dim());
    this->prefetch(keys(), open * head_dim());
    this->prefetch(g1(), open * hidden());
    this->prefetch(x2(), open * hidden());
    this->prefetch(g2(), open * head_dim());
  }

  TTT_DEVICE void token(std::int64_t t) {
    this->read_token(t);
    // Z1 = K W1 + c1;  Q W1 + c1;  N1
    this->template multiply<2>({memory.k, memory.q}, w1(), head_dim(), hidden(), c1(), 0);
    this->dual_mask(memory.q, keys(), head_dim());
    sync_block();
    for (int m = thread; m < hidden(); m += kThreads) {
      const GeluTanh gelu(this->sum_of(0, head_dim(), hidden(), m));
      memory.x2[m] = x2()[open * hidden() + m] = gelu.value();
      memory.slope[m] = gelu.slope();
    }
    sync_block();
    // Z2 = X2 W2 + c2;  G2;  G1 = (G2 W2^T) (.) phi'(Z1)
    this->template multiply<1>({memory.x2}, w2(), hidden(), head_dim(), c2(), 0);
    sync_block();
    if (thread < 32) this->inner_gradient(this->columns(0, hidden()), g2() + open * head_dim());
    sync_block();
    this->template dot_rows<8>(memory.g, w2(), hidden(), head_dim(),
                               [&](int m, float b) { g1()[open * hidden() + m] = b * memory.slope[m]; });
    sync_block();
    // Z1q = Q W1 + c1 - N1 G1;  X2q = phi(Z1q)
    this->template multiply<1>({memory.n}, g1(), open + 1, hidden(), nullptr, 0);
    sync_block();
    for (int m = thread; m < hidden(); m += kThreads)
      memory.x2[m] =
          GeluTanh(this->sum_of(1, head_dim(), hidden(), m) - this->sum_of(0, open + 1, hidden(), m)).value();
    sync_block();
    // Z2q = X2q W2 + c2 - N2 G2
    this->template multiply<1>({memory.x2}, w2(), hidden(), head_dim(), c2(), 0);
    this->dual_mask(memory.x2, x2(), hidden());
    sync_block();
    this->template multiply<1>({memory.n}, g2(), open + 1, head_dim(), nullptr, 1);
    sync_block();
    if (thread < 32) {
      Four zq = this->columns(0, hidden());
      zq.add(-1, this->columns(1, open + 1));
      this->output(zq, t);
    }
    if (++open < mini_batch) return;
    this->last_rates();
    this->update(w1(), c1(), keys(), head_dim(), g1(), hidden());
    this->update(w2(), c2(), x2(), hidden(), g2(), head_dim());
    open = 0;
  }
  TTT_DEVICE void run() {
    for (std::int64_t t = 0; t < args.in.time; ++t) token(t);
  }
};

}  // namespace ttt::kernels::cuda
