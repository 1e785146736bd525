// The TTT layers' inner loops as ops (arXiv 2407.04620; section "Forward, dual form" of the paper, equations in
// kernels/reference/ttt_reference.h). The inner net is data: any number of layers, their tensors by name, and how they
// learn. One layer is TTT-Linear, two are TTT-MLP.
//
// Shapes: B batch, H heads, T time, K head size (f in the equations), C mini-batch (b), M the inner MLP's hidden width
// (4K in TTT-MLP).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/ttt_params.h"
#include "kernels/ttt_update.h"
#include "ops/kernel_table.h"

namespace ttt {

// An inner net and its learner. Layers one after the other, x W + b, GELU (tanh) between them; the first takes K
// columns, the last gives K.
struct TttNet {
  struct Layer {
    std::string weight, bias;  // names of its tensors, [H,in,out] and [H,1,out]
  };
  std::vector<Layer> layers;
  kernels::TttLearner learner = {};
  kernels::TttUpdate update = {};

  // How it differs from the nets of the paper, as the rest of a sentence ("an inner net of 3 layers"); "" for
  // TTT-Linear and TTT-MLP. Rows that hold the paper's nets alone decline these calls with it.
  std::string variant() const;
  // The op that computes it: "ttt_linear" for one layer, else "ttt_mlp".
  const char* op() const { return layers.size() == 1 ? "ttt_linear" : "ttt_mlp"; }
};

const TttNet& ttt_linear_net();  // w1, b1
const TttNet& ttt_mlp_net();     // w1, b1, w2, b2

// What the inner loop takes from a layer. All tensors of one floating-point type (fp32 or fp64) on one device; or q, k
// and v in bf16 and the others in fp32, where a row takes that (ttt_takes_bf16): O and gradients are of the types of
// their tensors.
struct TttInputs {
  at::Tensor q_BHTK, k_BHTK, v_BHTK;  // after convolutions and RoPE
  at::Tensor
      sigma_BHT;       // base_lr * mult * sigmoid(w . x + bias) / K: the inner learning rate of each token (key column)
  at::Tensor scale_C;  // s_i = max(0, 1/(i+1) + delta_i): the factor of each position of a mini-batch (query row)
  at::Tensor gain_HK, bias_HK;  // the inner LayerNorm's scale and shift, eps 1e-6; unread without a LayerNorm
  // Of a model in bf16: rows whose matrix products round their operands to bf16 may be chosen (fp32 tensors). Sums,
  // statistics and fast weights stay fp32. Decoding takes no notice.
  bool bf16_products = false;
};

// Fast weights in the order of the net's layers: weight, bias, weight, bias, ... Learned ones are [H,in,out] and
// [H,1,out], those of a decoding state have a leading B.
using TttWeights = std::vector<at::Tensor>;

// The state of decoding: fast weights as of the last finished mini-batch, and the rows of the open one, of which
// 0..num_open-1 are valid. fp32 (fp64 for fp64 inputs).
struct TttState {
  TttWeights weights;         // with a leading B
  std::int64_t num_open = 0;  // tokens in the open mini-batch, in [0, C)
  // By gradient step and layer, as InnerRows (ttt_inner.h) have them:
  std::vector<at::Tensor> x;  // the layer's inputs X_l [B,H,C,in]; the first are the keys
  std::vector<at::Tensor> g;  // the gradients G_l [B,H,C,out]
  at::Tensor sigma_BHC;

  std::int64_t batch() const { return sigma_BHC.size(0); }
  std::int64_t mini_batch() const { return sigma_BHC.size(2); }
  std::vector<at::Tensor*> tensors();  // all of them
};

// A fresh state: the initial weights repeated over the batch, an empty mini-batch of size C with rows for every
// gradient step.
TttState ttt_initial_state(const TttWeights& initial, std::int64_t batch, std::int64_t mini_batch_size,
                           std::int64_t steps = 1);

// Inner-loop statistics of one layer, one value a mini-batch (full ones and a short last one), averaged over batch and
// heads: the inner loss (mean over K, no 1/2) of the mini-batch's last token at W0, before the step (W_{t-C}) and after
// it (W_t), and ||W_t - W_0|| (Frobenius, weights without biases).
struct TttStats {
  at::Tensor loss_w0, loss_before, loss_after, weight_change;  // [ceil(T/C)] fp32
};

// The op in training: O = Q + LN(Zq) [B,H,T,K] for whole sequences that start at the learned weights, any T >= 1.
// Differentiable in every tensor of `inputs` and `initial` by the hand-written backward pass of the chosen kernel row.
at::Tensor ttt_forward(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                       std::int64_t mini_batch_size);

// The op in decoding: the same outputs for T further tokens, advancing `state` (no gradients). Starts at any place
// inside the mini-batch and may end at any: splitting a sequence anywhere gives the same outputs. scale_C holds the
// whole C factors.
at::Tensor ttt_advance(const TttNet& net, const TttInputs& inputs, TttState& state);

// The statistics, by running the inner loop once more without gradients.
TttStats ttt_statistics(const TttNet& net, const TttInputs& inputs, const TttWeights& initial,
                        std::int64_t mini_batch_size);

// --- the kernel table ---

struct TttShape {
  std::int64_t batch, heads, time, head_dim, mini_batch;
  at::ScalarType dtype;
  at::Device device;
  bool bf16_products = false;  // see TttInputs
  std::string variant = {};    // see TttNet
  KernelPass pass = KernelPass::kTraining;
};

// What the forward pass leaves for the backward pass; its meaning belongs to the row.
using TttSaved = std::vector<at::Tensor>;

struct TttGradients {
  TttInputs inputs;    // in the shapes of the inputs
  TttWeights initial;  // in the shapes of the weights
};

// What a row computes with.
struct TttFunctions {
  // Returns O; fills `saved` when it is not null.
  at::Tensor (*forward)(const TttNet&, const TttInputs&, const TttWeights& initial, std::int64_t mini_batch_size,
                        TttSaved* saved);
  TttGradients (*backward)(const TttNet&, const at::Tensor& grad_o_BHTK, const TttInputs&, const TttWeights& initial,
                           std::int64_t mini_batch_size, const TttSaved& saved);
  // Decoding, see ttt_advance(); changes the state's tensors in place. Null: by ATen calls (ttt_decode.cpp).
  at::Tensor (*advance)(const TttNet&, const TttInputs&, TttState& state) = nullptr;
};

// The tables of ttt_linear and ttt_mlp (TttNet::op): rows of the same names, `composed` (batched ATen calls, any
// device) and `reference` (plain loops, CPU, the specification) last. These two take any net, the others the paper's.
using TttKernels = OpKernels<TttFunctions>;
using TttKernel = TttKernels::Row;
const TttKernels& ttt_kernels(const TttNet& net);

KernelCall call_of(const TttShape& shape);

// Whether q, k and v may be handed over in bf16: a row that may be chosen takes them so.
bool ttt_takes_bf16(const TttNet& net, const TttShape& shape);

// The row that such a call takes, as KernelTable::choose_index() chooses.
const TttKernel& choose_ttt_kernel(const TttNet& net, const TttShape& shape);

// The row that decodes such a call: as above, but null where no row with an `advance` may take it.
const TttKernel* choose_ttt_decoder(const TttNet& net, const TttShape& shape);

}  // namespace ttt
