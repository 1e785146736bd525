// Clipping and AdamW on a GPU (kernels/cuda/adamw_args.h): three kernels for all tensors together, and nothing that the
// host waits for. Equations: adamw.h.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <cstring>
#include <vector>

#include "config/run_config.h"
#include "kernels/cuda/adamw_args.h"

namespace ttt {

// A table in the GPU's memory, sent again when it changes.
class DeviceTable {
 public:
  template <class T>
  const T* get(const std::vector<T>& rows, at::Device device) {
    return static_cast<const T*>(get(rows.data(), rows.size() * sizeof(T), device));
  }

 private:
  const void* get(const void* data, std::size_t bytes, at::Device device);

  std::vector<char> sent_;
  at::Tensor on_device_;
};

class CudaAdamW {
 public:
  CudaAdamW(at::Device device, const OptimConfig& config) : device_(device), config_(config) {}

  // [2] fp32 on the device: the norm of all gradients (contiguous, fp32) together, and min(1, max_norm / norm), 1 for a
  // max_norm of 0.
  at::Tensor clipped_norm(const std::vector<at::Tensor>& gradients, double max_norm);

  // Contiguous fp32 tensors of equal sizes.
  struct Item {
    at::Tensor parameter, gradient, exp_avg, exp_avg_sq;
    double lr = 0, weight_decay = 0;
  };
  // Update number `update`, from 1, with gradients times the factor of clipped_norm(); undefined: as they are.
  void step(const std::vector<Item>& items, std::int64_t update, const at::Tensor& clipped_norm);

 private:
  at::Device device_;
  OptimConfig config_;
  DeviceTable norm_gradients_, norm_chunks_, gradients_, tensors_, groups_, chunks_, corrections_;
};

}  // namespace ttt
