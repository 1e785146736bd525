// Initialisation of a model's parameters as arch/ declares them (the paper's code: arXiv 2407.04620, section 3 and
// appendix): every value is a pure function of (seed, parameter name, index), whatever the number of threads or ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "arch/model_config.h"
#include "arch/parameter.h"

namespace ttt {

// The declared parameters by name, when the registered ones are just these, in the declared shapes. Fails with the name
// of the first that nobody declared, that has another shape, or that was declared and not registered.
std::map<std::string, Parameter> check_declared(const ModelConfig& config,
                                                const std::vector<std::pair<std::string, at::Tensor>>& registered);

// Fills all of them (fp32, contiguous, CPU).
void initialize_parameters(const ModelConfig& config, std::uint64_t seed,
                           const std::vector<std::pair<std::string, at::Tensor>>& registered);
void initialize_parameter(const Parameter& declared, std::uint64_t seed, at::Tensor parameter);

}  // namespace ttt
