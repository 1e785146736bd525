// The gated delta rule, one head of one sequence at a time: the chunked form in fp32 with register-tiled products,
// everything between them fused, forward and hand-written backward. Equations: reference/gated_delta_reference.h and,
// by chunks, ops/gated_delta_composed.cpp.
//
// The forward pass keeps the state at every chunk's start and the rows D that the tokens write; the backward pass goes
// through the chunks from the last to the first. The triangular systems are solved by substitution. Single-threaded:
// the caller gives each thread its heads and a workspace. A last chunk of fewer tokens is padded to a multiple of 16
// with zeros, which have no effect.
//
// Shapes: T time, K the keys' head size, V the values' (both multiples of 16), C tokens of a chunk.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/cpu/ttt_fused.h"

namespace ttt::kernels {

inline constexpr std::int64_t kDeltaChunk = 64;

// What the op has for one head of one sequence.
struct GatedDeltaHead {
  std::int64_t time = 0, key_dim = 0, value_dim = 0;
  HeadRows<const float> q, k;     // [T,K], not normalised
  HeadRows<const float> v;        // [T,V]
  HeadRows<const float> g, beta;  // [T]

  std::int64_t chunks() const { return (time + kDeltaChunk - 1) / kDeltaChunk; }
  std::int64_t state_size() const { return key_dim * value_dim; }
};

// All of it overwritten, except that nothing is written through null pointers.
struct GatedDeltaHeadOutputs {
  HeadRows<float> o;        // [T,V]
  float* state = nullptr;   // [K,V]: S_0, replaced by S_T; null: S_0 = 0
  float* starts = nullptr;  // [chunks, state_size], for the backward pass
  float* deltas = nullptr;  // [T,V], likewise
};

struct GatedDeltaHeadGradients {
  HeadRows<const float> o;        // in: [T,V]
  const float* starts = nullptr;  // in: of the forward pass
  const float* deltas = nullptr;  // in: likewise
  // Overwritten. dq, dk [T,K]; dv [T,V]; dg, dbeta [T].
  HeadRows<float> dq, dk, dv;
  float *dg = nullptr, *dbeta = nullptr;
};

// The passes, compiled for one instruction set.
struct FusedGatedDelta {
  const char* name;     // "avx512", "avx2", "portable"
  bool (*supported)();  // by this processor
  // Floats of workspace that a pass over such heads needs.
  std::int64_t (*workspace)(const GatedDeltaHead& head, bool backward);
  void (*forward)(const GatedDeltaHead& head, const GatedDeltaHeadOutputs& out, float* workspace);
  void (*backward)(const GatedDeltaHead& head, const GatedDeltaHeadGradients& gradients, float* workspace);
};

// Best first; those for other kinds of processors than the build's are left out. Workspaces are aligned to 64 bytes.
const std::vector<FusedGatedDelta>& fused_gated_delta();

}  // namespace ttt::kernels
