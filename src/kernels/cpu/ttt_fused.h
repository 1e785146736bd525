// The TTT layers' inner loops, one head of one sequence at a time: fp32 with register-tiled products, everything
// between them fused, forward and hand-written backward. Equations: reference/ttt_reference.h.
//
// A pass goes over segments of a few mini-batches. The forward pass keeps the fast weights of every segment's start;
// the backward pass runs a segment's forward pass again, keeping what it needs in a workspace that stays in a core's
// caches, and then goes through its mini-batches from the last to the first. Single-threaded: the caller gives each
// thread its heads and a workspace. A last mini-batch of fewer than C tokens is padded with zeros (sigma 0), which have
// no effect.
//
// Shapes: T time, K head size (a multiple of 16), M hidden width of TTT-MLP (a multiple of 16), C mini-batch.
#pragma once

#include <cstdint>
#include <vector>

namespace ttt::kernels {

// Rows of one head: row t starts at data + t * step, its values lie together.
template <class T>
struct HeadRows {
  T* data = nullptr;
  std::int64_t step = 0;
  T* operator[](std::int64_t t) const { return data + t * step; }
};

// What an op has for one head of one sequence.
struct TttHead {
  std::int64_t time = 0, head_dim = 0, hidden = 0, mini_batch = 0;  // hidden: 0 for TTT-Linear
  std::int64_t segment = 0;                                         // mini-batches
  HeadRows<const float> q, k, v;                                    // [T,K]
  HeadRows<const float> sigma;                                      // [T]
  const float *scale = nullptr, *gain = nullptr, *bias = nullptr;   // [C], [K], [K]
  // TTT-Linear: [K,K], [K]; TTT-MLP: [K,M], [M], [M,K], [K]
  const float *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr;

  std::int64_t mini_batches() const { return (time + mini_batch - 1) / mini_batch; }
  std::int64_t segments() const { return (mini_batches() + segment - 1) / segment; }
  // TTT-MLP's rows of M values lie M + 16 apart in a pass's own buffers: at a power of two they would share few sets of
  // the first cache.
  std::int64_t hidden_step() const { return hidden + 16; }
  // Values that TTT-Linear's forward pass keeps of a mini-batch, so that the backward pass need not run it again: the
  // two normalised activations and G. (TTT-MLP would have to keep some thirteen times as many: it runs it again.)
  std::int64_t kept_size() const {
    return hidden == 0 ? 3 * mini_batch * head_dim + 2 * ((mini_batch + 15) / 16 * 16) : 0;
  }
  // Values of the fast weights w1, b1, w2, b2, one behind the other; w1's rows hidden_step() apart in TTT-MLP.
  std::int64_t state_size() const {
    return hidden == 0 ? (head_dim + 1) * head_dim : head_dim * hidden_step() + hidden + hidden * head_dim + head_dim;
  }
};

// All of it overwritten, except that nothing is written through null pointers.
struct TttHeadOutputs {
  HeadRows<float> o;        // [T,K]
  float* starts = nullptr;  // [segments, state_size], for the backward pass
  float* kept = nullptr;    // [mini_batches, kept_size], likewise
};

struct TttHeadGradients {
  HeadRows<const float> o;        // in: [T,K]
  const float* starts = nullptr;  // in: of the forward pass
  float* kept = nullptr;          // in: of the forward pass; not written
  // Overwritten. dq, dk, dv [T,K]; dsigma [T]; dscale [C]; dgain, dbias [K]; dstate [state_size].
  HeadRows<float> dq, dk, dv;
  float *dsigma = nullptr, *dscale = nullptr, *dgain = nullptr, *dbias = nullptr, *dstate = nullptr;
};

// The state of decoding, one head's (TttState in ops/ttt.h): fast weights as of the last finished mini-batch, in
// TttHead's layouts, and the rows of the open one. Updated in place, but for num_open.
struct TttDecodeState {
  float *w1 = nullptr, *b1 = nullptr, *w2 = nullptr, *b2 = nullptr;
  // k [C,K], sigma [C]; TTT-Linear: g1 [C,K]; TTT-MLP: g1, x2 [C,M], g2 [C,K]
  float *k = nullptr, *g1 = nullptr, *x2 = nullptr, *g2 = nullptr, *sigma = nullptr;
  std::int64_t num_open = 0;  // tokens in the open mini-batch, before the call
};

// The passes, compiled for one instruction set.
struct FusedTtt {
  const char* name;     // "amx", "avx512_bf16", "avx512", "avx2", "portable"
  bool bf16_products;   // operands of the matrix products are rounded to bf16; sums and all else are fp32
  bool (*supported)();  // by this processor
  // Floats of workspace that a pass over such heads needs.
  std::int64_t (*workspace)(const TttHead& head, bool backward);
  void (*forward)(const TttHead& head, const TttHeadOutputs& out, float* workspace);
  void (*backward)(const TttHead& head, const TttHeadGradients& gradients, float* workspace);
  // head.time further tokens; head's weights are not read. o [T,K].
  std::int64_t (*decode_workspace)(const TttHead& head);
  void (*decode)(const TttHead& head, const TttDecodeState& state, HeadRows<float> o, float* workspace);
};

// Best first; those for other kinds of processors than the build's are left out. Workspaces are aligned to 64 bytes.
const std::vector<FusedTtt>& fused_ttt();

}  // namespace ttt::kernels
