// Clipping by the global norm and AdamW's update of a list of tensors. Equations: optim/adamw.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "ops/kernel_table.h"

namespace ttt {

struct AdamWSettings {
  double beta1 = 0, beta2 = 0, eps = 0;
};

// Tensors of equal sizes, contiguous where they are on a GPU.
struct AdamWItem {
  at::Tensor parameter, gradient, exp_avg, exp_avg_sq;
  double lr = 0, weight_decay = 0;
};

// A row of the op, with what it keeps between steps.
class AdamWStep {
 public:
  virtual ~AdamWStep() = default;
  // Scales the gradients by min(1, max_norm / norm), 1 for a max_norm of 0, at once or in the next step(). Returns the
  // norm before.
  virtual double clip(std::vector<at::Tensor> gradients, double max_norm) = 0;
  // Update number `update`, from 1.
  virtual void step(const std::vector<AdamWItem>& items, std::int64_t update) = 0;
  // The gradients are others now: a factor that the next step() had for them is dropped.
  virtual void forget_gradients() {}
};

// For tensors of fp32 on that device; dtype: another type that some of them have.
std::unique_ptr<AdamWStep> make_adamw_step(at::Device device, at::ScalarType dtype, const AdamWSettings& settings);

// The 2-norm over all elements of all gradients together. Rows are reduced in the gradients' type, their norms in fp64.
double global_norm(const std::vector<at::Tensor>& gradients);

const KernelTable& adamw_kernels();  // its rows

}  // namespace ttt
