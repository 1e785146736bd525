// The rows of AdamW: on a GPU the kernels of kernels/cuda/adamw_args.h; ATen's fused ones for lists of tensors on a CPU,
// and on a GPU that the former are not built for.
#include "ops/adamw_step.h"

#include <ATen/ATen.h>

#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "base/error.h"
#include "kernels/cuda/adamw_args.h"
#include "ops/cuda_target.h"
#include "ops/cuda_values.h"

namespace ttt {
namespace {

namespace cuda = kernels::cuda;

// ATen's fused kernels. On a CPU the host decides at once.
class FusedAdamW : public AdamWStep {
 public:
  FusedAdamW(at::Device device, const AdamWSettings& settings)
      : settings_(settings), count_(at::zeros({}, at::TensorOptions(at::kFloat).device(device))) {}

  at::Tensor norm(const std::vector<at::Tensor>& gradients) override { return global_norm(gradients); }

  void decide(const at::Tensor& loss_and_norm, const StepLimits& limits) override {
    const double loss = loss_and_norm.const_data_ptr<double>()[0], norm = loss_and_norm.const_data_ptr<double>()[1];
    outcome_ = {loss, norm, std::isfinite(loss) && std::isfinite(norm) && loss <= limits.max_loss};
    factor_ = limits.max_norm > 0 && norm > limits.max_norm ? limits.max_norm / norm : 1;
  }
  void forget_decision() override {
    outcome_ = {};
    factor_ = 1;
  }
  StepOutcome outcome() const override { return outcome_; }

  void begin(const std::vector<AdamWRates>& groups, std::int64_t update) override {
    groups_ = groups;
    count_.fill_(static_cast<double>(update));
  }

  // Neighbours of one group go together.
  void step(const std::vector<AdamWItem>& items) override {
    if (!outcome_.taken) return;
    for (std::size_t first = 0, end = 0; first < items.size(); first = end) {
      const int group = items[first].group;
      std::vector<at::Tensor> parameters, gradients, exp_avg, exp_avg_sq, counts;
      for (; end < items.size() && items[end].group == group; ++end) {
        parameters.push_back(items[end].parameter);
        gradients.push_back(items[end].gradient);
        exp_avg.push_back(items[end].exp_avg);
        exp_avg_sq.push_back(items[end].exp_avg_sq);
        counts.push_back(count_);
      }
      scale(gradients);
      const AdamWRates& rates = groups_[static_cast<std::size_t>(group)];
      at::_fused_adamw_(parameters, gradients, exp_avg, exp_avg_sq, /*max_exp_avg_sqs=*/{}, counts, rates.lr,
                        settings_.beta1, settings_.beta2, rates.weight_decay, settings_.eps, /*amsgrad=*/false,
                        /*maximize=*/false, /*grad_scale=*/{}, not_taken_);
    }
  }

 protected:
  virtual void scale(const std::vector<at::Tensor>& gradients) const {
    if (factor_ != 1) at::_foreach_mul_(gradients, factor_);
  }

  std::optional<at::Tensor> not_taken_;  // fp32 on the device: 1 where the kernels are to change nothing

 private:
  AdamWSettings settings_;
  at::Tensor count_;  // ATen's kernels want a count of updates for each parameter; they share one tensor
  std::vector<AdamWRates> groups_;
  StepOutcome outcome_;
  double factor_ = 1;
};

// The same on a device, where the decision is one of tensors.
class QueuedFusedAdamW : public FusedAdamW {
 public:
  using FusedAdamW::FusedAdamW;

  void decide(const at::Tensor& loss_and_norm, const StepLimits& limits) override {
    const at::Tensor loss = loss_and_norm[0], norm = loss_and_norm[1];
    const at::Tensor taken = at::isfinite(loss_and_norm).all().logical_and(loss <= limits.max_loss).to(at::kDouble);
    not_taken_ = (1 - taken).to(at::kFloat);
    decision_ = at::cat({loss_and_norm, taken.view({1})});
    factor_.reset();
    if (limits.max_norm > 0) factor_ = at::clamp_max(limits.max_norm / norm, 1);
  }
  void forget_decision() override {
    not_taken_.reset();
    decision_.reset();
    factor_.reset();
  }
  StepOutcome outcome() const override {
    if (!decision_.defined()) return {};
    const at::Tensor host = decision_.cpu();
    const double* values = host.const_data_ptr<double>();
    return {values[0], values[1], values[2] != 0};
  }

 protected:
  void scale(const std::vector<at::Tensor>& gradients) const override {
    if (factor_.defined()) at::_foreach_mul_(gradients, factor_.to(gradients.front().scalar_type()));
  }

 private:
  at::Tensor decision_;  // fp64 [3]: loss, norm, taken
  at::Tensor factor_;    // fp64; undefined: 1
};

// A table in the GPU's memory, sent again when it changes.
class DeviceTable {
 public:
  explicit DeviceTable(std::int64_t& sent) : count_(sent) {}

  template <class T>
  const T* get(const std::vector<T>& rows, at::Device device) {
    send(rows.data(), rows.size() * sizeof(T), device);
    return rows_as<T>();
  }
  // What was sent last.
  template <class T>
  const T* rows_as() const {
    return static_cast<const T*>(on_device_.const_data_ptr());
  }

 private:
  void send(const void* data, std::size_t bytes, at::Device device);

  std::int64_t& count_;
  std::vector<char> sent_;
  at::Tensor on_device_;
};

void DeviceTable::send(const void* data, std::size_t bytes, at::Device device) {
  const char* begin = static_cast<const char*>(data);
  if (on_device_.defined() && sent_.size() == bytes && std::memcmp(sent_.data(), begin, bytes) == 0) return;
  const auto size = static_cast<std::int64_t>(bytes);
  if (!on_device_.defined() || sent_.size() != bytes)
    on_device_ = at::empty({size}, at::TensorOptions(at::kByte).device(device));
  sent_.assign(begin, begin + bytes);
  const at::Tensor host = at::empty({size}, at::TensorOptions(at::kByte).pinned_memory(device.is_cuda()));
  std::memcpy(host.mutable_data_ptr(), begin, bytes);
  on_device_.copy_(host, /*non_blocking=*/true);
  ++count_;
}

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

// Three kernels for all tensors together, and a small one that decides.
class CudaAdamW : public AdamWStep {
 public:
  CudaAdamW(at::Device device, const AdamWSettings& settings) : device_(device), settings_(settings) {}

  at::Tensor norm(const std::vector<at::Tensor>& all) override {
    std::vector<at::Tensor> gradients;
    for (const at::Tensor& gradient : all) gradients.push_back(gradient.contiguous());
    if (const auto sizes = counts_of(gradients); sizes != norm_sizes_ || norm_count_ == 0) {
      norm_sizes_ = sizes;
      const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
      norm_count_ = static_cast<std::int64_t>(chunks.size());
      norm_chunks_.get(chunks, device_);
    }
    const at::Tensor squares = at::empty({norm_count_}, at::TensorOptions(at::kFloat).device(device_)),
                     result = at::empty({}, at::TensorOptions(at::kDouble).device(device_));
    launch_cuda(device_, cuda::GradientSquares<float>{norm_gradients_.get(pointers_of(gradients), device_),
                                                      norm_chunks_.rows_as<cuda::TensorChunk>(), norm_count_,
                                                      data_of<float>(squares)});
    launch_cuda(device_,
                cuda::GradientNorm{data_of<const float>(squares), norm_count_, result.mutable_data_ptr<double>()});
    return result;
  }

  void decide(const at::Tensor& loss_and_norm, const StepLimits& limits) override {
    static_assert(sizeof(cuda::StepDecision) == 4 * sizeof(double));
    decision_ = at::empty({4}, at::TensorOptions(at::kDouble).device(device_));
    launch_cuda(device_, cuda::DecideStep{loss_and_norm.const_data_ptr<double>(),
                                          max_loss_.get(std::vector<double>{limits.max_loss}, device_), limits.max_norm,
                                          static_cast<cuda::StepDecision*>(decision_.mutable_data_ptr())});
  }
  void forget_decision() override { decision_.reset(); }

  StepOutcome outcome() const override {
    if (!decision_.defined()) return {};
    const at::Tensor host = decision_.cpu();
    const auto& decision = *static_cast<const cuda::StepDecision*>(host.const_data_ptr());
    return {decision.loss, decision.norm, decision.taken != 0};
  }

  // A table: the corrections, then the groups.
  void begin(const std::vector<AdamWRates>& groups, std::int64_t update) override {
    static_assert(sizeof(cuda::BiasCorrections) == sizeof(cuda::AdamWGroup));
    const auto t = static_cast<double>(update);
    std::vector<cuda::AdamWGroup> rows = {{static_cast<float>(1 - std::pow(settings_.beta1, t)),
                                           static_cast<float>(std::sqrt(1 - std::pow(settings_.beta2, t)))}};
    for (const AdamWRates& group : groups)
      rows.push_back({static_cast<float>(group.lr), static_cast<float>(group.weight_decay)});
    rates_.get(rows, device_);
  }

  void step(const std::vector<AdamWItem>& all) override {
    std::vector<AdamWItem> items;
    for (const AdamWItem& item : all) {
      if (item.parameter.numel() > 0) items.push_back(item);
    }
    if (items.empty()) return;
    Portion& portion = portion_of(items);
    std::vector<at::Tensor> gradients;
    for (const AdamWItem& item : items) gradients.push_back(item.gradient);
    cuda::AdamWUpdate<float> p;
    p.gradients = portion.gradients.get(pointers_of(gradients), device_);
    p.tensors = portion.tensors.rows_as<cuda::AdamWTensor>();
    p.chunks = portion.chunks.rows_as<cuda::TensorChunk>(), p.chunk_count = portion.chunk_count;
    p.corrections = rates_.rows_as<cuda::BiasCorrections>(), p.groups = rates_.rows_as<cuda::AdamWGroup>() + 1;
    if (decision_.defined()) p.decision = static_cast<const cuda::StepDecision*>(decision_.const_data_ptr());
    p.beta1 = settings_.beta1, p.beta2 = settings_.beta2, p.eps = settings_.eps;
    launch_cuda(device_, p);
  }

  std::int64_t tables_sent() const override { return sent_; }

 private:
  // Where a tensor and its moments lie.
  struct Place {
    const void *parameter, *exp_avg, *exp_avg_sq;
    std::int64_t numel;
    int group;
    bool operator==(const Place&) const = default;
  };
  // Tensors that one call of step() takes, and their tables, which are made once.
  struct Portion {
    explicit Portion(std::int64_t& sent) : gradients(sent), tensors(sent), chunks(sent) {}
    std::vector<Place> places;
    DeviceTable gradients, tensors, chunks;
    std::int64_t chunk_count = 0;
  };

  Portion& portion_of(const std::vector<AdamWItem>& items) {
    std::vector<Place> places;
    for (const AdamWItem& item : items) {
      for (const at::Tensor& x : {item.parameter, item.exp_avg, item.exp_avg_sq})
        TTT_CHECK(x.is_contiguous() && x.numel() == item.gradient.numel(), x.sizes(), ", ", item.gradient.sizes());
      places.push_back({item.parameter.const_data_ptr(), item.exp_avg.const_data_ptr(),
                        item.exp_avg_sq.const_data_ptr(), item.parameter.numel(), item.group});
    }
    // Portions share no tensor: the first one tells them apart.
    Portion& portion = portions_.try_emplace(places.front().parameter, sent_).first->second;
    if (portion.places == places) return portion;
    std::vector<cuda::AdamWTensor> tensors;
    std::vector<std::int64_t> sizes;
    for (const AdamWItem& item : items) {
      tensors.push_back({data_of<float>(item.parameter), data_of<float>(item.exp_avg), data_of<float>(item.exp_avg_sq),
                         nullptr, item.group});
      sizes.push_back(item.parameter.numel());
    }
    const std::vector<cuda::TensorChunk> chunks = cuda::chunks_of(sizes);
    portion.tensors.get(tensors, device_);
    portion.chunks.get(chunks, device_);
    portion.chunk_count = static_cast<std::int64_t>(chunks.size());
    portion.places = std::move(places);
    return portion;
  }

  at::Device device_;
  AdamWSettings settings_;
  at::Tensor decision_;    // on the device; undefined: gradients are taken as they are
  std::int64_t sent_ = 0;  // tables
  std::vector<std::int64_t> norm_sizes_;
  std::int64_t norm_count_ = 0;  // chunks
  DeviceTable norm_gradients_{sent_}, norm_chunks_{sent_}, max_loss_{sent_}, rates_{sent_};
  std::map<const void*, Portion> portions_;
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
       {{"fused", {.place = KernelPlace::kCpu}}, make_adamw_row<FusedAdamW>},
       {{"fused_queued"}, make_adamw_row<QueuedFusedAdamW>}},
      {.fp32_in_bf16_models = true});
  return rows;
}

}  // namespace

at::Tensor global_norm(const std::vector<at::Tensor>& gradients) {
  // Row by row: a single fp32 sum over the millions of squares of an embedding would lose digits.
  std::vector<at::Tensor> row_norms;
  for (const at::Tensor& gradient : gradients) {
    if (gradient.numel() == 0) continue;
    const std::int64_t row = gradient.dim() > 1 ? gradient.size(-1) : gradient.numel();
    const at::Tensor rows = gradient.reshape({-1, row});
    row_norms.push_back(at::linalg_vector_norm(rows, 2, /*dim=*/{-1}));
  }
  if (row_norms.empty()) return at::zeros({}, at::kDouble);
  return at::linalg_vector_norm(at::cat(row_norms).to(at::kDouble), 2);
}

std::unique_ptr<AdamWStep> make_adamw_step(at::Device device, at::ScalarType dtype, const AdamWSettings& settings) {
  return adamw_rows().choose({.device = device, .dtype = dtype}).run(device, settings);
}

const KernelTable& adamw_kernels() {
  return adamw_rows();
}

}  // namespace ttt
