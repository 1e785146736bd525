// Clipping by the global norm and AdamW's update of lists of tensors, with nothing that the host reads before all of it
// is queued. Equations: optim/adamw.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <vector>

#include "ops/kernel_table.h"

namespace ttt {

struct AdamWSettings {
  double beta1 = 0, beta2 = 0, eps = 0;
};

// Of a group of tensors.
struct AdamWRates {
  double lr = 0, weight_decay = 0;
};

// Tensors of equal sizes, contiguous where they are on a GPU.
struct AdamWItem {
  at::Tensor parameter, gradient, exp_avg, exp_avg_sq;
  int group = 0;
};

struct StepLimits {
  double max_norm = 0;  // gradients are scaled by min(1, max_norm / norm); 0: they are left
  double max_loss = std::numeric_limits<double>::infinity();  // a step with a larger loss is not taken
};

// What became of a step.
struct StepOutcome {
  double loss = 0, grad_norm = 0;
  bool taken = true;  // false: parameters and moments are what they were
};

// A row of the op, with what it keeps between steps.
class AdamWStep {
 public:
  virtual ~AdamWStep() = default;
  // The 2-norm over all elements of all gradients together: fp64, no dimensions, on their device.
  virtual at::Tensor norm(const std::vector<at::Tensor>& gradients) = 0;
  // How the gradients at hand are used, by the step's loss and their norm (fp64 [2], on the device): scaled as limits
  // say, and not at all where either is not finite or the loss is too large. Until forget_decision() or the next one.
  virtual void decide(const at::Tensor& loss_and_norm, const StepLimits& limits) = 0;
  virtual void forget_decision() = 0;
  // Update number `update`, from 1: begin(), then step() with each of its tensors once. Lists that are the same in every
  // update cost nothing to hand over again.
  virtual void begin(const std::vector<AdamWRates>& groups, std::int64_t update) = 0;
  virtual void step(const std::vector<AdamWItem>& items) = 0;
  // As it was decided. Reads the device, and so waits for it.
  virtual StepOutcome outcome() const = 0;
  // How many tables went to the device so far.
  virtual std::int64_t tables_sent() const { return 0; }
};

// For tensors of fp32 on that device; dtype: another type that some of them have.
std::unique_ptr<AdamWStep> make_adamw_step(at::Device device, at::ScalarType dtype, const AdamWSettings& settings);

// The 2-norm over all elements of all gradients together, fp64, on their device; on the CPU for none. Rows are reduced
// in the gradients' type, their norms in fp64.
at::Tensor global_norm(const std::vector<at::Tensor>& gradients);

const KernelTable& adamw_kernels();  // its rows

}  // namespace ttt
