// Initialisation of the paper (its code's, arXiv 2407.04620, section 3 and appendix): every value is a pure function of
// (seed, parameter name, index), whatever the number of threads or ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "config/model_config.h"

namespace ttt {

// Fills a parameter (fp32, contiguous, CPU) by its name:
//     norm weights 1, every bias, b1, b2 and token_scale_delta 0,
//     convolutions: truncated normal (at two standard deviations) of variance 1/fan_in,
//     everything else (projections, embeddings, inner weights, lr_weight): N(0, 0.02^2).
// Mamba mixers as their authors': linear layers and convolution uniform within 1/sqrt(fan_in), out_proj divided by
// sqrt(layers), A_log = log(1..N), D = 1, dt_proj's bias the inverse softplus of a log-uniform step in [1e-3, 1e-1].
void initialize_parameter(const std::string& name, const ModelConfig& config, std::uint64_t seed, at::Tensor parameter);

}  // namespace ttt
