// What the CUDA kernels of Mamba's selective scan are handed. Equations: ops/selective_scan.h.
//
// Shapes: B sequences, T time, E channels, N = 16 states, S = ceil(T / 16) chunks, L = ceil(S / segment) segments,
// G = ceil(E / 128) groups of channels. All fp32, contiguous, row-major. E a multiple of 4 and addresses of multiples
// of 16 bytes are the fast path; B and C are always so aligned.
#pragma once

#include <algorithm>
#include <cstdint>
#include <string>

#include "base/error.h"
#include "kernels/cpu/selective_scan.h"

namespace ttt::kernels::cuda {

inline constexpr int kScanForwardSharedBytes = 36 << 10, kScanBackwardSharedBytes = 100 << 10;  // of a block

inline constexpr int kScanGroup = 128;  // channels of a block, and so of a partial sum over channels

// The chunks of a segment: as many of them as keep a GPU busy are scanned at a time, if sequences and channels alone do
// not. More than one costs the exponentials of the states once more.
inline std::int64_t scan_segment(std::int64_t sequences, std::int64_t time, std::int64_t channels) {
  constexpr std::int64_t kEnoughBlocks = 96, kWantedBlocks = 256, kLeastChunks = 4;
  const auto divided = [](std::int64_t x, std::int64_t y) { return (x + y - 1) / y; };
  const std::int64_t blocks = sequences * divided(channels, kScanGroup), chunks = divided(time, kScanChunk);
  if (blocks == 0 || blocks >= kEnoughBlocks) return std::max<std::int64_t>(chunks, 1);
  return std::max(kLeastChunks, divided(chunks, divided(kWantedBlocks, blocks)));
}

struct ScanInputs {
  std::int64_t sequences = 0;
  std::int64_t time = 0;
  std::int64_t channels = 0;
  std::int64_t segment = 0;   // scan_segment()
  const float* x = nullptr;   // [B,T,E]
  const float* dt = nullptr;  // [B,T,E]
  const float* A = nullptr;   // [N,E]
  const float* B = nullptr;   // [B,T,N]
  const float* C = nullptr;   // [B,T,N]
  const float* D = nullptr;   // [E]

  std::int64_t chunks() const { return (time + kScanChunk - 1) / kScanChunk; }      // S
  std::int64_t segments() const { return (chunks() + segment - 1) / segment; }      // L
  std::int64_t groups() const { return (channels + kScanGroup - 1) / kScanGroup; }  // G
  std::int64_t blocks() const { return sequences * segments() * groups(); }
  std::string shape() const { return cat(sequences, " sequences of ", time, " tokens, ", channels, " channels"); }
};

// Between the kernels of a pass; null where there is one segment.
struct ScanWorkspace {
  float* carries = nullptr;  // [B,L,N,E]
  float* dt_sums = nullptr;  // [B,L,E]
};

struct ScanForward {
  ScanInputs in;
  const float* h = nullptr;  // [B,N,E], the state before the first token; null: zeros
  float* h_end = nullptr;    // [B,N,E], the one after the last token; may be h; null: not wanted
  float* starts = nullptr;   // [B,S,N,E], the state before each chunk, for the backward pass; null: not wanted
  float* y = nullptr;        // [B,T,E]
  ScanWorkspace work;

  std::string shape() const { return in.shape(); }
};

// From the states of a forward pass that began with zeros.
struct ScanBackward {
  ScanInputs in;
  const float* starts = nullptr;  // [B,S,N,E]
  const float* dy = nullptr;      // [B,T,E]
  float* dx = nullptr;            // [B,T,E]
  float* d_dt = nullptr;          // [B,T,E]
  // Partial sums, whose leading dimensions (B L, B L, and G of each sequence) the caller adds up.
  float* dA = nullptr;  // [B,L,N,E]
  float* dD = nullptr;  // [B,L,E]
  float* dB = nullptr;  // [B,G,T,N]
  float* dC = nullptr;  // [B,G,T,N]
  ScanWorkspace work;

  std::string shape() const { return in.shape(); }
};

}  // namespace ttt::kernels::cuda
