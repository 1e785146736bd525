// What a parameter is, declared once: every other part of the program (plan, initialisation, checkpoints, optimizer,
// conversion, benchmarks) reads it here.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ttt {

// How a parameter begins. Every value is a pure function of (seed, parameter name, index).
struct Init {
  enum class Kind {
    kZeros,
    kOnes,
    kNormal,                // N(0, scale^2)
    kTruncatedNormal,       // of standard deviation `scale`, cut off at two of them
    kUniform,               // within [-scale, scale]
    kLogOfIndex,            // log(1), log(2), .. log(scale) along the last dimension: Mamba's A_log
    kLogOfUniform,          // log of a uniform value in (0, scale): Gated DeltaNet's A_log
    kInverseSoftplusOfStep  // softplus^-1 of a log-uniform time step in [1e-3, 1e-1]
  };
  Kind kind = Kind::kZeros;
  double scale = 0;
};

// Which weight decay touches a parameter (optim.decay_on).
enum class Decay {
  kMatrix,  // always
  kVector,  // norms' gains and shifts, biases, scales: only with decay_on: all
  kNever    // what sets a time scale, whatever decay_on says
};

// What a parameter does in the arithmetic; FLOPs and the official JAX code's layout follow from it.
enum class Role {
  kEmbedding,    // [V, D] rows that tokens look up
  kDense,        // y = x W^T, W [out, in] ([H, 1, D]: one row a head): 2 numel operations a token
  kConvolution,  // depthwise, [channels, 1, taps]: 2 numel operations a token
  kFastWeight,   // where an inner loop starts: W0, b0
  kOther
};

struct Parameter {
  std::string name;                 // of the module that registers it: "mixer.q_proj.weight" in a block
  std::vector<std::int64_t> shape;  // row-major
  Init init;
  Decay decay = Decay::kVector;
  Role role = Role::kOther;
  std::string file_name;  // in a checkpoint: where it differs from `name`, below the same block
  std::string jax_name;   // in the official JAX code's files, below the same block; empty: they have none
  // > 0: the rows of a file are permuted between our interleaved RoPE pairs (2i, 2i+1) and Llama's (i, i + K/2), in
  // this many heads.
  std::int64_t rotary_heads = 0;

  std::int64_t numel() const;
  // For declarations in one expression.
  Parameter in_file(std::string other_name) const;
  Parameter in_jax(std::string name_there) const;
  Parameter rotary(std::int64_t heads) const;
  Parameter starts(Init other) const;
};

using Parameters = std::vector<Parameter>;

// NAME.weight [out, in] of a linear layer without bias, N(0, 0.02^2).
Parameter dense(const std::string& name, std::int64_t out, std::int64_t in);
// NAME.weight [size] of a norm: ones.
Parameter norm_gain(const std::string& name, std::int64_t size);
// NAME.weight [channels, 1, taps] of a causal depthwise convolution, truncated normal of variance 1 / taps, and its
// NAME.bias [channels], zeros.
Parameter convolution(const std::string& name, std::int64_t channels);
Parameter convolution_bias(const std::string& name, std::int64_t channels);
// Any other one.
Parameter other(std::string name, std::vector<std::int64_t> shape, Init init, Decay decay, Role role = Role::kOther);

inline constexpr std::int64_t kConvTaps = 4;  // of every short convolution
inline constexpr double kProjectionStd = 0.02;

}  // namespace ttt
