#include "optim/adamw_cuda.h"

#include <ATen/ATen.h>

#include <cmath>

#include "base/error.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

std::vector<std::int64_t> sizes_of(const std::vector<at::Tensor>& tensors) {
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

}  // namespace

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

at::Tensor CudaAdamW::clipped_norm(const std::vector<at::Tensor>& gradients, double max_norm) {
  const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes_of(gradients));
  const auto count = static_cast<std::int64_t>(chunks.size());
  const auto floats = at::TensorOptions(at::kFloat).device(device_);
  const at::Tensor squares = at::empty({count}, floats), result = at::empty({2}, floats);
  launch_cuda(device_, cuda::GradientSquares<float>{norm_gradients_.get(pointers_of(gradients), device_),
                                                    norm_chunks_.get(chunks, device_), count, data_of<float>(squares)});
  static_assert(sizeof(cuda::ClippedNorm) == 2 * sizeof(float));
  launch_cuda(device_, cuda::GradientNorm{data_of<const float>(squares), count, static_cast<float>(max_norm),
                                          reinterpret_cast<cuda::ClippedNorm*>(data_of<float>(result))});
  return result;
}

void CudaAdamW::step(const std::vector<Item>& items, std::int64_t update, const at::Tensor& clipped_norm) {
  std::vector<at::Tensor> gradients;
  std::vector<cuda::AdamWTensor> tensors;
  std::vector<cuda::AdamWGroup> groups;
  for (const Item& item : items) {
    for (const at::Tensor& x : {item.parameter, item.exp_avg, item.exp_avg_sq})
      TTT_CHECK(x.is_contiguous() && x.numel() == item.gradient.numel(), x.sizes(), ", ", item.gradient.sizes());
    const cuda::AdamWGroup group{static_cast<float>(item.lr), static_cast<float>(item.weight_decay)};
    if (groups.empty() || groups.back().lr != group.lr || groups.back().weight_decay != group.weight_decay)
      groups.push_back(group);
    gradients.push_back(item.gradient);
    tensors.push_back({data_of<float>(item.parameter), data_of<float>(item.exp_avg), data_of<float>(item.exp_avg_sq),
                       nullptr, static_cast<std::int32_t>(groups.size() - 1)});
  }
  const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes_of(gradients));
  const auto t = static_cast<double>(update);
  const std::vector<cuda::BiasCorrections> corrections = {
      {static_cast<float>(1 - std::pow(config_.beta1, t)),
       static_cast<float>(std::sqrt(1 - std::pow(config_.beta2, t)))}};
  cuda::AdamWUpdate<float> p;
  p.gradients = gradients_.get(pointers_of(gradients), device_), p.tensors = tensors_.get(tensors, device_);
  p.groups = groups_.get(groups, device_);
  p.chunks = chunks_.get(chunks, device_), p.chunk_count = static_cast<std::int64_t>(chunks.size());
  p.corrections = corrections_.get(corrections, device_);
  if (clipped_norm.defined()) p.norm = reinterpret_cast<const cuda::ClippedNorm*>(data_of<const float>(clipped_norm));
  p.beta1 = config_.beta1, p.beta2 = config_.beta2, p.eps = config_.eps;
  launch_cuda(device_, p);
}

}  // namespace ttt
