// What the selective scan's kernels share. A block is 8 warps and takes 128 channels through one segment of the time,
// chunk by chunk of 16 tokens. A warp has 16 channels and their 16 states: lane 4 q + s channels 2q and 2q + 1 of
// these, states 4s .. 4s + 3. So a sum over states and one over channels each take few exchanges, and the parallelism
// is eight times that of a thread a channel.
//
// Where sequences and channels are too few, the segments run in parallel: a first kernel scans each from zero to its
// end, a second one makes the true states between the segments of these, and a third one the outputs (the backward
// pass the same from the end).
#pragma once

#include "kernels/cuda/selective_scan_args.h"
#include "kernels/cuda/vectors.h"

namespace ttt::kernels::cuda {

// v[i] of n lanes, those that differ in bits from kUnit on. The i-th of them gets the sum of their v[i].
template <int kUnit, int n>
TTT_DEVICE float scatter_sums(float (&v)[n]) {
  TTT_UNROLL
  for (int half = n / 2; half >= 1; half /= 2) {
    const bool upper = (thread_in_block() & half * kUnit) != 0;
    TTT_UNROLL
    for (int i = 0; i < half; ++i) {
      const float keep = upper ? v[i + half] : v[i], give = upper ? v[i] : v[i + half];
      v[i] = keep + shuffle_xor(give, half * kUnit);
    }
  }
  return v[0];
}

// kTensors: of those [B,T,E] that are read. kVectors: E and addresses allow 16 bytes at a time.
template <int kTensors, bool kVectors>
struct ScanTile {
  static constexpr int kThreads = 256;
  static constexpr int kTokens = kScanChunk, kStates = kScanStates;
  static constexpr int kOwnChannels = 2, kOwnStates = 4;  // of a lane
  static constexpr int kStages = 2;
  static constexpr int kRows = kTokens * kScanGroup, kProjections = kTokens * kStates;  // floats in a stage
  static constexpr int kStage = kTensors * kRows + 2 * kProjections;
  static constexpr int kStagesBytes = kStages * kStage * 4;
  enum Projection { kB, kC };
  using Own = float[kOwnStates][kOwnChannels];

  const ScanInputs& in;
  float* const shared;
  int sequence, segment, segments, group, chunks, first_chunk, end_chunk;
  int local, state;  // the lane's first channel in the group, and its first state
  std::int64_t channel;

  TTT_DEVICE ScanTile(const ScanInputs& inputs, char* memory) : in(inputs), shared(reinterpret_cast<float*>(memory)) {
    const int groups = static_cast<int>((in.channels + kScanGroup - 1) / kScanGroup);
    const int of_segment = static_cast<int>(in.segment);
    chunks = static_cast<int>((in.time + kTokens - 1) / kTokens);
    segments = (chunks + of_segment - 1) / of_segment;
    group = block_in_grid() % groups;
    segment = block_in_grid() / groups % segments;
    sequence = block_in_grid() / groups / segments;
    first_chunk = segment * of_segment;
    end_chunk = first_chunk + of_segment < chunks ? first_chunk + of_segment : chunks;
    const int thread = thread_in_block();
    local = thread / 4 * kOwnChannels, state = thread % 4 * kOwnStates;
    channel = group * kScanGroup + local;
  }

  // --- a chunk's inputs in shared memory ---

  TTT_DEVICE float* stage(int chunk) const { return shared + chunk % kStages * kStage; }
  TTT_DEVICE int tokens_in(int chunk) const {
    const std::int64_t rest = in.time - static_cast<std::int64_t>(chunk) * kTokens;
    return rest < kTokens ? static_cast<int>(rest) : kTokens;
  }
  // A chunk's first row of a tensor [B,T,..].
  TTT_DEVICE std::int64_t first_row(int chunk) const { return sequence * in.time + chunk * kTokens; }
  // Starts copying a chunk of tensors and projections; zeros after the last token and channel. All threads.
  TTT_DEVICE void fetch(int chunk, const float* const (&tensors)[kTensors]) const {
    const int thread = recomputed(thread_in_block());
    const std::int64_t first = first_row(chunk);
    const int tokens = tokens_in(chunk);
    TTT_UNROLL
    for (int tensor = 0; tensor < kTensors; ++tensor) {
      TTT_UNROLL
      for (int i = thread; i < kRows / 4; i += kThreads) {
        const int token = i / (kScanGroup / 4), at = i % (kScanGroup / 4) * 4;
        const std::int64_t e = group * kScanGroup + at;
        float* to = stage(chunk) + tensor * kRows + 4 * i;
        const float* from = tensors[tensor] + (first + token) * in.channels + e;
        if constexpr (kVectors) {
          const bool valid = token < tokens && e < in.channels;
          copy_16_bytes(to, valid ? from : tensors[tensor], valid);
        } else {
          for (int k = 0; k < 4; ++k) to[k] = token < tokens && e + k < in.channels ? from[k] : 0.0f;
        }
      }
    }
    if (thread < 2 * kProjections / 4) {
      const float* projection = thread < kProjections / 4 ? in.B : in.C;
      const int at = thread % (kProjections / 4) * 4;
      const bool valid = at / kStates < tokens;
      copy_16_bytes(stage(chunk) + kTensors * kRows + 4 * thread, projection + (valid ? first * kStates + at : 0),
                    valid);
    }
    close_copies();
  }
  // Waits for a chunk and has the one to come fetched behind it. All threads.
  TTT_DEVICE void arrive(int next, bool exists, const float* const (&tensors)[kTensors]) const {
    wait_for_copies<kStages - 2>();
    sync_block();
    if (exists) fetch(next, tensors);
  }
  // Of the lane's channels, of its states; from a stage.
  TTT_DEVICE void values(const float* stage, int tensor, int token, float (&v)[kOwnChannels]) const {
    load_values<kOwnChannels>(stage + tensor * kRows + token * kScanGroup + local, v);
  }
  TTT_DEVICE void values(const float* stage, Projection which, int token, float (&v)[kOwnStates]) const {
    load_values<kOwnStates>(stage + kTensors * kRows + which * kProjections + token * kStates + state, v);
  }

  // --- tensors [.., E] and [.., N, E] in global memory, from the row of channel 0 ---

  TTT_DEVICE void load(const float* row, float (&v)[kOwnChannels]) const {
    if constexpr (kVectors) {
      load_values<kOwnChannels>(row + channel, v, channel < in.channels);
    } else {
      for (int c = 0; c < kOwnChannels; ++c) v[c] = channel + c < in.channels ? row[channel + c] : 0.0f;
    }
  }
  TTT_DEVICE void store(float* row, const float (&v)[kOwnChannels]) const {
    if constexpr (kVectors) {
      if (channel < in.channels) store_values<kOwnChannels>(row + channel, v);
    } else {
      for (int c = 0; c < kOwnChannels; ++c)
        if (channel + c < in.channels) row[channel + c] = v[c];
    }
  }
  TTT_DEVICE void load(const float* matrix, Own& v) const {
    TTT_UNROLL
    for (int k = 0; k < kOwnStates; ++k) load(matrix + (state + k) * in.channels, v[k]);
  }
  TTT_DEVICE void store(float* matrix, const Own& v) const {
    TTT_UNROLL
    for (int k = 0; k < kOwnStates; ++k) store(matrix + (state + k) * in.channels, v[k]);
  }
  // Place of a matrix [N,E].
  TTT_DEVICE std::int64_t matrix(std::int64_t index) const { return index * kStates * in.channels; }
  TTT_DEVICE std::int64_t part() const { return sequence * segments + segment; }
  TTT_DEVICE std::int64_t start(int chunk) const {
    return matrix(static_cast<std::int64_t>(sequence) * chunks + chunk);
  }

  // log2(e) A: exp(dt A) = 2^(dt log2(e) A).
  TTT_DEVICE void load_rates(Own& rates) const {
    load(in.A, rates);
    TTT_UNROLL
    for (int k = 0; k < kOwnStates; ++k) {
      TTT_UNROLL
      for (int c = 0; c < kOwnChannels; ++c) rates[k][c] *= 1.4426950408889634f;
    }
  }
};

// The states between segments, from those that each segment alone ends with. A thread has one state of one channel.
// kDirection 1: into each from the ones before; -1: the same backwards.
template <int kDirection>
struct ScanCarryBlock {
  static constexpr int kThreads = 128;
  static constexpr int kSharedBytes = 0;
  static constexpr int kAhead = 8;  // segments that are read at a time

  struct Arguments {
    ScanInputs in;
    ScanWorkspace work;  // carries: in place
    const float* first;  // [B,N,E], into the first segment; null: zeros

    std::string shape() const { return in.shape(); }
  };
  const Arguments& args;

  TTT_DEVICE ScanCarryBlock(const Arguments& arguments, char*) : args(arguments) {}
  static std::int64_t blocks(const ScanInputs& in) {
    return (in.sequences * kScanStates * in.channels + kThreads - 1) / kThreads;
  }

  TTT_DEVICE void run() const {
    const ScanInputs& in = args.in;
    const std::int64_t index = static_cast<std::int64_t>(block_in_grid()) * kThreads + thread_in_block();
    const std::int64_t state = kScanStates * in.channels;  // values of one
    if (index >= in.sequences * state) return;
    const std::int64_t sequence = index / state, at = index % state, e = at % in.channels;
    const std::int64_t chunks = (in.time + kScanChunk - 1) / kScanChunk;
    const std::int64_t segments = (chunks + in.segment - 1) / in.segment;
    const float A = in.A[at];
    float carry = args.first == nullptr ? 0.0f : args.first[index];
    for (std::int64_t turn = 0; turn < segments; turn += kAhead) {
      float own[kAhead], dt[kAhead];
      const auto part = [&](int i) {
        return sequence * segments + (kDirection == 1 ? turn + i : segments - 1 - turn - i);
      };
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        const bool valid = turn + i + 1 < segments;  // what the last one ends with goes nowhere
        own[i] = valid ? args.work.carries[part(i) * state + at] : 0.0f;
        dt[i] = valid ? args.work.dt_sums[part(i) * in.channels + e] : 0.0f;
      }
      TTT_UNROLL
      for (int i = 0; i < kAhead; ++i) {
        if (turn + i >= segments) return;
        args.work.carries[part(i) * state + at] = carry;
        carry = exponential(A * dt[i]) * carry + own[i];
      }
    }
  }
};

}  // namespace ttt::kernels::cuda
