// Golden tensors: outputs and gradients of the official JAX and PyTorch codes and of Hugging Face's Llama, packed under
// tests/golden/NAME.golden. A packed file is
//
//     8 bytes: size of the plain safetensors bytes, little endian;
//     a zstd frame of those bytes, padded with zeros to a multiple of 4 and split into 4 planes (byte 0 of every word,
//     byte 1, ...).
//
// A tensor NAME too large to keep whole is there as `sample/NAME`: its flattened elements 0, s, 2s, ... with s in the
// metadata as "sample_stride/NAME" and its largest absolute value as "max_abs/NAME". With TTT_GOLDEN_DIR set, plain
// TTT_GOLDEN_DIR/NAME.safetensors are read instead.
#pragma once

#include <ATen/core/Tensor.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/json.h"
#include "checkpoint/safetensors.h"

namespace ttt {

// Throws when the file is absent or damaged.
SafetensorsFile load_golden(const std::string& name);
bool has_golden(const std::string& name);

// Names of the tensors that can be compared and start with `prefix` (`sample/` taken off).
std::vector<std::string> golden_names(const SafetensorsFile& golden, const std::string& prefix);

// Tensors of the file whose names start with `prefix`, names whole.
NamedTensors golden_tensors(const SafetensorsFile& golden, const std::string& prefix);

// Largest difference between `actual` and the golden tensor (or its sample), relative to the golden tensor's largest
// value.
double golden_error(const SafetensorsFile& golden, const std::string& name, const at::Tensor& actual);

// golden_error <= tolerance; the failure names the tensor, the error and the tolerance. `worst`, when given, keeps the
// largest error.
::testing::AssertionResult compare(const SafetensorsFile& golden, const std::string& name, const at::Tensor& actual,
                                   double tolerance, double* worst = nullptr);

}  // namespace ttt
