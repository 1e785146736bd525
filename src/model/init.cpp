#include "model/init.h"

#include <torch/types.h>
#include <torch/utils.h>

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

bool is_one_of(const std::string& word, std::initializer_list<const char*> words) {
  for (const char* candidate : words)
    if (word == candidate) return true;
  return false;
}

}  // namespace

void initialize_parameter(const std::string& name, std::uint64_t seed, at::Tensor parameter) {
  TTT_CHECK(parameter.is_contiguous() && parameter.is_cpu() && parameter.scalar_type() == at::kFloat, name);
  const torch::NoGradGuard no_grad;
  const auto dot = name.rfind('.');
  const std::string last = name.substr(dot + 1);
  const std::string owner = dot == std::string::npos ? "" : name.substr(0, dot).substr(name.rfind('.', dot - 1) + 1);
  if (last == "ttt_norm_weight" || (last == "weight" && owner.ends_with("norm"))) {
    parameter.fill_(1);
    return;
  }
  if (is_one_of(last, {"bias", "lr_bias", "ttt_norm_bias", "token_scale_delta", "b1", "b2"})) {
    parameter.zero_();
    return;
  }
  const std::uint64_t key = stream_seed(seed, name);
  if (owner.starts_with("conv")) {
    const double fan_in = static_cast<double>(parameter.size(1) * parameter.size(2));  // [D, 1, W]
    fill_truncated_normal(parameter.data_ptr<float>(), parameter.numel(), key, std::sqrt(1.0 / fan_in));
  } else {
    fill_normal(parameter.data_ptr<float>(), parameter.numel(), key, kProjectionStd);
  }
}

}  // namespace ttt
