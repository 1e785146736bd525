// The selective scan forward on a GPU: what a block does (selective_scan_tile.h).
#pragma once

#include "kernels/cuda/selective_scan_tile.h"

namespace ttt::kernels::cuda {

// kOutputs: y and the states, from the true state before the segment. Otherwise what the segment alone makes of zeros,
// and its sum of dt, to the workspace.
template <bool kOutputs, bool kVectors>
struct ScanForwardBlock : ScanTile<2, kVectors> {
  using Base = ScanTile<2, kVectors>;
  using Base::in, Base::sequence, Base::segment, Base::segments, Base::channel, Base::kOwnChannels, Base::kOwnStates;
  using typename Base::Own;
  enum Tensor { kX, kDt };
  static constexpr int kSharedBytes = Base::kStagesBytes;
  static_assert(kSharedBytes == kScanForwardSharedBytes);

  const ScanForward& args;
  Own rates, h = {};
  float dt_sum[kOwnChannels] = {};

  TTT_DEVICE ScanForwardBlock(const ScanForward& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments) {}

  // The state after a token; y's part of the lane's states.
  TTT_DEVICE void step(const float* stage, int token, float (&y)[kOwnChannels]) {
    float x[kOwnChannels], dt[kOwnChannels], b[kOwnStates], c[kOwnStates];
    this->values(stage, kX, token, x);
    this->values(stage, kDt, token, dt);
    this->values(stage, Base::kB, token, b);
    this->values(stage, Base::kC, token, c);
    TTT_UNROLL
    for (int e = 0; e < kOwnChannels; ++e) {
      const float u = dt[e] * x[e];
      y[e] = 0;
      dt_sum[e] += dt[e];
      TTT_UNROLL
      for (int k = 0; k < kOwnStates; ++k) {
        h[k][e] = power_of_two(dt[e] * rates[k][e]) * h[k][e] + b[k] * u;
        y[e] += c[k] * h[k][e];
      }
    }
  }

  TTT_DEVICE void run() {
    if (!kOutputs && segment + 1 == segments) return;  // nobody reads the last one's
    this->load_rates(rates);
    if constexpr (kOutputs) {
      if (segments > 1) {
        this->load(args.work.carries + this->matrix(this->part()), h);
      } else if (args.h != nullptr) {
        this->load(args.h + this->matrix(sequence), h);
      }
    }
    const int thread = thread_in_block(), own = thread % 2;  // the channel whose y this lane stores, if one
    const bool stores = thread % 4 < 2 && channel + own < in.channels;
    const float D = stores ? in.D[channel + own] : 0.0f;
    const float* const tensors[2] = {args.in.x, args.in.dt};
    this->fetch(this->first_chunk, tensors);
    for (int chunk = this->first_chunk; chunk < this->end_chunk; ++chunk) {
      this->arrive(chunk + 1, chunk + 1 < this->end_chunk, tensors);
      if (kOutputs && args.starts != nullptr) this->store(args.starts + this->start(chunk), h);
      const float* stage = this->stage(chunk);
      const int tokens = this->tokens_in(chunk);
      for (int token = 0; token < tokens; ++token) {
        float y[kOwnChannels];
        step(stage, token, y);
        if constexpr (kOutputs) {
          float sum = scatter_sums<1>(y);
          sum += shuffle_xor(sum, 2);
          const float x = stage[kX * Base::kRows + token * kScanGroup + this->local + own];
          if (stores) args.y[(this->first_row(chunk) + token) * in.channels + channel + own] = sum + D * x;
        }
      }
    }
    if constexpr (!kOutputs) {
      this->store(args.work.carries + this->matrix(this->part()), h);
      if (thread % 4 == 0) Base::store(args.work.dt_sums + this->part() * in.channels, dt_sum);
    } else if (args.h_end != nullptr && segment + 1 == segments) {
      this->store(args.h_end + this->matrix(sequence), h);
    }
  }
};

}  // namespace ttt::kernels::cuda
