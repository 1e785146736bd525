#include "model/init.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.h"
#include "base/rng.h"
#include "ops/parallel.h"

namespace ttt {
namespace {

constexpr double kProjectionStd = 0.02;
// The standard deviation of a standard normal truncated to [-2, 2].
constexpr double kTruncatedStd = 0.87962566103423978;
constexpr std::int64_t kGrain = 4096;

double uniform_at(std::uint64_t key, std::uint64_t index) {
  return CounterRng(key, index).uniform();
}

// Standard normals 2i and 2i+1 of a stream, by Box and Muller.
std::pair<double, double> normal_pair(std::uint64_t key, std::uint64_t i) {
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform_at(key, 2 * i)));  // 1 - u is in (0, 1]
  const double angle = 2.0 * std::numbers::pi * uniform_at(key, 2 * i + 1);
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

void fill_normal(float* out, std::int64_t size, std::uint64_t key, double std_dev) {
  parallel_ranges((size + 1) / 2, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const auto [a, b] = normal_pair(key, static_cast<std::uint64_t>(i));
      out[2 * i] = static_cast<float>(a * std_dev);
      if (2 * i + 1 < size) out[2 * i + 1] = static_cast<float>(b * std_dev);
    }
  });
}

// Redraws until the value lies within two standard deviations (95 % do at once).
void fill_truncated_normal(float* out, std::int64_t size, std::uint64_t key, double std_dev) {
  std::uint64_t draw = 0;
  for (std::int64_t i = 0; i < size; ++i) {
    double value;
    do value = normal_pair(key, draw++).first;
    while (std::abs(value) > 2.0);
    out[i] = static_cast<float>(value * std_dev / kTruncatedStd);
  }
}

void fill_uniform(float* out, std::int64_t size, std::uint64_t key, double bound) {
  parallel_ranges(size, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      out[i] = static_cast<float>(bound * (2.0 * uniform_at(key, static_cast<std::uint64_t>(i)) - 1.0));
  });
}

// "layers.3.mixer.A_log", where layer 3 has a Mamba mixer.
bool is_mamba_mixer(const std::string& name, const ModelConfig& config) {
  const std::string prefix = "layers.";
  if (!name.starts_with(prefix) || name.find(".mixer.") == std::string::npos) return false;
  return config.mixer.of_layer(std::stoll(name.substr(prefix.size()))) == MixerKind::kMamba;
}

// The step that dt_proj's bias stands for: log-uniform in [1e-3, 1e-1], at least 1e-4, through the inverse of softplus.
void fill_dt_bias(float* out, std::int64_t size, std::uint64_t key) {
  constexpr double kLow = 1e-3, kHigh = 1e-1, kFloor = 1e-4;
  for (std::int64_t i = 0; i < size; ++i) {
    const double u = uniform_at(key, static_cast<std::uint64_t>(i));
    const double dt = std::max(kFloor, std::exp(std::log(kLow) + u * (std::log(kHigh) - std::log(kLow))));
    out[i] = static_cast<float>(dt + std::log(-std::expm1(-dt)));
  }
}

// A Mamba mixer as its authors initialise it; linear layers and the convolution as LibTorch does by default, uniform
// within 1 / sqrt(fan_in), out_proj divided by sqrt(layers).
void initialize_mamba(const std::string& name, const ModelConfig& config, std::uint64_t key, at::Tensor& parameter) {
  float* out = parameter.mutable_data_ptr<float>();
  const std::int64_t size = parameter.numel();
  if (name == "A_log") {
    for (std::int64_t i = 0; i < size; ++i)
      out[i] = static_cast<float>(std::log(static_cast<double>(i % kMambaStates + 1)));
  } else if (name == "D") {
    parameter.fill_(1);
  } else if (name == "dt_proj.bias") {
    fill_dt_bias(out, size, key);
  } else if (name == "dt_proj.weight") {
    fill_uniform(out, size, key, 1.0 / std::sqrt(static_cast<double>(config.mamba_dt_rank())));
  } else if (name == "conv.bias") {
    fill_uniform(out, size, key, 1.0 / std::sqrt(4.0));  // its convolution's fan-in is the four taps
  } else {
    const double fan_in = static_cast<double>(size / parameter.size(0));
    const double depth = name == "out_proj.weight" ? std::sqrt(static_cast<double>(config.num_layers)) : 1.0;
    fill_uniform(out, size, key, 1.0 / std::sqrt(fan_in) / depth);
  }
}

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  for (const char* candidate : words)
    if (word == candidate) return true;
  return false;
}

}  // namespace

void initialize_parameter(const std::string& name, const ModelConfig& config, std::uint64_t seed,
                          at::Tensor parameter) {
  TTT_CHECK(parameter.is_contiguous() && parameter.is_cpu() && parameter.scalar_type() == at::kFloat, name);
  const torch::NoGradGuard no_grad;
  const auto dot = name.rfind('.');
  const std::string last = name.substr(dot + 1);
  const std::string owner = dot == std::string::npos ? "" : name.substr(0, dot).substr(name.rfind('.', dot - 1) + 1);
  const std::uint64_t key = stream_seed(seed, name);
  if (is_mamba_mixer(name, config)) {
    initialize_mamba(owner.empty() || owner == "mixer" ? last : owner + "." + last, config, key, parameter);
    return;
  }
  if (last == "ttt_norm_weight" || (last == "weight" && owner.ends_with("norm"))) {
    parameter.fill_(1);
    return;
  }
  if (is_one_of(last, {"bias", "lr_bias", "ttt_norm_bias", "token_scale_delta", "b1", "b2"})) {
    parameter.zero_();
    return;
  }
  if (owner.starts_with("conv")) {
    const double fan_in = static_cast<double>(parameter.size(1) * parameter.size(2));  // [D, 1, W]
    fill_truncated_normal(parameter.data_ptr<float>(), parameter.numel(), key, std::sqrt(1.0 / fan_in));
  } else {
    fill_normal(parameter.data_ptr<float>(), parameter.numel(), key, kProjectionStd);
  }
}

}  // namespace ttt
