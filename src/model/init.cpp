#include "model/init.h"

#include <torch/types.h>
#include <torch/utils.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>
#include <utility>

#include "arch/model_parameters.h"
#include "base/error.h"
#include "base/rng.h"
#include "ops/parallel.h"

namespace ttt {
namespace {

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

// The bias that stands for a time step: log-uniform in [1e-3, 1e-1], at least 1e-4, through the inverse of softplus.
void fill_inverse_softplus_of_step(float* out, std::int64_t size, std::uint64_t key) {
  constexpr double kLow = 1e-3, kHigh = 1e-1, kFloor = 1e-4;
  for (std::int64_t i = 0; i < size; ++i) {
    const double u = uniform_at(key, static_cast<std::uint64_t>(i));
    const double dt = std::max(kFloor, std::exp(std::log(kLow) + u * (std::log(kHigh) - std::log(kLow))));
    out[i] = static_cast<float>(dt + std::log(-std::expm1(-dt)));
  }
}

// Rows of log(1), log(2), .. log(columns).
void fill_log_of_index(float* out, std::int64_t size, std::int64_t columns) {
  for (std::int64_t i = 0; i < size; ++i) out[i] = static_cast<float>(std::log(static_cast<double>(i % columns + 1)));
}

void fill_log_of_uniform(float* out, std::int64_t size, std::uint64_t key, double bound) {
  for (std::int64_t i = 0; i < size; ++i)
    out[i] = static_cast<float>(std::log(bound * (1.0 - uniform_at(key, static_cast<std::uint64_t>(i)))));  // of (0, 1]
}

}  // namespace

void initialize_parameter(const Parameter& declared, std::uint64_t seed, at::Tensor parameter) {
  TTT_CHECK(parameter.is_contiguous() && parameter.is_cpu() && parameter.scalar_type() == at::kFloat, declared.name);
  const torch::NoGradGuard no_grad;
  float* out = parameter.mutable_data_ptr<float>();
  const std::int64_t size = parameter.numel();
  const std::uint64_t key = stream_seed(seed, declared.name);
  const double scale = declared.init.scale;
  switch (declared.init.kind) {
    case Init::Kind::kZeros:
      std::fill_n(out, size, 0.0f);
      return;
    case Init::Kind::kOnes:
      std::fill_n(out, size, 1.0f);
      return;
    case Init::Kind::kNormal:
      return fill_normal(out, size, key, scale);
    case Init::Kind::kTruncatedNormal:
      return fill_truncated_normal(out, size, key, scale);
    case Init::Kind::kUniform:
      return fill_uniform(out, size, key, scale);
    case Init::Kind::kLogOfIndex:
      return fill_log_of_index(out, size, parameter.size(-1));
    case Init::Kind::kLogOfUniform:
      return fill_log_of_uniform(out, size, key, scale);
    case Init::Kind::kInverseSoftplusOfStep:
      return fill_inverse_softplus_of_step(out, size, key);
  }
  fail("an initialisation that nobody wrote");
}

void initialize_parameters(const ModelConfig& config, std::uint64_t seed,
                           const std::vector<std::pair<std::string, at::Tensor>>& registered) {
  const std::map<std::string, Parameter> declared = check_declared(config, registered);
  for (const auto& [name, tensor] : registered) initialize_parameter(declared.at(name), seed, tensor);
}

std::map<std::string, Parameter> check_declared(const ModelConfig& config,
                                                const std::vector<std::pair<std::string, at::Tensor>>& registered) {
  std::map<std::string, Parameter> declared;
  for (Parameter& parameter : model_parameters(config)) {
    const std::string name = parameter.name;
    if (!declared.emplace(name, std::move(parameter)).second) fail(cat("the parameter '", name, "' is declared twice"));
  }
  std::set<std::string> missing;
  for (const auto& [name, parameter] : declared) missing.insert(name);
  for (const auto& [name, tensor] : registered) {
    const auto found = declared.find(name);
    if (found == declared.end())
      fail(cat("a module registers the parameter '", name,
               "', which nobody declared; declare it with its mixer (arch/mixer/) or in arch/model_parameters.cpp"));
    if (tensor.sizes() != at::IntArrayRef(found->second.shape))
      fail(cat("the parameter '", name, "' is declared as ", at::IntArrayRef(found->second.shape),
               " and registered as ", tensor.sizes()));
    missing.erase(name);
  }
  if (!missing.empty()) fail(cat("the parameter '", *missing.begin(), "' is declared, but no module registers it"));
  return declared;
}

}  // namespace ttt
