#include "arch/parameter.h"

#include <cmath>
#include <functional>
#include <numeric>
#include <utility>

namespace ttt {

std::int64_t Parameter::numel() const {
  return std::accumulate(shape.begin(), shape.end(), std::int64_t{1}, std::multiplies<>());
}

Parameter Parameter::in_file(std::string other_name) const {
  Parameter copy = *this;
  copy.file_name = std::move(other_name);
  return copy;
}

Parameter Parameter::in_jax(std::string name_there) const {
  Parameter copy = *this;
  copy.jax_name = std::move(name_there);
  return copy;
}

Parameter Parameter::rotary(std::int64_t heads) const {
  Parameter copy = *this;
  copy.rotary_heads = heads;
  return copy;
}

Parameter Parameter::starts(Init other) const {
  Parameter copy = *this;
  copy.init = other;
  return copy;
}

Parameter other(std::string name, std::vector<std::int64_t> shape, Init init, Decay decay, Role role) {
  Parameter parameter;
  parameter.file_name = name;
  parameter.name = std::move(name);
  parameter.shape = std::move(shape);
  parameter.init = init;
  parameter.decay = decay;
  parameter.role = role;
  return parameter;
}

Parameter dense(const std::string& name, std::int64_t out, std::int64_t in) {
  return other(name + ".weight", {out, in}, {Init::Kind::kNormal, kProjectionStd}, Decay::kMatrix, Role::kDense);
}

Parameter norm_gain(const std::string& name, std::int64_t size) {
  return other(name + ".weight", {size}, {Init::Kind::kOnes}, Decay::kVector);
}

Parameter convolution(const std::string& name, std::int64_t channels) {
  return other(name + ".weight", {channels, 1, kConvTaps}, {Init::Kind::kTruncatedNormal, std::sqrt(1.0 / kConvTaps)},
               Decay::kMatrix, Role::kConvolution);
}

Parameter convolution_bias(const std::string& name, std::int64_t channels) {
  return other(name + ".bias", {channels}, {Init::Kind::kZeros}, Decay::kVector);
}

}  // namespace ttt
