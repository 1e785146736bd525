#include "train/micro_steps.h"

#include <string>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "train/out_of_memory.h"

namespace ttt {
namespace {

[[noreturn]] void fail_to_record(const std::string& why) {
  fail("a micro-step cannot be recorded as a CUDA graph (", why.substr(0, why.find('\n')),
       "); set train.cuda_graph to false, which changes no result");
}

}  // namespace

MicroSteps::MicroSteps(at::Device device, bool with_graph, Pass pass)
    : device_(device), with_graph_(with_graph), pass_(std::move(pass)) {
  if (with_graph_) ttt_lr_mult_ = torch::ones({}, torch::TensorOptions(torch::kDouble).device(device));
}

ForwardContext MicroSteps::with_multiplier(ForwardContext context) {
  if (!with_graph_) return context;
  ttt_lr_mult_.fill_(context.ttt_lr_mult);
  context.ttt_lr_mult_on_device = ttt_lr_mult_;
  return context;
}

void MicroSteps::run(const MicroBatch& batch, const ForwardContext& context) {
  const ForwardContext own = with_multiplier(context);
  const bool fits = !graph_ || batch.inputs_bT.sizes() == recorded_.inputs_bT.sizes();
  if (!with_graph_ || !fits || passes_ < kWarmUps) {
    ++passes_;
    return pass_(batch, own);
  }
  if (!graph_) {
    recorded_ = {batch.inputs_bT.clone(), batch.targets_bT.clone(), batch.weights_bT.clone()};
    try {
      graph_.emplace(device_, [this, own] { pass_(recorded_, own); });
      graph_->launch();
    } catch (const c10::Error& error) {
      if (is_out_of_memory(error)) throw;
      fail_to_record(error.what_without_backtrace());
    } catch (const Error& error) {
      fail_to_record(error.what());
    }
    log_info("micro-steps are one CUDA graph from here on");
    return;
  }
  recorded_.inputs_bT.copy_(batch.inputs_bT, /*non_blocking=*/true);
  recorded_.targets_bT.copy_(batch.targets_bT, /*non_blocking=*/true);
  recorded_.weights_bT.copy_(batch.weights_bT, /*non_blocking=*/true);
  graph_->launch();
}

}  // namespace ttt
