// Sums gradients over all ranks while the backward pass runs, by c10d's Reducer: gradients are views of flat buckets,
// and a bucket is on its way as soon as its last gradient is there.
//
// Buckets are made once, from the parameters' order and sizes alone, so that the sums have the same order in every run
// of so many ranks, resumed or not. Each bucket is divided about evenly among the ranks; what a rank owns of it is its
// share of the norm and, with ZeRO-1, of the optimizer's work.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/element_range.h"
#include "dist/communicator.h"

namespace ttt {

struct ReducerOptions {
  // Sums are wanted for the own share alone (ZeRO-1). Gradients of other shares are undefined after a backward pass.
  bool own_share_only = false;
  bool bf16 = false;                             // sums travel, and are added, in bf16
  std::int64_t bucket_bytes = 25 * 1024 * 1024;  // of gradients
};

class GradientReducer {
 public:
  // The parameters are contiguous fp32 leaves that require gradients, the same on every rank.
  GradientReducer(Communicator& ranks, std::vector<std::pair<std::string, at::Tensor>> parameters,
                  const ReducerOptions& options);
  ~GradientReducer();
  GradientReducer(const GradientReducer&) = delete;
  GradientReducer& operator=(const GradientReducer&) = delete;

  // Gradients += those of loss. With `last`, the step's last micro-batch, they are then the sums over all ranks.
  // Throws CollectiveError.
  void backward(const at::Tensor& loss, bool last);
  void zero_gradients();

  // The sum of the squares of the own share of all gradients: fp64, no dimensions, on their device. Added up over the
  // ranks it is the squared norm. The same bits with and without ZeRO-1.
  at::Tensor own_squares() const;

  // What this rank owns of each parameter, in the constructor's order.
  const std::vector<ElementRange>& own_pieces() const { return pieces_; }
  // ZeRO-1's step. update(parameters) is called for one bucket after the other and changes this rank's pieces of these
  // parameters (places in the constructor's order, each once); while it works on the next ones, every rank gets the
  // pieces of the others. At the end all ranks have the same parameters. Throws CollectiveError.
  using Update = std::function<void(const std::vector<std::size_t>& parameters)>;
  void update_parameters(const Update& update);

 private:
  struct Engine;
  struct Bucket {
    at::Tensor gradients;              // flat
    std::vector<std::size_t> members;  // parameters, in their order in the bucket
    std::vector<std::int64_t> starts;  // rank r owns elements [starts[r], starts[r + 1])
  };
  std::int64_t share_start(const Bucket& bucket, std::int64_t rank) const;
  ElementRange piece_of(const Bucket& bucket, int rank, std::int64_t offset, std::int64_t size) const;
  at::Tensor own_part(const Bucket& bucket) const;

  // A part of a bucket's shares that is being gathered.
  struct Gathering;
  void start(Gathering& gathering) const;
  void finish(Gathering& gathering) const;
  void copy_pieces(const Gathering& gathering, int rank, const at::Tensor& values, bool into_parameters) const;

  Communicator& ranks_;
  std::vector<at::Tensor> parameters_;
  ReducerOptions options_;
  std::vector<Bucket> buckets_;
  std::vector<ElementRange> pieces_;
  std::vector<Gathering> gatherings_;  // two, used in turn; kept, since blocks of this size that come and go fragment
                                       // the heap
  std::unique_ptr<Engine> engine_;
};

}  // namespace ttt
