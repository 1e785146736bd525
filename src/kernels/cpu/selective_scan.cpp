// Chunks of 16 tokens, so that the states within a chunk, and their decays, stay in the first-level cache while the
// backward pass walks it in reverse.
#include "kernels/cpu/selective_scan.h"

#include <algorithm>

#include "kernels/cpu/lanes.h"
#include "kernels/cpu/lanes_math.h"

namespace ttt::kernels {
namespace {

constexpr std::int64_t N = kScanStates;

// body(e, Tag<X>): X = vector while a whole one fits into [begin, end), then X = T for the rest.
template <class T, class Body>
TTT_INLINE inline void channel_blocks(std::int64_t begin, std::int64_t end, const Body& body) {
  std::int64_t e = begin;
  for (; e + kLanes<T> <= end; e += kLanes<T>) body(e, Tag<Lanes<T>>());
  for (; e < end; ++e) body(e, Tag<T>());
}

template <class T>
TTT_INLINE inline T horizontal_sum(const Lanes<T>& x) {
  T sum = 0;
  for (std::int64_t i = 0; i < kLanes<T>; ++i) sum += x[i];
  return sum;
}

template <class T>
TTT_INLINE inline void forward_impl(std::int64_t time, std::int64_t E, std::int64_t begin, std::int64_t end,
                                    const ScanPointers<const T>& in, T* h, T* starts, T* y) {
  for (std::int64_t first = 0; first < time; first += kScanChunk) {
    const std::int64_t last = std::min(time, first + kScanChunk);
    T* start = starts == nullptr ? nullptr : starts + first / kScanChunk * N * E;
    channel_blocks<T>(begin, end, [&](std::int64_t e, auto tag) TTT_INLINE {
      using X = typename decltype(tag)::Type;
      X state[N], A[N];
      for (std::int64_t n = 0; n < N; ++n) {
        state[n] = load<X>(h + n * E + e);
        A[n] = load<X>(in.A + n * E + e);
        if (start != nullptr) save(start + n * E + e, state[n]);
      }
      const X D = load<X>(in.D + e);
      for (std::int64_t t = first; t < last; ++t) {
        const X x = load<X>(in.x + t * E + e), dt = load<X>(in.dt + t * E + e), u = dt * x;
        X out = D * x;
        for (std::int64_t n = 0; n < N; ++n) {
          state[n] = exp_of(dt * A[n]) * state[n] + in.B[t * N + n] * u;
          out += in.C[t * N + n] * state[n];
        }
        save(y + t * E + e, out);
      }
      for (std::int64_t n = 0; n < N; ++n) save(h + n * E + e, state[n]);
    });
  }
}

// What a chunk's backward pass adds up over the channels, one vector a value: the lanes are summed at its end.
template <class T>
struct ChunkSums {
  Lanes<T> B[kScanChunk][N], C[kScanChunk][N];
};

template <class T>
TTT_INLINE inline void add_to(Lanes<T>& sum, const Lanes<T>& x) {
  sum += x;
}
template <class T>
TTT_INLINE inline void add_to(Lanes<T>& sum, T x) {
  sum[0] += x;
}

// One block of channels of one chunk. The state before token t is states[t - first], the decay at t decays[t - first].
template <class T, class X>
TTT_INLINE inline void backward_block(std::int64_t E, std::int64_t e, std::int64_t first, std::int64_t last,
                                      const ScanPointers<const T>& in, const T* start, const T* dy,
                                      const ScanPointers<T>& grad, T* dh, ChunkSums<T>& sums) {
  X states[kScanChunk + 1][N], decays[kScanChunk][N], A[N], dA[N], carry[N];
  for (std::int64_t n = 0; n < N; ++n) {
    states[0][n] = load<X>(start + n * E + e);
    A[n] = load<X>(in.A + n * E + e);
    dA[n] = load<X>(grad.A + n * E + e);
    carry[n] = load<X>(dh + n * E + e);
  }
  for (std::int64_t t = first; t < last; ++t) {
    const X dt = load<X>(in.dt + t * E + e), u = dt * load<X>(in.x + t * E + e);
    X* decay = decays[t - first];
    for (std::int64_t n = 0; n < N; ++n) {
      decay[n] = exp_of(dt * A[n]);
      states[t - first + 1][n] = decay[n] * states[t - first][n] + in.B[t * N + n] * u;
    }
  }
  const X D = load<X>(in.D + e);
  X dD = load<X>(grad.D + e);
  for (std::int64_t t = last - 1; t >= first; --t) {
    const std::int64_t i = t - first;
    const X g = load<X>(dy + t * E + e), x = load<X>(in.x + t * E + e), dt = load<X>(in.dt + t * E + e), u = dt * x;
    X d_u = g * T(0), d_dt = d_u;
    for (std::int64_t n = 0; n < N; ++n) {
      const X d_state = carry[n] + g * in.C[t * N + n];
      add_to<T>(sums.C[i][n], g * states[i + 1][n]);
      add_to<T>(sums.B[i][n], d_state * u);
      d_u += d_state * in.B[t * N + n];
      carry[n] = d_state * decays[i][n];
      const X d_exponent = carry[n] * states[i][n];
      d_dt += d_exponent * A[n];
      dA[n] += d_exponent * dt;
    }
    dD += g * x;
    save(grad.x + t * E + e, D * g + d_u * dt);
    save(grad.dt + t * E + e, d_dt + d_u * x);
  }
  save(grad.D + e, dD);
  for (std::int64_t n = 0; n < N; ++n) {
    save(grad.A + n * E + e, dA[n]);
    save(dh + n * E + e, carry[n]);
  }
}

template <class T>
TTT_INLINE inline void backward_impl(std::int64_t time, std::int64_t E, std::int64_t begin, std::int64_t end,
                                     const ScanPointers<const T>& in, const T* starts, const T* dy,
                                     const ScanPointers<T>& grad, T* dh) {
  for (std::int64_t n = 0; n < N; ++n) {
    std::fill(grad.A + n * E + begin, grad.A + n * E + end, T(0));
    std::fill(dh + n * E + begin, dh + n * E + end, T(0));
  }
  std::fill(grad.D + begin, grad.D + end, T(0));
  ChunkSums<T> sums;
  const std::int64_t chunks = (time + kScanChunk - 1) / kScanChunk;
  for (std::int64_t chunk = chunks - 1; chunk >= 0; --chunk) {
    const std::int64_t first = chunk * kScanChunk, last = std::min(time, first + kScanChunk);
    sums = {};
    channel_blocks<T>(begin, end, [&](std::int64_t e, auto tag) TTT_INLINE {
      backward_block<T, typename decltype(tag)::Type>(E, e, first, last, in, starts + chunk * N * E, dy, grad, dh,
                                                      sums);
    });
    for (std::int64_t t = first; t < last; ++t) {
      for (std::int64_t n = 0; n < N; ++n) {
        grad.B[t * N + n] = horizontal_sum<T>(sums.B[t - first][n]);
        grad.C[t * N + n] = horizontal_sum<T>(sums.C[t - first][n]);
      }
    }
  }
}

}  // namespace

#define TTT_DEFINE(T)                                                                                               \
  template <>                                                                                                       \
  TTT_CLONES void selective_scan<T>(std::int64_t time, std::int64_t channels, std::int64_t begin, std::int64_t end, \
                                    const ScanPointers<const T>& in, T* h, T* starts, T* y) {                       \
    forward_impl<T>(time, channels, begin, end, in, h, starts, y);                                                  \
  }                                                                                                                 \
  template <>                                                                                                       \
  TTT_CLONES void selective_scan_backward<T>(std::int64_t time, std::int64_t channels, std::int64_t begin,          \
                                             std::int64_t end, const ScanPointers<const T>& in, const T* starts,    \
                                             const T* dy, const ScanPointers<T>& grad, T* dh) {                     \
    backward_impl<T>(time, channels, begin, end, in, starts, dy, grad, dh);                                         \
  }

TTT_DEFINE(float)
TTT_DEFINE(double)

}  // namespace ttt::kernels
