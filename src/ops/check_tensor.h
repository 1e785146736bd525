// What an op says of an argument that does not fit.
#pragma once

#include <ATen/core/Tensor.h>

#include "base/error.h"

namespace ttt {

// Fails with one sentence unless `tensor` is given, of these sizes and this type, and beside q. op: how the sentence
// begins, "TTT op".
inline void check_tensor(const char* op, const char* name, const at::Tensor& tensor, at::IntArrayRef sizes,
                         at::ScalarType type, const at::Tensor& q) {
  if (!tensor.defined()) fail(op, ": ", name, " is not given; it must be a tensor of shape ", sizes);
  if (tensor.sizes() != sizes) fail(op, ": ", name, " has shape ", tensor.sizes(), ", it must be ", sizes);
  if (tensor.scalar_type() != type)
    fail(op, ": ", name, " is ", tensor.scalar_type(), " but q is ", q.scalar_type(), "; ", name, " must be ", type);
  if (tensor.device() != q.device())
    fail(op, ": ", name, " is on ", tensor.device(), " but q is on ", q.device(),
         "; all tensors must be on one device");
}

}  // namespace ttt
