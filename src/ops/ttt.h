// The TTT layers' inner loops as ops (arXiv 2407.04620; section "Forward, dual form" of the paper, equations in
// ttt_linear.h and ttt_mlp.h). This header: what both share.
//
// Shapes: B batch, H heads, T time, K head size (f in the equations), C mini-batch (b), M = 4K the inner MLP's hidden
// width.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ops/kernel_table.h"

namespace ttt {

// What the inner loop takes from a layer. All tensors of one floating-point type (fp32 or fp64) on one device; or q, k
// and v in bf16 and the others in fp32, where a row takes that (ttt_takes_bf16): O and gradients are of the types of
// their tensors.
struct TttInputs {
  at::Tensor q_BHTK, k_BHTK, v_BHTK;  // after convolutions and RoPE
  at::Tensor
      sigma_BHT;       // base_lr * mult * sigmoid(w . x + bias) / K: the inner learning rate of each token (key column)
  at::Tensor scale_C;  // s_i = max(0, 1/(i+1) + delta_i): the factor of each position of a mini-batch (query row)
  at::Tensor gain_HK, bias_HK;  // the inner LayerNorm's scale and shift, eps 1e-6
  // Of a model in bf16: rows whose matrix products round their operands to bf16 may be chosen (fp32 tensors). Sums,
  // statistics and fast weights stay fp32. Decoding takes no notice.
  bool bf16_products = false;
};

// The learned initial fast weights: TTT-Linear (w1 [H,K,K], b1 [H,1,K]; w2, b2 undefined);
// TTT-MLP (w1 [H,K,M], b1 [H,1,M], w2 [H,M,K], b2 [H,1,K]).
struct TttWeights {
  at::Tensor w1, b1, w2, b2;
};

// The state of decoding: fast weights as of the last finished mini-batch, and the rows of the open one.
// TTT-Linear keeps K, G and sigma; TTT-MLP keeps K, X2, G1, G2 and sigma. Rows 0..num_open-1 are valid.
struct TttState {
  TttWeights weights;         // with a leading B: [B,H,K,K], ...; fp32 (fp64 for fp64 inputs)
  std::int64_t num_open = 0;  // tokens in the open mini-batch, in [0, C)
  at::Tensor k_BHCK;          // keys
  at::Tensor g1;              // TTT-Linear: G [B,H,C,K]; TTT-MLP: G1 [B,H,C,M]
  at::Tensor x2, g2;          // TTT-MLP: X2 [B,H,C,M], G2 [B,H,C,K]
  at::Tensor sigma_BHC;
};

// A fresh state: the initial weights repeated over the batch, an empty mini-batch of size C.
TttState ttt_initial_state(const TttWeights& initial, std::int64_t batch, std::int64_t mini_batch_size);

// Inner-loop statistics of one layer, one value a mini-batch (full ones and a short last one), averaged over batch and
// heads: the inner loss (mean over K, no 1/2) of the mini-batch's last token at W0, before the step (W_{t-C}) and after
// it (W_t), and ||W_t - W_0|| (Frobenius, weights without biases).
struct TttStats {
  at::Tensor loss_w0, loss_before, loss_after, weight_change;  // [ceil(T/C)] fp32
};

enum class TttKind { kLinear, kMlp };

// The op in training: O = Q + LN(Zq) [B,H,T,K] for whole sequences that start at the learned weights, any T >= 1.
// Differentiable in every tensor of `inputs` and `initial` by the hand-written backward pass of the chosen kernel row.
at::Tensor ttt_forward(TttKind kind, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size);

// The op in decoding: the same outputs for T further tokens, advancing `state` (no gradients). Starts at any place
// inside the mini-batch and may end at any: splitting a sequence anywhere gives the same outputs. scale_C holds the
// whole C factors.
at::Tensor ttt_advance(TttKind kind, const TttInputs& inputs, TttState& state);

// The statistics, by running the inner loop once more without gradients.
TttStats ttt_statistics(TttKind kind, const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size);

// --- the kernel table ---

struct TttShape {
  std::int64_t batch, heads, time, head_dim, mini_batch;
  at::ScalarType dtype;
  at::Device device;
  bool bf16_products = false;  // see TttInputs
};

// What the forward pass leaves for the backward pass; its meaning belongs to the row.
using TttSaved = std::vector<at::Tensor>;

struct TttGradients {
  TttInputs inputs;    // gradients in the shapes of the inputs
  TttWeights initial;  // gradients in the shapes of the weights
};

// What a row computes with.
struct TttFunctions {
  // Returns O; fills `saved` when it is not null.
  at::Tensor (*forward)(TttKind, const TttInputs&, const TttWeights& initial, std::int64_t mini_batch_size,
                        TttSaved* saved);
  TttGradients (*backward)(TttKind, const at::Tensor& grad_o_BHTK, const TttInputs&, const TttWeights& initial,
                           std::int64_t mini_batch_size, const TttSaved& saved);
  // Decoding, see ttt_advance(); changes the state's tensors in place. Null: by ATen calls (ttt_decode.cpp).
  at::Tensor (*advance)(TttKind, const TttInputs&, TttState& state) = nullptr;
};

// The tables of ttt_linear and ttt_mlp: rows of the same names, `composed` (batched ATen calls, any device) and
// `reference` (plain loops, CPU, the specification) last.
using TttKernels = OpKernels<TttFunctions>;
using TttKernel = TttKernels::Row;
const TttKernels& ttt_kernels(TttKind kind);

KernelCall call_of(const TttShape& shape);

// Whether q, k and v may be handed over in bf16: a row that may be chosen takes them so.
bool ttt_takes_bf16(TttKind kind, const TttShape& shape);

// The row that such a call takes, as KernelTable::choose_index() chooses.
const TttKernel& choose_ttt_kernel(TttKind kind, const TttShape& shape);

// The row that decodes such a call: as above, but null where no row with an `advance` may take it.
const TttKernel* choose_ttt_decoder(TttKind kind, const TttShape& shape);

}  // namespace ttt
