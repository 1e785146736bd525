// The training loop. What comes before it (data, resuming) is in trainer_setup.cpp.
#include "train/trainer.h"

#include <ATen/ATen.h>
#include <ATen/record_function.h>

#include <algorithm>
#include <cmath>
#include <csignal>
#include <map>
#include <optional>

#include "base/fault.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/timer.h"
#include "config/load.h"
#include "infer/text_sample.h"
#include "model/layout.h"
#include "model/segments.h"
#include "train/data_parallel.h"
#include "train/ledger.h"
#include "train/loss_weights.h"
#include "train/out_of_memory.h"
#include "train/progress.h"
#include "train/validation.h"

namespace ttt {
namespace {

bool is_due(std::int64_t step, std::int64_t every) {
  return every > 0 && step % every == 0;
}

// While it lives, the gradient of a parameter is not a number, where TTT_FAULT asks for that now.
class InjectedFault {
 public:
  InjectedFault(const char* kind, std::int64_t step, int rank, const torch::Tensor& parameter) : parameter_(parameter) {
    if (fault_is_due(kind, step, rank))
      hook_ = parameter.register_hook([](const torch::Tensor& gradient) { return gradient * NAN; });
  }
  bool is_due() const { return hook_.has_value(); }
  ~InjectedFault() {
    if (hook_) parameter_.remove_hook(*hook_);
  }
  InjectedFault(const InjectedFault&) = delete;
  InjectedFault& operator=(const InjectedFault&) = delete;

 private:
  torch::Tensor parameter_;
  std::optional<unsigned> hook_;
};

}  // namespace

ExitCode Trainer::run() {
  if (state_.step >= config_.train.steps && !state_.owes_validation) {
    log_info(cat("the run in '", config_.output_dir, "' is finished: it has ", state_.step,
                 " steps (raise train.steps to go on)"));
    return ExitCode::kOk;
  }
  announce();
  const SignalGuard signals;
  Progress progress(state_.step + 1, config_.train.steps, config_.train.batch_tokens, options_.quiet);
  const auto wants_stop = [&] { return signals.stop_requested(); };
  if (state_.owes_validation) {
    if (!validate_model(wants_stop)) {
      log_info(cat("stopped in the validation after step ", state_.step, "; the same command goes on"));
      return ExitCode::kPreempted;  // what is saved owes it still
    }
    if (state_.step == config_.train.steps) save();
  }
  while (state_.step < config_.train.steps) {
    profile_->begin(state_.step + 1);
    try {
      const StepResult result = step();
      if (is_first()) record(result);
      progress.update(result.step, result.loss, result.seconds, is_due(result.step, config_.train.log_every));
    } catch (const BadStep& bad) {
      recover(bad);
    } catch (const c10::Error& error) {
      if (!is_out_of_memory(error)) throw;
      RunConfig used = config_;
      used.train.cuda_graph = with_graph();
      fail(out_of_memory_text(error, state_.step + 1, used));
    }
    saving_.check();
    profile_->end(state_.step);
    const bool last = state_.step == config_.train.steps;
    bool stop = any_rank(wants_stop());
    const bool validates =
        last || is_due(state_.step, config_.train.eval_every) || is_due(state_.step, config_.train.position_loss_every);
    if (validates) stop = !validate_model(wants_stop) || stop;
    if (last || stop || is_due(state_.step, config_.checkpoint.every) || is_kept(state_.step)) save();
    if (stop && (!last || state_.owes_validation)) {
      finish_saving();
      log_info(cat("stopped by ", signals.stop_requested() ? signals.name() : "a signal to another process",
                   " after step ", state_.step, ", which is saved; the same command goes on"));
      return ExitCode::kPreempted;
    }
  }
  finish_saving();
  log_info(cat("done: ", state_.step, " steps, ", state_.tokens, " tokens; the model is '",
               checkpoint_path(checkpoints_, state_.step).string(), "'"));
  return ExitCode::kOk;
}

bool Trainer::is_kept(std::int64_t step) const {
  const std::vector<std::int64_t>& steps = config_.checkpoint.keep_steps;
  return std::find(steps.begin(), steps.end(), step) != steps.end();
}

StepResult Trainer::step() {
  const Timer timer;
  StepResult result;
  result.step = state_.step + 1;
  result.lr = schedule_.rate(result.step - 1);
  result.ttt_lr_mult = ttt_lr_multiplier(config_, result.step);
  const bool wants_stats = is_first() && is_due(result.step, config_.train.stats_every);
  if (options_.ranks != nullptr) options_.ranks->set_step(result.step);
  if (fault_is_due("stop", result.step, rank())) std::raise(SIGSTOP);
  watchdog_.enter(result.step, "reading the step's data");
  const PassedOver::Next next = state_.passed_over.next(state_.cursor, config_.sequences_per_step());
  const Batch batch = batches_->take(next.positions);
  if (result.step < config_.train.steps)
    batches_->start(state_.passed_over.next(next.cursor, config_.sequences_per_step()).positions);
  const std::optional<std::int32_t> bos_id = train_data_.front().data.bos_id();  // of every set
  StepTotals totals{config_.sequences_per_step(), count_scored(batch.targets_BT, bos_id, batch.scored_BT)};
  if (reducer_) totals.scored = static_cast<std::int64_t>(options_.ranks->sum({static_cast<double>(totals.scored)})[0]);
  const bool pinned = device_.is_cuda();
  const torch::Tensor weights_on_cpu =
      loss_weights(batch.targets_BT, bos_id, config_.train.loss_average, totals, batch.scored_BT);
  const auto to_device = [&](const torch::Tensor& x) { return x.to(device_, /*non_blocking=*/pinned); };
  const torch::Tensor inputs_BT = to_device(batch.inputs_BT), targets_BT = to_device(batch.targets_BT),
                      weights_BT = to_device(pinned ? weights_on_cpu.pin_memory() : weights_on_cpu);
  reducer_ ? reducer_->zero_gradients() : optimizer_->zero_gradients(/*in_place=*/with_graph());
  const InjectedFault fault("nan_gradient", result.step, rank(), parameters_.front().second);
  if (fault_is_due("out_of_memory", result.step, rank()))
    TORCH_CHECK_WITH(OutOfMemoryError, false,
                     "CUDA out of memory. Tried to allocate 1.00 GiB. GPU 0 has a total capacity of 79.11 GiB of which "
                     "0.50 GiB is free. Including non-PyTorch memory, this process has 78.61 GiB memory in use.");
  const std::int64_t sequences = inputs_BT.size(0);
  loss_sum_.zero_();
  for (std::int64_t first = 0; first < sequences; first += config_.micro_batch()) {
    const auto part = [&](const torch::Tensor& all_BT) {
      return all_BT.slice(0, first, std::min(first + config_.micro_batch(), sequences));
    };
    watchdog_.enter(result.step, "the forward and backward pass of a micro-batch");
    ForwardContext context;
    context.ttt_lr_mult = result.ttt_lr_mult;
    if (wants_stats && first == 0) context.stats = &result.stats;
    context.recompute = config_.train.recompute;
    std::vector<Segment> documents;
    if (config_.train.reset_at_documents) {
      documents = document_segments(part(batch.inputs_BT), *bos_id);
      context.segments = &documents;
    }
    const MicroBatch own{part(inputs_BT), part(targets_BT), part(weights_BT)};
    const bool reduce = reducer_ && first + config_.micro_batch() >= sequences;
    if (reduce || context.stats != nullptr || fault.is_due()) {
      micro_step(own, micro_steps_->with_multiplier(context), reduce);
    } else {
      micro_steps_->run(own, context);
    }
  }
  watchdog_.enter(result.step, "the sum over gradients, the optimizer");
  optimizer_->decide(loss_and_norm(), step_limits());
  {
    RECORD_USER_SCOPE("optimizer");
    if (reducer_ && config_.dist.zero > 0) {
      optimizer_->begin_step(result.lr);
      reducer_->update_parameters([&](const auto& parameters) { optimizer_->step_some(parameters); });
    } else {
      optimizer_->step(result.lr);
    }
  }
  if (reducer_) options_.ranks->wait_for_device("the sum of gradients");
  const StepOutcome outcome = optimizer_->outcome();  // the step's one read of the device
  result.loss = outcome.loss;
  result.grad_norm = outcome.grad_norm;
  if (!outcome.taken) throw_bad_step(result);

  state_.step = result.step;
  state_.previous_cursor = state_.cursor;
  state_.cursor = next.cursor;
  state_.skipped_in_row = 0;
  state_.loss_trend.add(result.loss);
  state_.tokens += config_.train.batch_tokens;
  result.seconds = timer.seconds();
  return result;
}

// fp64 [2], on the device: the step's loss and the norm of its gradients, of all ranks.
torch::Tensor Trainer::loss_and_norm() {
  if (!reducer_) return torch::stack({loss_sum_, optimizer_->gradient_norm()});
  torch::Tensor sums = torch::stack({loss_sum_, reducer_->own_squares()});
  options_.ranks->all_reduce(sums);  // every rank gets the same bits, and so decides alike
  sums[1].sqrt_();
  return sums;
}

// A spike is left out as the device finds it: a limit for the loss is known before the step.
StepLimits Trainer::step_limits() const {
  StepLimits limits{.max_norm = config_.optim.clip_grad_norm};
  if (config_.train.spike_deviations > 0 && may_roll_back())
    limits.max_loss = state_.loss_trend.spike_limit(config_.train.spike_deviations);
  return limits;
}

void Trainer::throw_bad_step(const StepResult& result) const {
  if (!std::isfinite(result.loss) || !std::isfinite(result.grad_norm)) {
    throw BadStep(
        cat("step ", result.step, " has a loss of ", result.loss, " and a gradient norm of ", result.grad_norm), result,
        /*spike=*/false);
  }
  throw BadStep(cat("step ", result.step, " has a loss of ", result.loss, ", far above that of the steps before"),
                result, /*spike=*/true);
}

void Trainer::micro_step(const MicroBatch& batch, const ForwardContext& context, bool reduce) {
  const auto forward = [&] {
    RECORD_USER_SCOPE("forward");
    const torch::Tensor token_loss_bT = model_->token_loss(batch.inputs_bT, batch.targets_bT, context);
    return (token_loss_bT * batch.weights_bT).sum();
  };
  const torch::Tensor loss = forward();
  RECORD_USER_SCOPE("backward");
  reducer_ ? reducer_->backward(loss, reduce) : loss.backward();
  loss_sum_ += loss.detach().to(torch::kDouble);
}

// This rank's sequences of a step: an equal share each, in order of ranks.
Batch Trainer::read_batch(const std::vector<std::int64_t>& positions) const {
  const std::int64_t ranks = options_.ranks != nullptr ? options_.ranks->size() : 1;
  const std::int64_t share = static_cast<std::int64_t>(positions.size()) / ranks, first = rank() * share;
  std::vector<MixtureOrder::Sample> samples;
  for (std::int64_t i = first; i < first + share; ++i)
    samples.push_back((*order_)(positions[static_cast<std::size_t>(i)]));
  return mixture_batch(train_data_, samples, config_.train.context);
}

void Trainer::record(const StepResult& result) {
  metrics_->write({{"kind", "train"},
                   {"step", result.step},
                   {"loss", result.loss},
                   {"grad_norm", result.grad_norm},
                   {"lr", result.lr},
                   {"ttt_lr_mult", result.ttt_lr_mult},
                   {"tokens", state_.tokens},
                   {"seconds", result.seconds},
                   {"tokens_per_second", static_cast<double>(config_.train.batch_tokens) / result.seconds}});
  write_ledger(result.loss, result.grad_norm);
  for (const InnerLoopStats& stats : result.stats) {
    metrics_->write(to_json(stats, result.step));
    if (tensorboard_) tensorboard_->histograms(stats, result.step);
    for (const std::string& warning : watch_.check(stats, result.step)) log_warn(warning);
  }
}

// Of the step that was just done or skipped.
void Trainer::write_ledger(double loss, double grad_norm) {
  const std::int64_t every = config_.train.digest_every;
  const bool due = is_due(state_.step, every) || (every > 0 && state_.step == config_.train.steps);
  const PassedOver::Next taken = state_.passed_over.next(state_.previous_cursor, config_.sequences_per_step());
  Json line = ledger_line(state_.step, sample_hash(*order_, taken.positions), loss, grad_norm,
                          due ? std::optional(parameter_hash(*model_)) : std::nullopt);
  if (!config_.train.deterministic && device_.is_cuda()) line["deterministic"] = false;
  ledger_->write(line);
}

bool Trainer::validate_model(const std::function<bool()>& wants_stop) {
  state_.owes_validation = !valid_data_.empty();
  if (valid_data_.empty()) return true;
  const Timer timer;
  watchdog_.enter(state_.step, "validation");
  EvalOptions options;
  options.context = config_.train.context;
  options.batch = config_.micro_batch();
  options.max_samples = config_.train.eval_samples;
  options.device = device_;
  options.padded_vocabulary = true;  // check_fit() has seen to it
  options.reset_at_documents = config_.train.reset_at_documents;
  options.share = share_evaluation(options_.ranks, wants_stop);
  const std::int64_t every = config_.train.position_loss_every;
  options.positions = is_due(state_.step, every) || (every > 0 && state_.step == config_.train.steps);
  options.seed = static_cast<std::uint64_t>(config_.train.seed);
  try {
    const ValidationResult valid = validate(*model_, valid_data_, options);
    const std::vector<ScaledLoss> scaled = validate_at_inner_lr_scales(options);
    if (is_first()) metrics_->write(to_json(valid, scaled, state_.step, timer.seconds()));
    if (is_first() && options.positions) metrics_->write(position_line(valid, state_.step));
    log_info(to_text(valid, scaled, state_.step));
  } catch (const StopRequested&) {
    return false;
  }
  state_.owes_validation = false;
  if (is_first()) write_sample();
  return true;
}

std::vector<ScaledLoss> Trainer::validate_at_inner_lr_scales(EvalOptions options) {
  options.positions = false;
  const InnerLoopControl as_trained{config_.train.inner_lr_scale, std::nullopt};
  std::vector<ScaledLoss> losses;
  for (const double scale : config_.train.eval_inner_lr_scales) {
    model_->set_inner_loop({scale, std::nullopt});
    const auto restore = std::shared_ptr<void>(nullptr, [&](void*) { model_->set_inner_loop(as_trained); });
    losses.push_back({scale, validate(*model_, valid_data_, options).overall});
  }
  return losses;
}

void Trainer::write_sample() {
  if (config_.train.sample_tokens == 0) return;
  // Token by token, weights would be rounded for each; fp32 reads them as they are.
  const bool bf16 = model_->bf16();
  model_->set_bf16(false);
  const TextSample sample = sample_text(*model_, valid_data_.front().data, tokenizer_, config_.train.sample_tokens,
                                        static_cast<std::uint64_t>(config_.train.seed), device_);
  model_->set_bf16(bf16);
  metrics_->write({{"kind", "sample"}, {"step", state_.step}, {"prompt", sample.prompt}, {"text", sample.text}});
  if (tensorboard_) tensorboard_->text("sample", state_.step, sample.prompt + "\n>>>\n" + sample.text);
}

std::vector<TensorPiece> Trainer::own_optimizer_pieces() const {
  const std::vector<ElementRange>& ranges = reducer_->own_pieces();
  std::vector<TensorPiece> pieces;
  const NamedParameters moments = optimizer_->state();
  const std::map<std::string, torch::Tensor> by_name(moments.begin(), moments.end());
  for (const std::string moment : {"exp_avg/", "exp_avg_sq/"}) {
    for (std::size_t i = 0; i < parameters_.size(); ++i) {
      const auto& [name, parameter] = parameters_[i];
      if (ranges[i].first == ranges[i].last) continue;
      pieces.push_back({moment + name, by_name.at(moment + name), ranges[i].first, parameter.sizes().vec()});
    }
  }
  return pieces;
}

void Trainer::save() {
  watchdog_.enter(state_.step, "saving a checkpoint");
  saving_.wait();  // one copy in memory at a time
  has_checkpoint_ = true;
  const bool together = exchange_ != nullptr;
  if (!is_first() && !together) return;
  Checkpoint checkpoint;
  WritingRank rank;
  if (together) {
    checkpoint.optimizer_pieces = own_optimizer_pieces();
    rank = {options_.ranks->rank(), options_.ranks->size(), exchange_.get(), cat(++saves_)};
  } else {
    checkpoint.optimizer = optimizer_->state();
  }
  if (is_first()) {
    metrics_->sync();
    ledger_->sync();
    checkpoint.model = export_parameters(*model_);
    checkpoint.hf_config = hugging_face_config(config_.model, generation_keys_);
    checkpoint.state = to_json(state_);
    checkpoint.config_yaml = to_yaml(config_);
    checkpoint.tokenizer = tokenizer_;
  }
  const bool async = config_.checkpoint.async;
  auto write = [checkpoint = async ? snapshot(std::move(checkpoint)) : std::move(checkpoint), root = checkpoints_,
                step = state_.step, keep = config_.checkpoint, rank] {
    const fs::path directory = checkpoint_path(root, step);
    write_checkpoint(directory, checkpoint, rank);
    if (rank.rank > 0) return;
    apply_retention(root, keep.keep_last, keep.keep_every, keep.keep_steps);
    log_info(cat("saved '", directory.string(), "'"));
  };
  async ? saving_.start(std::move(write)) : write();
}

void Trainer::finish_saving() {
  watchdog_.enter(state_.step, "waiting until a checkpoint is written");
  saving_.wait();
  any_rank(false);
}

Trainer::~Trainer() {
  if (exchange_) exchange_->close();
}

}  // namespace ttt
