// The forward and backward passes of a step's micro-batches, on a GPU as one CUDA graph where train.cuda_graph asks for
// that.
//
// Shapes: b sequences of a micro-batch, T context.
#pragma once

#include <torch/types.h>

#include <functional>
#include <optional>

#include "nn/mixer.h"
#include "ops/device_graph.h"

namespace ttt {

struct MicroBatch {
  torch::Tensor inputs_bT, targets_bT;  // int64
  torch::Tensor weights_bT;             // fp32, of each token's loss
};

class MicroSteps {
 public:
  // Adds to gradients, and to whatever else stays at its place from one call to the next. With a graph it must not read
  // anything else that changes, nor wait for the GPU.
  using Pass = std::function<void(const MicroBatch&, const ForwardContext&)>;

  // `with_graph`: can_record(device), and an OwnStream lives.
  MicroSteps(at::Device device, bool with_graph, Pass pass);

  // The pass, on the device's tensors. Micro-steps that are alike but for their batch and ttt_lr_mult come here: the
  // first few run one by one, for libraries choose their algorithms and take their workspaces there; then one is
  // recorded, and every further one of that shape is a launch. Throws Error where it cannot be recorded.
  void run(const MicroBatch& batch, const ForwardContext& context);

  // For micro-steps that are not alike, such as those with statistics, hooks or a sum over ranks: what to call the pass
  // with. With a graph all of them read ttt_lr_mult from the device, so that it makes no difference which are launches.
  ForwardContext with_multiplier(ForwardContext context);

 private:
  static constexpr int kWarmUps = 3;

  at::Device device_;
  bool with_graph_;
  Pass pass_;
  int passes_ = 0;
  torch::Tensor ttt_lr_mult_;  // fp64, on the device
  MicroBatch recorded_;        // what the graph reads
  std::optional<DeviceGraph> graph_;
};

}  // namespace ttt
