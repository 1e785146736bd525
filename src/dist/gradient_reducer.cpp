#include "dist/gradient_reducer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/grad_mode.h>
#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include <algorithm>
#include <atomic>

namespace ttt {
namespace {

using Work = c10::intrusive_ptr<c10d::Work>;
using Future = c10::intrusive_ptr<c10::ivalue::Future>;

// What is done with a bucket once its gradients are there.
class Reduction : public c10d::CommHookInterface {
 public:
  Reduction(const Communicator& ranks, const ReducerOptions& options) : ranks_(ranks), options_(options) {}

  Future runHook(c10d::GradBucket& bucket) override {
    at::Tensor gradients = bucket.getBuffer();
    at::Tensor sums = options_.bf16 ? gradients.to(at::kBFloat16) : gradients;
    ++started_;
    try {
      return start(sums)->getFuture()->then(
          [gradients, sums, failed = failed_](c10::ivalue::Future& done) {
            if (done.hasError()) {
              *failed = true;
              std::rethrow_exception(done.exception_ptr());
            }
            if (!sums.is_same(gradients)) gradients.copy_(sums);
            return c10::IValue(gradients);
          },
          c10::TensorType::get());
    } catch (...) {
      *failed_ = true;
      throw;
    }
  }

  at::Tensor parseHookResult(const c10::IValue& result) override { return result.toTensor(); }

  void begin() { started_ = 0; }
  std::size_t started() const { return started_; }
  // Whether an exception of the backward pass came from here.
  bool failed() const { return *failed_; }

 private:
  // Gloo's reduce-scatter is an all-reduce of a copy; here it can do without the copy.
  Work start(at::Tensor& sums) const {
    c10d::Backend& backend = *ranks_.group()->getBackend(sums.device().type());
    const bool even = sums.numel() % ranks_.size() == 0;
    if (options_.own_share_only && even && !sums.is_cpu()) {
      const std::int64_t share = sums.numel() / ranks_.size();
      at::Tensor own = sums.slice(0, ranks_.rank() * share, (ranks_.rank() + 1) * share);
      return backend._reduce_scatter_base(own, sums);
    }
    std::vector<at::Tensor> tensors = {sums};
    return backend.allreduce(tensors);
  }

  const Communicator& ranks_;
  ReducerOptions options_;
  std::size_t started_ = 0;                                                                 // in this backward pass
  std::shared_ptr<std::atomic<bool>> failed_ = std::make_shared<std::atomic<bool>>(false);  // outlives late futures
};

// What is gathered at a time: enough to be worth a collective, little enough to be lost in what training needs.
constexpr std::int64_t kGatheredBytes = std::int64_t{32} << 20;

std::int64_t divide_up(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

}  // namespace

struct GradientReducer::Gathering {
  const Bucket* bucket = nullptr;
  std::int64_t first = 0, last = 0;  // of each rank's share
  at::Tensor scratch, all;           // all: these elements of one rank after the other, in scratch
  Work work;                         // null: nothing is on its way
};

struct GradientReducer::Engine {
  Reduction* reduction = nullptr;  // the Reducer's
  std::unique_ptr<c10d::Reducer> reducer;
};

GradientReducer::GradientReducer(Communicator& ranks, std::vector<std::pair<std::string, at::Tensor>> parameters,
                                 const ReducerOptions& options)
    : ranks_(ranks), options_(options), gatherings_(2), engine_(std::make_unique<Engine>()) {
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
    for (int rank = 0; rank <= ranks.size(); ++rank) bucket.starts.push_back(share_start(bucket, rank));
    std::int64_t offset = 0;  // of the parameter in the bucket
    for (const std::size_t member : bucket.members) {
      const std::int64_t size = parameters_[member].numel();
      // From the start on, so that micro-batches before the first sum need no memory of their own.
      parameters_[member].mutable_grad() =
          bucket.gradients.slice(0, offset, offset + size).view(parameters_[member].sizes());
      pieces_[member] = piece_of(bucket, ranks.rank(), offset, size);
      offset += size;
    }
    TTT_CHECK(offset == bucket.gradients.numel(), offset);
    buckets_.push_back(std::move(bucket));
  }
  zero_gradients();
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

// Where a rank's share of a bucket begins. On a CPU, a multiple of kVector after the beginning of a parameter: AdamW
// takes so many elements at a time, and rounds those at a tensor's end, one by one, differently. So the pieces are
// stepped with the bits of the whole.
std::int64_t GradientReducer::share_start(const Bucket& bucket, std::int64_t rank) const {
  constexpr std::int64_t kVector = 16;
  const std::int64_t size = bucket.gradients.numel();
  const std::int64_t even = std::min(rank * divide_up(size, ranks_.size()), size);
  if (!bucket.gradients.is_cpu()) return even;
  std::int64_t offset = 0;
  for (const std::size_t member : bucket.members) {
    const std::int64_t own = parameters_[member].numel();
    if (even < offset + own) return offset + std::min(divide_up(even - offset, kVector) * kVector, own);
    offset += own;
  }
  return size;
}

at::Tensor GradientReducer::own_part(const Bucket& bucket) const {
  const auto own = static_cast<std::size_t>(ranks_.rank());
  return bucket.gradients.slice(0, bucket.starts[own], bucket.starts[own + 1]);
}

at::Tensor GradientReducer::own_squares() const {
  const torch::NoGradGuard no_grad;
  std::vector<at::Tensor> parts;
  for (const Bucket& bucket : buckets_) {
    if (const at::Tensor part = own_part(bucket); part.numel() > 0) parts.push_back(part);
  }
  if (parts.empty()) return at::zeros({}, buckets_.front().gradients.options().dtype(at::kDouble));
  return at::stack(at::_foreach_norm(parts, 2, at::kDouble)).square().sum();
}

// What a rank owns of the parameter at elements [offset, offset + size) of a bucket.
ElementRange GradientReducer::piece_of(const Bucket& bucket, int rank, std::int64_t offset, std::int64_t size) const {
  const auto r = static_cast<std::size_t>(rank);
  const std::int64_t first = std::clamp<std::int64_t>(bucket.starts[r] - offset, 0, size);
  return {first, std::clamp<std::int64_t>(bucket.starts[r + 1] - offset, first, size)};
}

// Copies between the parameters and `values`, which stand for elements [first, last) of the share of `rank`, one of its
// pieces after the other: into the parameters, or out of them.
void GradientReducer::copy_pieces(const Gathering& gathering, int rank, const at::Tensor& values,
                                  bool into_parameters) const {
  std::int64_t offset = 0, at = 0;  // of a parameter in the bucket, of its piece in the share
  for (const std::size_t member : gathering.bucket->members) {
    const std::int64_t size = parameters_[member].numel();
    const ElementRange piece = piece_of(*gathering.bucket, rank, offset, size);
    const std::int64_t begin = std::max(at, gathering.first),
                       end = std::min(at + piece.last - piece.first, gathering.last);
    if (begin < end) {
      at::Tensor own = parameters_[member].view(-1).slice(0, piece.first + begin - at, piece.first + end - at);
      at::Tensor other = values.slice(0, begin - gathering.first, end - gathering.first);
      into_parameters ? own.copy_(other) : other.copy_(own);
    }
    offset += size;
    at += piece.last - piece.first;
  }
}

void GradientReducer::start(Gathering& gathering) const {
  const std::int64_t count = gathering.last - gathering.first, needed = count * (ranks_.size() + 1);
  at::Tensor& scratch = gathering.scratch;
  if (!scratch.defined() || scratch.numel() < needed)
    scratch = at::zeros({needed}, gathering.bucket->gradients.options());
  at::Tensor own = scratch.slice(0, 0, count);
  gathering.all = scratch.slice(0, count, needed);
  copy_pieces(gathering, ranks_.rank(), own, /*into_parameters=*/false);
  gathering.work = ranks_.group()->getBackend(own.device().type())->_allgather_base(gathering.all, own);
}

void GradientReducer::finish(Gathering& gathering) const {
  if (!gathering.work) return;
  std::exchange(gathering.work, nullptr)->wait();
  const std::int64_t count = gathering.last - gathering.first;
  for (int rank = 0; rank < ranks_.size(); ++rank) {
    if (rank != ranks_.rank())
      copy_pieces(gathering, rank, gathering.all.slice(0, rank * count, (rank + 1) * count), /*into_parameters=*/true);
  }
}

void GradientReducer::update_parameters(const Update& update) {
  const torch::NoGradGuard no_grad;
  const auto gathered = [&](const auto& step) {
    try {
      step();
    } catch (const std::exception& error) {
      ranks_.explain("the gathering of parameters", error.what());
    }
  };
  const std::int64_t limit = std::max<std::int64_t>(kGatheredBytes / 4 / ranks_.size(), 1);  // of a share, at a time
  std::size_t turn = 0;
  for (const Bucket& bucket : buckets_) {
    update(bucket.members);
    std::int64_t longest = 0;  // shorter shares are padded to it
    for (std::size_t r = 0; r + 1 < bucket.starts.size(); ++r)
      longest = std::max(longest, bucket.starts[r + 1] - bucket.starts[r]);
    for (std::int64_t first = 0; first < longest; first += limit) {
      Gathering& gathering = gatherings_[turn++ % gatherings_.size()];
      gathered([&] {
        finish(gathering);
        gathering.bucket = &bucket;
        gathering.first = first;
        gathering.last = std::min(first + limit, longest);
        start(gathering);
      });
    }
  }
  for (std::size_t i = 0; i < gatherings_.size(); ++i)
    gathered([&] { finish(gatherings_[turn++ % gatherings_.size()]); });
}

}  // namespace ttt
