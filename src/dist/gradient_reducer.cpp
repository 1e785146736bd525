#include "dist/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>

namespace ttt {
namespace {

using Work = c10::intrusive_ptr<c10d::Work>;
using Future = c10::intrusive_ptr<c10::ivalue::Future>;

// What is done with a bucket once its gradients are there.
class Reduction : public c10d::CommHookInterface {
 public:
  Reduction(const Communicator& ranks, const ReducerOptions& options) : ranks_(ranks), options_(options) {}

  Future runHook(c10d::GradBucket& bucket) override {
    at::Tensor& gradients = bucket.getBufferRef();
    ++started_;
    if (options_.bf16) {
      at::Tensor rounded = gradients.to(at::kBFloat16);
      return then(
          all_reduce(rounded), [gradients, rounded] { gradients.copy_(rounded); }, gradients);
    }
    // Gloo's reduce-scatter is an all-reduce of a copy.
    const bool even = gradients.numel() % ranks_.size() == 0;
    if (!options_.own_share_only || gradients.is_cpu() || !even)
      return then(
          all_reduce(gradients), [] {}, gradients);
    const std::int64_t share = gradients.numel() / ranks_.size();
    at::Tensor own = gradients.slice(0, ranks_.rank() * share, (ranks_.rank() + 1) * share);
    works_.push_back(ranks_.group()->getBackend(gradients.device().type())->_reduce_scatter_base(own, gradients));
    return then(
        works_.back(), [] {}, gradients);
  }

  at::Tensor parseHookResult(const c10::IValue& result) override { return result.toTensor(); }

  std::size_t started() const { return started_; }
  void begin() { started_ = 0, works_.clear(); }

  // Whether an exception of the backward pass came from here.
  bool failed() const {
    return std::any_of(works_.begin(), works_.end(), [](const Work& work) { return work->exception() != nullptr; });
  }

 private:
  Work all_reduce(at::Tensor& tensor) {
    std::vector<at::Tensor> tensors = {tensor};
    works_.push_back(ranks_.group()->getBackend(tensor.device().type())->allreduce(tensors));
    return works_.back();
  }

  // A future of `result`, ready when `work` is done and `finish` has run.
  template <class Finish>
  static Future then(const Work& work, Finish finish, const at::Tensor& result) {
    return work->getFuture()->then(
        [finish = std::move(finish), result](c10::ivalue::Future& done) {
          if (done.hasError()) std::rethrow_exception(done.exception_ptr());
          finish();
          return c10::IValue(result);
        },
        c10::TensorType::get());
  }

  const Communicator& ranks_;
  ReducerOptions options_;
  std::vector<Work> works_;  // of this backward pass
  std::size_t started_ = 0;
};

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

struct GradientReducer::Engine {
  Reduction* reduction = nullptr;  // the Reducer's
  std::unique_ptr<c10d::Reducer> reducer;
};

GradientReducer::GradientReducer(Communicator& ranks, std::vector<std::pair<std::string, at::Tensor>> parameters,
                                 const ReducerOptions& options)
    : ranks_(ranks), options_(options), engine_(std::make_unique<Engine>()) {
  std::unordered_map<std::size_t, std::string> names;
  for (auto& [name, parameter] : parameters) {
    TTT_CHECK(parameter.is_contiguous() && parameter.scalar_type() == at::kFloat, name);
    names[parameters_.size()] = name;
    parameters_.push_back(parameter);
  }
  // As DistributedDataParallel does: a small first bucket, and the last layers' first.
  const auto limit = static_cast<std::size_t>(options.bucket_bytes);
  const std::size_t first_limit = std::min<std::size_t>(limit, c10d::kDefaultFirstBucketBytes);
  auto indices = std::get<0>(c10d::compute_bucket_assignment_by_size(parameters_, {first_limit, limit}));
  std::reverse(indices.begin(), indices.end());
  engine_->reducer = std::make_unique<c10d::Reducer>(
      parameters_, indices, ranks.group(), std::vector<bool>(parameters_.size(), false), options.bucket_bytes,
      /*find_unused_parameters=*/false, /*gradient_as_bucket_view=*/true, names, static_cast<std::int64_t>(first_limit),
      /*skip_all_reduce_unused_params=*/false, /*use_python_reducer=*/false,
      /*bucket_bytes_cap_list=*/std::vector<std::int64_t>{});
  auto reduction = std::make_unique<Reduction>(ranks, options);
  engine_->reduction = reduction.get();
  engine_->reducer->register_comm_hook(std::move(reduction));

  pieces_.resize(parameters_.size());
  const auto grad_buckets = engine_->reducer->get_grad_buckets(/*return_zero_tensors=*/false);
  for (std::size_t i = 0; i < indices.size(); ++i) {
    Bucket bucket;
    bucket.gradients = grad_buckets[i].getBuffer();
    bucket.members = indices[i];
    bucket.share = divide_up(bucket.gradients.numel(), ranks.size());
    const std::int64_t own_first = ranks.rank() * bucket.share, own_last = own_first + bucket.share;
    std::int64_t offset = 0;  // of the parameter in the bucket
    for (const std::size_t member : bucket.members) {
      const std::int64_t size = parameters_[member].numel();
      const std::int64_t first = std::clamp<std::int64_t>(own_first - offset, 0, size);
      pieces_[member] = {first, std::clamp<std::int64_t>(own_last - offset, first, size)};
      offset += size;
    }
    TTT_CHECK(offset == bucket.gradients.numel(), offset);
    buckets_.push_back(std::move(bucket));
  }
}

GradientReducer::~GradientReducer() = default;

void GradientReducer::backward(const at::Tensor& loss, bool last) {
  if (!last) {
    loss.backward();
    return;
  }
  engine_->reduction->begin();
  engine_->reducer->prepare_for_backward({});
  try {
    loss.backward();
  } catch (const std::exception& error) {
    if (engine_->reduction->failed()) ranks_.explain("the sum of gradients", error.what());
    throw;
  }
  TTT_CHECK(engine_->reduction->started() == buckets_.size(), "a parameter got no gradient");
}

void GradientReducer::zero_gradients() {
  const torch::NoGradGuard no_grad;
  for (Bucket& bucket : buckets_) bucket.gradients.zero_();
}

at::Tensor GradientReducer::own_part(const Bucket& bucket) const {
  const std::int64_t size = bucket.gradients.numel(), first = std::min(ranks_.rank() * bucket.share, size);
  return bucket.gradients.slice(0, first, std::min(first + bucket.share, size));
}

double GradientReducer::own_squares() const {
  const torch::NoGradGuard no_grad;
  double squares = 0;
  for (const Bucket& bucket : buckets_) {
    const at::Tensor part = own_part(bucket);
    if (part.numel() == 0) continue;
    const double norm = at::linalg_vector_norm(part, 2, std::nullopt, false, at::kDouble).item<double>();
    squares += norm * norm;
  }
  return squares;
}

void GradientReducer::scale(double factor) {
  const torch::NoGradGuard no_grad;
  for (Bucket& bucket : buckets_) (options_.own_share_only ? own_part(bucket) : bucket.gradients).mul_(factor);
}

void GradientReducer::gather(const std::vector<at::Tensor>& own,
                             const std::function<void(std::size_t, const at::Tensor&)>& visit) {
  const torch::NoGradGuard no_grad;
  for (const Bucket& bucket : buckets_) {
    std::vector<at::Tensor> parts;
    for (const std::size_t member : bucket.members) parts.push_back(own[member]);
    at::Tensor part = at::zeros({bucket.share}, bucket.gradients.options());
    const at::Tensor joined = at::cat(parts);
    part.slice(0, 0, joined.numel()).copy_(joined);
    at::Tensor all = at::empty({bucket.share * ranks_.size()}, bucket.gradients.options());
    ranks_.all_gather(all, part);
    std::int64_t offset = 0;
    for (const std::size_t member : bucket.members) {
      const std::int64_t size = parameters_[member].numel();
      visit(member, all.slice(0, offset, offset + size));
      offset += size;
    }
  }
}

}  // namespace ttt
