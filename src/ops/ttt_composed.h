// The composed TTT kernels: the dual form as batched ATen matrix products and row-wise steps, forward and hand-written
// backward, without autograd. Equations: kernels/reference/ttt_reference.h.
//
// Work is cut into pieces: a group of g heads (of B*H; groups run in parallel on CPU threads, one group holds all heads
// on other devices) times a segment of s mini-batches. Within a piece everything that does not depend on the recurrent
// state (Q K^T, masks, output norms; in the backward pass dN, dA, dE, dQ and most of dK) is done for all s mini-batches
// at once; only the products with the state are done mini-batch by mini-batch. A short last mini-batch is padded with
// zeros (sigma 0): the causal mask and the rates keep padded rows from having any effect.
//
// Kept for the backward pass: the fast weights at the start of every segment, [segments, B*H, ...]; the backward pass
// runs a segment's forward again. For fp32, K = 64, C = 16, s = 8 that is 130 bytes a token and head for TTT-Linear, 1
// KiB for TTT-MLP.
//
// Shapes: B batch, H heads, P = B*H, T time, K head size, M hidden width of TTT-MLP, C mini-batch, n = s*g.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <memory>
#include <vector>

#include "ops/ttt.h"
#include "ops/ttt_rows.h"

namespace ttt {

struct PieceSizes {
  std::int64_t segment;  // s mini-batches
  std::int64_t group;    // g heads
  std::int64_t mini_batch, head_dim, hidden;
};

// A buffer [s*g, ...] with its slices [g, ...] by mini-batch made once (a view costs as much as a small product).
struct Steps {
  Steps() = default;
  Steps(const at::Tensor& buffer, std::int64_t group);
  const at::Tensor& operator[](std::int64_t i) const { return slices[i]; }
  Steps transposed() const;
  Steps rows(std::int64_t begin, std::int64_t count) const;  // narrow(1, begin, count)
  at::Tensor all;
  std::vector<at::Tensor> slices;
};

// One piece of work: its buffers and the passes over it. TTT-Linear and TTT-MLP derive from it.
class TttPiece {
 public:
  TttPiece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like);
  virtual ~TttPiece() = default;

  // Inputs of the piece, filled by the caller; padded rows are zero.
  at::Tensor q, k, target;  // [n,C,K], q and k adjacent in one buffer; target = V - K
  at::Tensor sigma;         // [n,C]
  at::Tensor scale_C;
  at::Tensor gain, bias;  // [g,K]
  // Output, or the gradient of the output, which backward() turns into dQ.
  at::Tensor o;       // [n,C,K]
  at::Tensor dk, dv;  // [n,C,K]
  at::Tensor dsigma;  // [n,C]
  // Accumulated (+=) by backward(), set by the caller.
  at::Tensor dgain, dbias, dscale;  // [g,K], [g,K], [g,C]

  // The fast weights that the piece starts from (first) and those after its last mini-batch: w1, b1 (w2, b2).
  virtual std::vector<at::Tensor> first_state() = 0;
  virtual std::vector<at::Tensor> last_state() = 0;
  // The gradient carried from the following mini-batch (before backward()) or out of the first one (after it).
  virtual std::vector<at::Tensor> state_gradient() = 0;

  // O into `o` when want_output; leaves what backward() needs. The update after the last mini-batch is left out unless
  // wanted.
  virtual void forward(bool want_output, bool want_last_state) = 0;
  virtual void backward() = 0;

 protected:
  at::Tensor make(at::IntArrayRef sizes) const { return at::empty(sizes, options_); }
  void begin_forward();  // e, Q K^T, its mask, e (.) K

  PieceSizes sizes_;
  std::int64_t n_;  // s*g
  RowOps rows_;
  at::TensorOptions options_;
  Steps qk_, target_, e_;     // [n,2C,K] (rows of Q, then of K); [n,C,K]; [n,C]
  Steps ek_, ek_t_;           // e (.) K
  at::Tensor a_, mask_;       // [n,C,C]
  Steps xh_, r_;              // of Z (TTT-MLP: Z2)
  at::Tensor ng_, xhq_, rq_;  // N G; of Zq (Z2q)
  at::Tensor un_;             // U G^T, then dA
  Steps dd_;
};

std::unique_ptr<TttPiece> make_linear_piece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like);
std::unique_ptr<TttPiece> make_mlp_piece(const PieceSizes& sizes, const RowOps& rows, const at::Tensor& like);

// How the work is cut and which row-wise steps are used.
struct ComposedPlan {
  std::int64_t segment;  // mini-batches
  std::int64_t group;    // heads
  bool use_loops;        // kernels/cpu instead of ATen for the row-wise steps
};
ComposedPlan plan_composed(TttKind kind, const TttShape& shape);

at::Tensor composed_forward(TttKind kind, const ComposedPlan& plan, const TttInputs& inputs, const TttWeights& initial,
                            std::int64_t mini_batch_size, TttSaved* saved);
TttGradients composed_backward(TttKind kind, const ComposedPlan& plan, const at::Tensor& grad_o_BHTK,
                               const TttInputs& inputs, const TttWeights& initial, std::int64_t mini_batch_size,
                               const TttSaved& saved);

}  // namespace ttt
