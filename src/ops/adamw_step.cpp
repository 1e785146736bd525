// The rows of AdamW: ATen's fused kernels for lists of tensors, on any device; and on a GPU three kernels for all
// tensors together (kernels/cuda/adamw_args.h), with nothing that the host waits for.
#include "ops/adamw_step.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>

#include "base/error.h"
#include "kernels/cuda/adamw_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

class FusedAdamW : public AdamWStep {
 public:
  FusedAdamW(at::Device device, const AdamWSettings& settings)
      : settings_(settings), count_(at::zeros({}, at::TensorOptions(at::kFloat).device(device))) {}

  double clip(std::vector<at::Tensor> gradients, double max_norm) override {
    const double norm = global_norm(gradients);
    if (max_norm > 0 && norm > max_norm) at::_foreach_mul_(gradients, max_norm / norm);
    return norm;
  }

  // Neighbours with one learning rate and weight decay go together.
  void step(const std::vector<AdamWItem>& items, std::int64_t update) override {
    count_.fill_(static_cast<double>(update));
    for (std::size_t first = 0, end = 0; first < items.size(); first = end) {
      const double lr = items[first].lr, weight_decay = items[first].weight_decay;
      std::vector<at::Tensor> parameters, gradients, exp_avg, exp_avg_sq, counts;
      for (; end < items.size() && items[end].lr == lr && items[end].weight_decay == weight_decay; ++end) {
        parameters.push_back(items[end].parameter);
        gradients.push_back(items[end].gradient);
        exp_avg.push_back(items[end].exp_avg);
        exp_avg_sq.push_back(items[end].exp_avg_sq);
        counts.push_back(count_);
      }
      at::_fused_adamw_(parameters, gradients, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, counts, lr, settings_.beta1,
                        settings_.beta2, weight_decay, settings_.eps, /*amsgrad=*/false, /*maximize=*/false);
    }
  }

 private:
  AdamWSettings settings_;
  at::Tensor count_;  // ATen's kernels want a count of updates for each parameter; they share one tensor
};

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

std::vector<std::int64_t> counts_of(const std::vector<at::Tensor>& tensors) {
  std::vector<std::int64_t> sizes;
  for (const at::Tensor& tensor : tensors) sizes.push_back(tensor.numel());
  return sizes;
}

std::vector<const float*> pointers_of(const std::vector<at::Tensor>& tensors) {
  std::vector<const float*> pointers;
  for (const at::Tensor& tensor : tensors) {
    TTT_CHECK(tensor.is_contiguous(), tensor.sizes(), " with steps ", tensor.strides());
    pointers.push_back(data_of<const float>(tensor));
  }
  return pointers;
}

const void* DeviceTable::get(const void* data, std::size_t bytes, at::Device device) {
  const char* begin = static_cast<const char*>(data);
  if (on_device_.defined() && sent_.size() == bytes && std::memcmp(sent_.data(), begin, bytes) == 0)
    return on_device_.const_data_ptr();
  sent_.assign(begin, begin + bytes);
  const at::Tensor host =
      at::empty({static_cast<std::int64_t>(bytes)}, at::TensorOptions(at::kByte).pinned_memory(device.is_cuda()));
  std::memcpy(host.mutable_data_ptr(), begin, bytes);
  on_device_ = host.to(device, /*non_blocking=*/true);
  return on_device_.const_data_ptr();
}

class CudaAdamW : public AdamWStep {
 public:
  CudaAdamW(at::Device device, const AdamWSettings& settings) : device_(device), settings_(settings) {}

  double clip(std::vector<at::Tensor> gradients, double max_norm) override {
    for (at::Tensor& gradient : gradients) gradient = gradient.contiguous();
    clipped_norm_ = clipped_norm(gradients, max_norm);
    return clipped_norm_[0].item<double>();
  }

  void step(const std::vector<AdamWItem>& all, std::int64_t update) override {
    std::vector<AdamWItem> items;
    for (const AdamWItem& item : all) {
      if (item.parameter.numel() > 0) items.push_back(item);
    }
    if (items.empty()) return;
    std::vector<at::Tensor> gradients;
    std::vector<cuda::AdamWTensor> tensors;
    std::vector<cuda::AdamWGroup> groups;
    for (const AdamWItem& item : items) {
      for (const at::Tensor& x : {item.parameter, item.exp_avg, item.exp_avg_sq})
        TTT_CHECK(x.is_contiguous() && x.numel() == item.gradient.numel(), x.sizes(), ", ", item.gradient.sizes());
      const cuda::AdamWGroup group{static_cast<float>(item.lr), static_cast<float>(item.weight_decay)};
      if (groups.empty() || groups.back().lr != group.lr || groups.back().weight_decay != group.weight_decay)
        groups.push_back(group);
      gradients.push_back(item.gradient);
      tensors.push_back({data_of<float>(item.parameter), data_of<float>(item.exp_avg), data_of<float>(item.exp_avg_sq),
                         nullptr, static_cast<std::int32_t>(groups.size() - 1)});
    }
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(counts_of(gradients));
    const auto t = static_cast<double>(update);
    const std::vector<cuda::BiasCorrections> corrections = {
        {static_cast<float>(1 - std::pow(settings_.beta1, t)),
         static_cast<float>(std::sqrt(1 - std::pow(settings_.beta2, t)))}};
    cuda::AdamWUpdate<float> p;
    p.gradients = gradients_.get(pointers_of(gradients), device_), p.tensors = tensors_.get(tensors, device_);
    p.groups = groups_.get(groups, device_);
    p.chunks = chunks_.get(chunks, device_), p.chunk_count = static_cast<std::int64_t>(chunks.size());
    p.corrections = corrections_.get(corrections, device_);
    if (clipped_norm_.defined())
      p.norm = reinterpret_cast<const cuda::ClippedNorm*>(data_of<const float>(clipped_norm_));
    p.beta1 = settings_.beta1, p.beta2 = settings_.beta2, p.eps = settings_.eps;
    launch_cuda(device_, p);
  }

  void forget_gradients() override { clipped_norm_.reset(); }

 private:
  // [2] fp32 on the device: the norm of all gradients (contiguous, fp32) together, and min(1, max_norm / norm), 1 for a
  // max_norm of 0.
  at::Tensor clipped_norm(const std::vector<at::Tensor>& gradients, double max_norm) {
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(counts_of(gradients));
    const auto count = static_cast<std::int64_t>(chunks.size());
    const auto floats = at::TensorOptions(at::kFloat).device(device_);
    const at::Tensor squares = at::empty({count}, floats), result = at::empty({2}, floats);
    launch_cuda(device_,
                cuda::GradientSquares<float>{norm_gradients_.get(pointers_of(gradients), device_),
                                             norm_chunks_.get(chunks, device_), count, data_of<float>(squares)});
    static_assert(sizeof(cuda::ClippedNorm) == 2 * sizeof(float));
    launch_cuda(device_, cuda::GradientNorm{data_of<const float>(squares), count, static_cast<float>(max_norm),
                                            reinterpret_cast<cuda::ClippedNorm*>(data_of<float>(result))});
    return result;
  }

  at::Device device_;
  AdamWSettings settings_;
  at::Tensor clipped_norm_;  // of the gradients at hand; undefined: they are taken as they are
  DeviceTable norm_gradients_, norm_chunks_, gradients_, tensors_, groups_, chunks_, corrections_;
};

using AdamWKernels = OpKernels<std::unique_ptr<AdamWStep> (*)(at::Device, const AdamWSettings&)>;

template <class Row>
std::unique_ptr<AdamWStep> make_adamw_row(at::Device device, const AdamWSettings& settings) {
  return std::make_unique<Row>(device, settings);
}

const AdamWKernels& adamw_rows() {
  static const AdamWKernels rows(
      "adamw",
      {{{"cuda", {.place = KernelPlace::kGpu, .dtypes = {at::kFloat}}}, make_adamw_row<CudaAdamW>},
       {{"fused"}, make_adamw_row<FusedAdamW>}},
      {.fp32_in_bf16_models = true});
  return rows;
}

}  // namespace

double global_norm(const std::vector<at::Tensor>& gradients) {
  // Row by row: a single fp32 sum over the millions of squares of an embedding would lose digits.
  std::vector<at::Tensor> row_norms;
  for (const at::Tensor& gradient : gradients) {
    if (gradient.numel() == 0) continue;
    const std::int64_t row = gradient.dim() > 1 ? gradient.size(-1) : gradient.numel();
    const at::Tensor rows = gradient.reshape({-1, row});
    row_norms.push_back(at::linalg_vector_norm(rows, 2, /*dim=*/{-1}));
  }
  if (row_norms.empty()) return 0.0;
  return at::linalg_vector_norm(at::cat(row_norms).to(at::kDouble), 2).item<double>();
}

std::unique_ptr<AdamWStep> make_adamw_step(at::Device device, at::ScalarType dtype, const AdamWSettings& settings) {
  return adamw_rows().choose({.device = device, .dtype = dtype}).run(device, settings);
}

const KernelTable& adamw_kernels() {
  return adamw_rows();
}

}  // namespace ttt
