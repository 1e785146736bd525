// The selective scan backward on a GPU: what a block does (selective_scan_tile.h). From the last chunk to the first.
//
//     dh_t = dy_t C_t + exp(dt_{t+1} A) dh_{t+1};   dC_t = dy_t h_t;   dB_t = dh_t dt_t x_t;   d(dt x) = dh_t . B_t
//     d(dt A) = exp(dt A) dh_t (.) h_{t-1};         dx = dt d(dt x) + D dy
//
// States come anew from the one that the forward pass saved before the chunk: once, keeping one in four tokens in
// shared memory, and once more four tokens at a time, from the last, with these four in registers.
#pragma once

#include "kernels/cuda/selective_scan_tile.h"

namespace ttt::kernels::cuda {

// What a segment alone passes on to the ones before it, exp(dt A) dh of its first token, and its sum of dt, to the
// workspace.
template <bool kVectors>
struct ScanBackwardCarryBlock : ScanTile<2, kVectors> {
  using Base = ScanTile<2, kVectors>;
  using Base::in, Base::kOwnChannels, Base::kOwnStates, Base::kTokens;
  using typename Base::Own;
  enum Tensor { kDt, kDy };
  static constexpr int kSharedBytes = Base::kStagesBytes;

  const ScanBackward& args;

  TTT_DEVICE ScanBackwardCarryBlock(const ScanBackward& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments) {}

  TTT_DEVICE void run() const {
    if (this->segment == 0) return;  // nobody reads the first one's
    Own rates, carry = {};
    this->load_rates(rates);
    float dt_sum[kOwnChannels] = {};
    const float* const tensors[2] = {in.dt, args.dy};
    this->fetch(this->end_chunk - 1, tensors);
    for (int chunk = this->end_chunk - 1; chunk >= this->first_chunk; --chunk) {
      this->arrive(chunk - 1, chunk > this->first_chunk, tensors);
      const float* stage = this->stage(chunk);
      for (int token = kTokens - 1; token >= 0; --token) {
        float dt[kOwnChannels], dy[kOwnChannels], c[kOwnStates];
        this->values(stage, kDt, token, dt);
        this->values(stage, kDy, token, dy);
        this->values(stage, Base::kC, token, c);
        TTT_UNROLL
        for (int e = 0; e < kOwnChannels; ++e) {
          dt_sum[e] += dt[e];
          TTT_UNROLL
          for (int k = 0; k < kOwnStates; ++k)
            carry[k][e] = power_of_two(dt[e] * rates[k][e]) * (carry[k][e] + dy[e] * c[k]);
        }
      }
    }
    this->store(args.work.carries + this->matrix(this->part()), carry);
    if (thread_in_block() % 4 == 0) Base::store(args.work.dt_sums + this->part() * in.channels, dt_sum);
  }
};

template <bool kVectors>
struct ScanBackwardBlock : ScanTile<3, kVectors> {
  using Base = ScanTile<3, kVectors>;
  using Base::in, Base::sequence, Base::segments, Base::channel, Base::kOwnChannels, Base::kOwnStates, Base::kTokens,
      Base::kStates, Base::kThreads;
  using typename Base::Own;
  enum Tensor { kX, kDt, kDy };
  static constexpr int kResident = 2;
  static constexpr int kRun = 4;  // tokens with their states in registers
  static constexpr int kWarps = kThreads / 32;
  static constexpr int kSavedAt = Base::kStagesBytes;
  static constexpr int kSumsAt = kSavedAt + kTokens / kRun * kOwnStates * kOwnChannels * kThreads * 4;
  static constexpr int kSharedBytes = kSumsAt + kTokens * kWarps * 2 * kStates * 4;
  static_assert(kSharedBytes == kScanBackwardSharedBytes);

  const ScanBackward& args;
  Own rates, dh = {}, dA = {};  // dh: what the tokens after this one pass on to it
  // Of the four lanes of two channels each stores dx or d_dt of one.
  float* output;    // the one of token 0; null where there is no such channel
  float D, dD = 0;  // of the channel; D is 0 where d_dt is stored

  TTT_DEVICE ScanBackwardBlock(const ScanBackward& arguments, char* memory)
      : Base(arguments.in, memory), args(arguments) {
    const int lane = thread_in_block() % 4;
    const std::int64_t e = channel + lane % 2;
    output = e < in.channels ? (lane < 2 ? args.dx : args.d_dt) + sequence * in.time * in.channels + e : nullptr;
    D = e < in.channels && lane < 2 ? in.D[e] : 0.0f;
  }
  TTT_DEVICE static float own(const float (&v)[kOwnChannels]) { return thread_in_block() % 2 == 0 ? v[0] : v[1]; }

  // The lane's own memory for the state before run i of the chunk.
  TTT_DEVICE float* saved(int i, int k) const {
    return this->shared + kSavedAt / 4 + ((i * kOwnStates + k) * kThreads + thread_in_block()) * kOwnChannels;
  }
  TTT_DEVICE void save(int i, const Own& h) const {
    TTT_UNROLL
    for (int k = 0; k < kOwnStates; ++k) store_values<kOwnChannels>(saved(i, k), h[k]);
  }
  TTT_DEVICE void load_saved(int i, Own& h) const {
    TTT_UNROLL
    for (int k = 0; k < kOwnStates; ++k) load_values<kOwnChannels>(saved(i, k), h[k]);
  }
  // The sums of one warp over its channels at a token of the chunk: of dB's states, then of dC's.
  TTT_DEVICE float* sums(int token, int warp) const {
    return this->shared + kSumsAt / 4 + (token * kWarps + warp) * 2 * kStates;
  }

  // The state after a token from that before it, and the decays between.
  TTT_DEVICE void step(const float* stage, int token, const Own& before, Own& decay, Own& after) const {
    float x[kOwnChannels], dt[kOwnChannels], b[kOwnStates];
    this->values(stage, kX, token, x);
    this->values(stage, kDt, token, dt);
    this->values(stage, Base::kB, token, b);
    TTT_UNROLL
    for (int e = 0; e < kOwnChannels; ++e) {
      TTT_UNROLL
      for (int k = 0; k < kOwnStates; ++k) {
        decay[k][e] = power_of_two(dt[e] * rates[k][e]);
        after[k][e] = decay[k][e] * before[k][e] + b[k] * (dt[e] * x[e]);
      }
    }
  }
  TTT_DEVICE void step_back(int chunk, int token, const Own& before, const Own& decay, const Own& after) {
    const float* stage = this->stage(chunk);
    float x[kOwnChannels], dt[kOwnChannels], dy[kOwnChannels], b[kOwnStates], c[kOwnStates];
    this->values(stage, kX, token, x);
    this->values(stage, kDt, token, dt);
    this->values(stage, kDy, token, dy);
    this->values(stage, Base::kB, token, b);
    this->values(stage, Base::kC, token, c);
    float of_channels[2 * kOwnStates] = {};  // dB, dC of the lane's states
    float of_states[2 * kOwnChannels] = {};  // dx without D, d_dt of its channels
    TTT_UNROLL
    for (int e = 0; e < kOwnChannels; ++e) {
      const float u = dt[e] * x[e];
      float du = 0, exponents = 0;
      TTT_UNROLL
      for (int k = 0; k < kOwnStates; ++k) {
        const float d_state = dh[k][e] + dy[e] * c[k];
        of_channels[k] += d_state * u;
        of_channels[kOwnStates + k] += dy[e] * after[k][e];
        du += d_state * b[k];
        dh[k][e] = d_state * decay[k][e];
        const float d_exponent = dh[k][e] * before[k][e];
        exponents += d_exponent * rates[k][e];
        dA[k][e] += d_exponent * dt[e];
      }
      of_states[e] = du * dt[e];
      of_states[kOwnChannels + e] = du * x[e] + exponents * 0.6931471805599453f;  // ln 2: rates are log2(e) A
    }
    dD += own(dy) * own(x);
    const float value = scatter_sums<1>(of_states) + D * own(dy);
    const std::int64_t t = recomputed(chunk) * kTokens + token;
    if (t < in.time && output != nullptr) output[t * in.channels] = value;
    const int thread = thread_in_block(), q = thread % 32 / 4;
    sums(token, thread / 32)[q / 4 * kStates + this->state + q % 4] = scatter_sums<4>(of_channels);
  }

  // dB and dC of a chunk: the warps' sums, in their order.
  TTT_DEVICE void store_sums(int chunk) const {
    const std::int64_t groups = (in.channels + kScanGroup - 1) / kScanGroup;
    TTT_UNROLL
    for (int i = recomputed(thread_in_block()); i < kTokens * 2 * kStates; i += kThreads) {
      const int token = i / (2 * kStates), which = i % (2 * kStates);
      if (token >= this->tokens_in(chunk)) continue;
      float sum = 0;
      TTT_UNROLL
      for (int warp = 0; warp < kWarps; ++warp) sum += sums(token, warp)[which];
      float* to = which < kStates ? args.dB : args.dC;
      to[((sequence * groups + this->group) * in.time + chunk * kTokens + token) * kStates + which % kStates] = sum;
    }
  }

  TTT_DEVICE void run() {
    this->load_rates(rates);
    if (segments > 1) this->load(args.work.carries + this->matrix(this->part()), dh);
    const float* const tensors[3] = {in.x, in.dt, args.dy};
    this->fetch(this->end_chunk - 1, tensors);
    for (int chunk = this->end_chunk - 1; chunk >= this->first_chunk; --chunk) {
      this->arrive(chunk - 1, chunk > this->first_chunk, tensors);
      const float* stage = this->stage(chunk);
      Own h, unused;
      this->load(args.starts + this->start(chunk), h);
      save(0, h);
      for (int run = 0; run + 1 < kTokens / kRun; ++run) {
        for (int i = 0; i < kRun; ++i) step(stage, run * kRun + i, h, unused, h);
        save(run + 1, h);
      }
      for (int run = kTokens / kRun - 1; run >= 0; --run) {
        Own states[kRun + 1], decays[kRun];
        load_saved(run, states[0]);
        TTT_UNROLL
        for (int i = 0; i < kRun; ++i) step(stage, run * kRun + i, states[i], decays[i], states[i + 1]);
        TTT_UNROLL
        for (int i = kRun - 1; i >= 0; --i) step_back(chunk, run * kRun + i, states[i], decays[i], states[i + 1]);
      }
      sync_block();
      store_sums(chunk);
    }
    this->store(args.dA + this->matrix(this->part()), dA);
    if (thread_in_block() % 4 < 2 && output != nullptr)
      args.dD[this->part() * in.channels + channel + thread_in_block() % 2] = dD;
  }
};

}  // namespace ttt::kernels::cuda
