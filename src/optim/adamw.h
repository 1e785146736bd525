// AdamW with decoupled weight decay, and clipping by the global norm.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "arch/model_config.h"
#include "arch/parameter.h"
#include "base/element_range.h"
#include "config/run_config.h"
#include "ops/adamw_step.h"

namespace ttt {

using NamedParameters = std::vector<std::pair<std::string, at::Tensor>>;

// How weight decay treats a parameter, by its name: as arch/ declares it (Decay there).
using DecayOf = std::function<Decay(const std::string& name)>;
DecayOf decay_of(const ModelConfig& config);

// Moments that were saved, by the names of AdamW::state().
struct StoredMoments {
  // Of the whole tensor; null where there is none of that name.
  std::function<const std::vector<std::int64_t>*(const std::string& name)> shape;
  // Elements of the flattened tensor, into a contiguous tensor of as many.
  std::function<void(const std::string& name, ElementRange elements, const at::Tensor& into)> read;
};

// At update t (from 1), with gradient g (already clipped):
//
//     m = beta1 m + (1 - beta1) g;   v = beta2 v + (1 - beta2) g^2
//     p -= lr (m / (1 - beta1^t) / (sqrt(v / (1 - beta2^t)) + eps) + weight_decay p)
//
// m and v have the parameters' shapes and type (fp32). Deterministic at an equal number of threads.
class AdamW {
 public:
  // The parameters are leaves that require gradients; they are updated in place. Throws UserError for an entry of
  // config.groups that matches none of them. `own`, where it is given: the part of each (contiguous) parameter that
  // this optimizer steps and keeps moments of; others step the rest (ZeRO-1).
  AdamW(NamedParameters parameters, const OptimConfig& config, const DecayOf& decay_of,
        const std::vector<ElementRange>& own = {});

  // The 2-norm of all gradients together: fp64, no dimensions, on their device. An undefined gradient counts as zero.
  at::Tensor gradient_norm();
  // What the coming step does, by its loss and the norm of all gradients (fp64 [2], on the device): gradients are scaled
  // by min(1, max_norm / norm); where loss or norm is not finite, or the loss above max_loss, nothing changes.
  void decide(const at::Tensor& loss_and_norm, const StepLimits& limits);
  void clip_gradients(double max_norm);  // decide() by the gradients' norm alone

  // lr: the schedule's; a group with an lr of its own takes that one's share of it.
  void step(double lr);
  // The same in portions: begin_step(), then step_some() with each parameter, by its place in the constructor's list,
  // in one of the portions, which are the same in every step.
  void begin_step(double lr);
  void step_some(const std::vector<std::size_t>& parameters);
  // What became of the step, once all of it is queued: the one thing that the host reads of the device. A step that was
  // not taken is no update.
  StepOutcome outcome();
  // How many tables of tensors went to the device so far.
  std::int64_t tables_sent() const { return step_->tables_sent(); }
  // A table, a line for each set of parameters that are treated alike: how many, lr, weight decay, some of their kinds.
  std::vector<std::string> describe_groups() const;
  // Drops the gradients, so that the next backward pass writes instead of adding. `in_place`: sets those that there are
  // to zero where they are, as a recorded backward pass wants it.
  void zero_gradients(bool in_place = false);

  std::int64_t updates() const { return updates_; }

  // "exp_avg/NAME" and "exp_avg_sq/NAME" of every parameter: the tensors themselves, not copies; flat pieces where this
  // optimizer owns parts.
  NamedParameters state() const;
  // Reads what it owns. Throws UserError naming the first tensor that is missing or of another shape, before anything
  // is changed; `source` names the file.
  void load_state(const StoredMoments& stored, std::int64_t updates, const std::string& source);

 private:
  // Parameters with one learning rate and one weight decay, which a step takes together.
  struct Group {
    double lr_scale = 1, weight_decay = 0;
    std::vector<std::string> names;
    std::vector<at::Tensor> parameters;
    std::vector<ElementRange> ranges;                  // empty: the whole parameters
    std::vector<at::Tensor> own, exp_avg, exp_avg_sq;  // own: what is stepped, of the parameters' memory
    at::Tensor part(const at::Tensor& whole, std::size_t i) const;
  };
  struct Place {
    std::size_t group, index;
  };
  Group& group_of(double lr_scale, double weight_decay);
  std::vector<at::Tensor> gradients();
  std::vector<Group> groups_;
  std::vector<Place> places_;  // of the parameters, in the constructor's order
  OptimConfig config_;
  std::int64_t updates_ = 0;
  bool decided_ = false;  // and begun: its outcome may take the update back
  std::unique_ptr<AdamWStep> step_;
};

}  // namespace ttt
