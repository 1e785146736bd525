// Mamba's selective scan on the CPU (arXiv 2312.00752): for every channel e and state n
//
//     h_t = exp(dt_t A) h_{t-1} + dt_t B_t x_t;     y_t = sum_n C_t,n h_t,n + D x_t
//
// Compiled for AVX-512, AVX2 and the baseline, for float and double. Channels lie in the lanes of a vector, the states
// of a channel in 16 of them. Single-threaded on a range of channels of one sequence; the op splits the work.
//
// Shapes: T time, E channels, N = 16 states, S = ceil(T / kScanChunk) chunks. Row-major, contiguous.
#pragma once

#include <cstdint>

namespace ttt::kernels {

constexpr std::int64_t kScanStates = 16;
constexpr std::int64_t kScanChunk = 16;  // tokens between two saved states

// One sequence of the op's tensors, T = const float / const double for values, float / double for gradients.
template <class T>
struct ScanPointers {
  T* x = nullptr;   // [T,E]
  T* dt = nullptr;  // [T,E]
  T* A = nullptr;   // [N,E]
  T* B = nullptr;   // [T,N]
  T* C = nullptr;   // [T,N]
  T* D = nullptr;   // [E]
};

// Channels [begin, end). h [N,E] holds the state before the first token and gets the one after the last; starts [S,N,E]
// gets the state before each chunk (null: not wanted). y [T,E] is overwritten.
template <class T>
void selective_scan(std::int64_t time, std::int64_t channels, std::int64_t begin, std::int64_t end,
                    const ScanPointers<const T>& in, T* h, T* starts, T* y);

// Gradients of sum(dy (.) y) for channels [begin, end), from the states that the forward pass saved. x, dt, A, D of
// `grad` are overwritten there; B and C of `grad` [T,N] are this range's own and overwritten. dh [N,E] is scratch.
template <class T>
void selective_scan_backward(std::int64_t time, std::int64_t channels, std::int64_t begin, std::int64_t end,
                             const ScanPointers<const T>& in, const T* starts, const T* dy, const ScanPointers<T>& grad,
                             T* dh);

}  // namespace ttt::kernels
