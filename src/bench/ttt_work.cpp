// Counts of the kernels of TTT-Linear and TTT-MLP (kernel_work.h). Their products, forward and backward, are those of
// inner_products.h; here are also those that the kernels make again, or in every warp.
#include "bench/kernel_work.h"
#include "kernels/cuda/ttt_decode.h"
#include "kernels/cuda/ttt_linear_backward.h"
#include "kernels/cuda/ttt_linear_forward.h"
#include "kernels/cuda/ttt_mlp_backward.h"
#include "kernels/cuda/ttt_mlp_forward.h"

namespace ttt {
namespace {

// What one block works on. K head size, M = 4 K, C tokens of a mini-batch, W warps, T tokens, E bytes of an Element, P
// mma a product: 1 in bf16, 3 in fp32.
struct TttBlockShape {
  double T, K, M, C, W, E, P;
  double all, whole;  // mini-batches, and those with C tokens
  double states;      // that are stored
  bool on_chip;       // TTT-MLP: see ttt_mlp_on_chip()

  double linear_state() const { return K * K + K; }              // values
  double mlp_state() const { return 2 * K * M + M + K; }         // values
  double norm() const { return 2 * K + C; }                      // gain, bias, s
  double tokens(double rows) const { return E * rows * T * K; }  // bytes of so many tensors [T,K]
};

template <class Element>
TttBlockShape ttt_block_shape(const OpSizes& s, int threads, std::int64_t mini_batches_of_state) {
  const std::int64_t C = s.mini_batch, whole = s.context / C, each = mini_batches_of_state;
  TttBlockShape n;
  n.T = static_cast<double>(s.context), n.K = static_cast<double>(s.head_dim), n.M = 4 * n.K;
  n.C = static_cast<double>(C), n.W = threads / 32;
  n.E = sizeof(Element), n.P = sizeof(Element) == 2 ? 1 : 3;
  n.all = static_cast<double>((s.context + C - 1) / C), n.whole = static_cast<double>(whole);
  n.states = static_cast<double>((whole + each - 1) / each);
  n.on_chip = kernels::cuda::ttt_mlp_on_chip<Element>(static_cast<int>(s.head_dim));
  return n;
}

// --- a block's counts ---

void count_linear_forward(const TttBlockShape& n, KernelWork& of) {
  // In: q, k, v; sigma; W, c; gain, bias, s. Out: O, G; the states.
  of.bytes = n.tokens(3 + 2) + 4 * (n.T + n.linear_state() + n.norm() + n.states * n.linear_state());
  // Z, Zq; N G, and Q K^T by every warp; the update of W.
  of.mma_flop = n.P * (n.all * (4 * n.C * n.K * n.K + 2 * n.C * n.C * n.K * (1 + n.W)) + n.whole * 2 * n.C * n.K * n.K);
  // A value of a mini-batch [C,K]: two normalisations 6 each; D, H 5; their sums 3; G 4; e G 1; c 2; O 3. A value of N
  // [C,C], by every warp: 4.
  of.fp32_flop = n.all * (30 * n.C * n.K + 4 * n.W * n.C * n.C);
}

void count_linear_backward(const TttBlockShape& n, KernelWork& of) {
  // In: q, k, v, G, dO; sigma; the states (or W, c); gain, bias, s. Out: dq, dk, dv; dsigma; dW, dc; dgain, dbias, ds.
  of.bytes = n.tokens(5 + 3) +
             4 * (2 * n.T + (n.states > 0 ? n.states : 1) * n.linear_state() + n.linear_state() + 2 * n.norm());
  // Z, Zq, K dW', U W^T, G dW'^T, dZ W^T, Q^T U, K^T dZ; N G, N^T U, dA K, dA^T Q; Q K^T and U G^T by every warp; the
  // step back of W.
  of.mma_flop =
      n.P * (n.all * (8 * 2 * n.C * n.K * n.K + 2 * n.C * n.C * n.K * (4 + 2 * n.W)) + n.whole * 2 * n.C * n.K * n.K);
  // A value of [C,K]: e G and c 3; two normalisations 12; dgain, dbias, gain dO 4; sums 10; U 4; Gam 1; sums 7; dD,
  // dgain, dbias, dxh 21; sums 3; dZ 7; de, dK 4; dc 4. A value of [C,C], by every warp: N 4, dE and dA 8.
  of.fp32_flop = n.all * (80 * n.C * n.K + 12 * n.W * n.C * n.C);
}

void count_mlp_forward(const TttBlockShape& n, KernelWork& of) {
  // In: q, k, v; sigma; the weights; gain, bias, s. Out: O, G2; Z1 [C,M] of every mini-batch; the states.
  of.bytes =
      n.tokens(3 + 2) + n.all * n.E * n.C * n.M + 4 * (n.T + n.mlp_state() + n.norm() + n.states * n.mlp_state());
  // Passes over W1: Z1 with Zq1; over W2: Z2, G2 W2^T, Zq2; the updates of both, in and out. In registers: none.
  of.scratch_bytes = n.on_chip ? 0 : 4 * n.K * n.M * (4 * n.all + 4 * n.whole);
  // Z1, Zq1, Z2, G2 W2^T, Zq2; N1 G1, Xq2 X2^T; Q K^T and N2 G2 by every warp; the updates of W1 and W2.
  of.mma_flop = n.P * (n.all * (5 * 2 * n.C * n.K * n.M + 2 * 2 * n.C * n.C * n.M + 2 * n.W * 2 * n.C * n.C * n.K) +
                       n.whole * 2 * 2 * n.C * n.K * n.M);
  // A value of [C,M]: X2 and Xq2; phi'(Z1) with its GELU; times B 1; e G1 and c1 3; e X2 1. Of [C,K]: as TTT-Linear,
  // and the warps' parts of Z2 and Zq2. Of [C,C], by every warp: N1, N2.
  of.fp32_flop =
      n.all * ((3 * kGelu - 1 + kGeluSlope + 5) * n.C * n.M + (30 + 2 * n.W) * n.C * n.K + 8 * n.W * n.C * n.C);
}

void count_mlp_backward(const TttBlockShape& n, KernelWork& of) {
  // In: q, k, v, G2, dO; Z1; sigma; the states (or the weights); gain, bias, s. Out: dq, dk, dv; dsigma; the gradients
  // of the weights, gain, bias and s.
  of.bytes = n.tokens(5 + 3) + n.all * n.E * n.C * n.M +
             4 * (2 * n.T + (n.states > 0 ? n.states : 1) * n.mlp_state() + n.mlp_state() + 2 * n.norm());
  // Passes over W1: Zq1, dQ, dK; the step back 2. Over dW1: K dW1', G1 dW1'^T; two updates 4. Over dW2: X2 dW2', G2
  // dW2'^T; two updates 4. Over W2, where it is not in shared memory: G2 W2^T, Z2, Zq2, U2 W2^T, dB W2, dZ2 W2^T; the
  // step back 2.
  const double passes = n.all * (3 + 6 + 6) + n.whole * 2 + (n.on_chip ? 0 : n.all * 6 + n.whole * 2);
  // Parked matrices [C,M]: 8 are written; read are X2 6 times, B 1, G1 4, Zq1 1, Xq2 2, U1 4, dZ1 1, dB 1. Z1 is read
  // five times, the first of them from global memory.
  const double parked = 8 + 20 + 4;
  of.scratch_bytes = 4 * n.K * n.M * passes + n.all * parked * n.E * n.C * n.M;
  // G2 W2^T, Zq1, Z2, Zq2, U2 W2^T, K dW1', dB W2, X2 dW2', U1 W1^T, G2 dW2'^T, dZ2 W2^T, dZ1 W1^T, G1 dW1'^T, three of
  // dW2, two of dW1; N1 G1, Xq2 X2^T, dA2 X2, U1 G1^T, N1^T U1, dA2^T Xq2; by every warp Q K^T, N2 G2, U2 G2^T,
  // N2^T U2, dA1 K, dA1^T Q; the steps back of W1 and W2.
  of.mma_flop = n.P * (n.all * (18 * 2 * n.C * n.K * n.M + 6 * 2 * n.C * n.C * n.M + n.W * 6 * 2 * n.C * n.C * n.K) +
                       n.whole * 2 * 2 * n.C * n.K * n.M);
  // A value of [C,M]: X2 and Xq2; phi' of Z1 three times and of Zq1, phi'' of Z1, each with its GELU; what they are
  // multiplied by 6; e X2, e G1, -e X2 and -e G1 (the latter two twice) 6; sums to c1 and dc1 6; G1 . dG1 and X2 . dX2
  // 4; their rates 2; dZ1 1. Of [C,K]: as TTT-Linear without dK's 4, and five sums of the warps' parts. Of [C,C], by
  // every warp: N1 and N2 five times 4, dE and dA 8, twice.
  of.fp32_flop = n.all * ((2 * kGelu + 4 * (kGelu - 1 + kGeluSlope) + kGelu - 1 + kGeluCurvature + 25) * n.C * n.M +
                          (76 + 5 * n.W) * n.C * n.K + 36 * n.W * n.C * n.C);
}

// Of decoding: one token, as the mean over the places of a mini-batch, of which (C - 1) / 2 rows are open before it.
void count_linear_decode(const TttBlockShape& n, KernelWork& of) {
  const double rows = (n.C + 1) / 2;  // with the token's own
  // In: q, k, v; sigma; W, c; the open rows of K, G and sigma; gain, bias. Out: O; a row of K, G and sigma; W and c
  // once in C tokens.
  of.bytes = n.E * 4 * n.K + 4 * (1 + n.linear_state() * (1 + 1 / n.C) + rows * (2 * n.K + 1) + 2 * n.K);
  // K W, Q W; Q K^T, N G; a token's part of the update; 30 a value of the row as in training.
  of.fp32_flop = 4 * n.K * n.K + rows * 4 * n.K + 2 * n.K * n.K + 30 * n.K;
}
void count_mlp_decode(const TttBlockShape& n, KernelWork& of) {
  const double rows = (n.C + 1) / 2;  // with the token's own
  // The same, of both layers; rows of K, G1, X2 and G2.
  of.bytes = n.E * 4 * n.K + 4 * (1 + n.mlp_state() * (1 + 1 / n.C) + rows * (2 * n.K + 2 * n.M + 1) + 2 * n.K);
  // K W1, Q W1, X2 W2, G2 W2^T, Xq2 W2; both layers' N and N G; the updates; X2 with phi', Xq2, two more a hidden
  // value.
  of.fp32_flop =
      10 * n.K * n.M + rows * 4 * (n.K + n.M) + 4 * n.K * n.M + 30 * n.K + (2 * kGelu + kGeluSlope + 2) * n.M;
}

// --- launches ---

KernelWork of_all_blocks(KernelWork work) {
  const auto blocks = static_cast<double>(work.blocks);
  work.bytes *= blocks, work.scratch_bytes *= blocks, work.mma_flop *= blocks, work.fp32_flop *= blocks;
  return work;
}

using CountTtt = void (*)(const TttBlockShape& shape, KernelWork& of);

// A block for each sequence and head.
template <class Element, class Block>
KernelWork ttt_pass(const OpSizes& s, const std::string& kernel, CountTtt count, std::int64_t mini_batches_of_state) {
  KernelWork work = kernel_work<Block>(kernel, s.batch * s.heads);
  const TttBlockShape shape = ttt_block_shape<Element>(s, Block::kThreads, mini_batches_of_state);
  work.serial_steps = static_cast<std::int64_t>(shape.all);
  count(shape, work);
  return of_all_blocks(std::move(work));
}
template <class Element, class Block>
KernelWork ttt_decoding(const OpSizes& s, const std::string& kernel, CountTtt count) {
  KernelWork work = kernel_work<Block>(kernel, s.batch * s.heads);
  count(ttt_block_shape<Element>(s, Block::kThreads, 1), work);
  work.note = "a token of every sequence, the mean over a mini-batch";
  return of_all_blocks(std::move(work));
}

// What the kernels of decoding take: ttt_decode_args.h.
bool decodes(const OpSizes& s) {
  return s.head_dim % 8 == 0 && s.head_dim <= kernels::cuda::kMostHeadDim &&
         s.mini_batch <= kernels::cuda::kMostMiniBatch;
}

struct LinearKernels {
  template <class Element, int kHeadDim>
  using Forward = kernels::cuda::TttLinearForwardBlock<Element, kHeadDim, kHeadDim / 16>;
  template <class Element, int kHeadDim>
  using Backward = kernels::cuda::TttLinearBackwardBlock<Element, kHeadDim, kHeadDim / 16>;
  template <class Element, int kHeadDim>
  using Decode = kernels::cuda::TttLinearDecodeBlock<Element, kHeadDim>;
  static constexpr CountTtt forward = count_linear_forward, backward = count_linear_backward,
                            decode = count_linear_decode;
  static constexpr std::int64_t segment = kernels::cuda::kLinearSegment;
};

struct MlpKernels {
  template <class Element, int kHeadDim>
  using Forward = kernels::cuda::TttMlpForwardBlock<Element, kHeadDim>;
  template <class Element, int kHeadDim>
  using Backward = kernels::cuda::TttMlpBackwardBlock<Element, kHeadDim>;
  template <class Element, int kHeadDim>
  using Decode = kernels::cuda::TttMlpDecodeBlock<Element, kHeadDim>;
  static constexpr CountTtt forward = count_mlp_forward, backward = count_mlp_backward, decode = count_mlp_decode;
  static constexpr std::int64_t segment = kernels::cuda::kMlpSegment;
};

// kHeadDim 0: any, which decoding alone takes.
template <class Net, class Element, int kHeadDim>
std::vector<KernelWork> work_of_heads(const OpSizes& s) {
  std::vector<KernelWork> all;
  const std::string type = kernels::cuda::name_of<Element>();
  const std::string end = type + (kHeadDim != 0 ? " " + std::to_string(kHeadDim) : "");
  if constexpr (kHeadDim != 0) {
    using Forward = typename Net::template Forward<Element, kHeadDim>;
    using Backward = typename Net::template Backward<Element, kHeadDim>;
    if (s.mini_batch == kernels::cuda::kMiniBatch) {
      all.push_back(ttt_pass<Element, Forward>(s, "forward " + end, Net::forward, Net::segment));
      all.push_back(ttt_pass<Element, Backward>(s, "backward " + end, Net::backward, Net::segment));
    }
  }
  using Decode = typename Net::template Decode<Element, kHeadDim>;
  if (decodes(s)) all.push_back(ttt_decoding<Element, Decode>(s, "decode " + end, Net::decode));
  return all;
}

template <class Net>
std::vector<KernelWork> ttt_work(const OpSizes& s) {
  return work_of_type(s, [&](auto element) {
    using Element = decltype(element);
    if (s.head_dim == 64) return work_of_heads<Net, Element, 64>(s);
    if (s.head_dim == 96) return work_of_heads<Net, Element, 96>(s);
    return work_of_heads<Net, Element, 0>(s);
  });
}

}  // namespace

std::vector<KernelWork> ttt_linear_work(const OpSizes& s) {
  return ttt_work<LinearKernels>(s);
}

std::vector<KernelWork> ttt_mlp_work(const OpSizes& s) {
  return ttt_work<MlpKernels>(s);
}

}  // namespace ttt
