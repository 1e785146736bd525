// The optimizer's tensors of a checkpoint as whole ones.
#pragma once

#include <ATen/ops/empty.h>

#include "checkpoint/optimizer_files.h"

namespace ttt {

// Copies, fp32, by name.
inline NamedTensors whole_tensors(const StoredOptimizer& stored) {
  NamedTensors tensors;
  for (const std::string& name : stored.names()) {
    at::Tensor tensor = at::empty(*stored.shape(name), at::TensorOptions(at::kFloat));
    stored.read(name, {0, tensor.numel()}, tensor);
    tensors.emplace_back(name, tensor);
  }
  return tensors;
}

}  // namespace ttt
