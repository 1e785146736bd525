// A training run: from a config to checkpoints and metrics in its output_dir, from wherever it stands.
//
//     OUTPUT_DIR/config.yaml    resolved        OUTPUT_DIR/metrics.jsonl    see train/metrics.h
//     OUTPUT_DIR/ledger.jsonl   see train/ledger.h
//     OUTPUT_DIR/train.log                      OUTPUT_DIR/checkpoints/     see checkpoint/checkpoint.h
//     OUTPUT_DIR/.lock          held while a training runs here  OUTPUT_DIR/tensorboard/    see train/tensorboard.h
//
// Shapes: B sequences of a step, T context.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "checkpoint/background_save.h"
#include "checkpoint/checkpoint.h"
#include "config/run_config.h"
#include "data/mixture.h"
#include "dist/communicator.h"
#include "dist/gradient_reducer.h"
#include "model/language_model.h"
#include "model/layout.h"
#include "optim/adamw.h"
#include "optim/schedule.h"
#include "train/batch_prefetch.h"
#include "train/inner_loop_watch.h"
#include "train/metrics.h"
#include "train/micro_steps.h"
#include "train/resume.h"
#include "train/step_profile.h"
#include "train/tensorboard.h"
#include "train/train_state.h"
#include "train/validation.h"
#include "train/watchdog.h"

namespace ttt {

struct TrainerOptions {
  bool quiet = false;             // only warnings and errors on stderr
  Communicator* ranks = nullptr;  // of several processes that train together, see train/data_parallel.h
};

// What one optimizer step did.
struct StepResult {
  std::int64_t step = 0;  // from 1
  double loss = 0;        // as train.loss_average says, before the update
  double grad_norm = 0;   // before clipping
  double lr = 0;
  double ttt_lr_mult = 1;
  double seconds = 0;
  std::vector<InnerLoopStats> stats;  // at multiples of train.stats_every, of the step's first micro-batch
};

// Of several processes, rank 0 alone writes to output_dir and logs; all of them throw, stop and save together.
class Trainer {
 public:
  // Checks config and data, then locks output_dir and resumes the run that is there, or starts one (as a branch of
  // branch_from, from init_from, or fresh). Throws UserError for whatever does not fit; nothing that was there before is changed then.
  explicit Trainer(const RunConfig& config, const TrainerOptions& options = {});
  ~Trainer();
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  // Trains to train.steps. kOk, or kPreempted after a signal (base/signals.h): the step was finished and saved. A step
  // whose loss or gradient is not finite is skipped; where that does not help, or at a loss spike, the run goes back to
  // a checkpoint and leaves the samples in question out. Throws Error when that is exhausted; the last good step is
  // saved then.
  ExitCode run();

  // One optimizer step. Throws BadStep where it is not taken: parameters, moments and state are what they were.
  StepResult step();

  // Of all ranks alike.
  struct BadStep : Error {
    BadStep(const std::string& what, const StepResult& result, bool spike)
        : Error(what), loss(result.loss), grad_norm(result.grad_norm), is_spike(spike) {}
    double loss, grad_norm;
    bool is_spike;  // else: the loss or the gradient is not finite
  };

  const TrainState& state() const { return state_; }
  LanguageModel& model() { return *model_; }

 private:
  void open_data();
  void check_fit(const Dataset& data, const char* key) const;
  void read_tokenizer();
  std::optional<ResumePoint> agree_on_resume_point() const;  // the same on all ranks
  void resume(ResumePoint point);
  void take_records_of_trunk(const fs::path& checkpoint) const;
  bool is_kept(std::int64_t step) const;
  void start_from(const fs::path& directory);
  void choose_micro_batch();
  void announce() const;
  void announce_memory() const;
  // Gradients += those of the micro-batch, loss_sum_ += its loss. `reduce`: the step's last one, of several ranks.
  void micro_step(const MicroBatch& batch, const ForwardContext& context, bool reduce);
  torch::Tensor loss_and_norm();
  StepLimits step_limits() const;
  [[noreturn]] void throw_bad_step(const StepResult& result) const;
  Batch read_batch(const std::vector<std::int64_t>& positions) const;
  // Skips the step or rolls the run back; throws when neither may be done any more.
  void recover(const BadStep& bad);
  void skip_step(const BadStep& bad);
  void roll_back(const BadStep& bad);
  bool may_roll_back() const;
  void open_writers();
  void record(const StepResult& result);
  // False: a stop was asked for (of any rank) before it was through; the state owes it then.
  bool validate_model(const std::function<bool()>& wants_stop);
  // The same at each of train.eval_inner_lr_scales. Throws StopRequested.
  std::vector<ScaledLoss> validate_at_inner_lr_scales(EvalOptions options);
  void write_sample();
  void write_ledger(double loss, double grad_norm);
  void save();  // in the background with checkpoint.async
  // Until all processes have saved: so all fail if one cannot, and none ends, or is ended, while another still writes.
  void finish_saving();
  std::vector<TensorPiece> own_optimizer_pieces() const;
  bool is_first() const { return options_.ranks == nullptr || options_.ranks->is_first(); }
  std::string agree_on_bf16_products(const std::optional<ResumePoint>& newest) const;
  bool any_rank(bool own) const { return options_.ranks == nullptr ? own : options_.ranks->any(own); }
  [[noreturn]] void stop_at_last_good_step(const BadStep& bad);
  bool with_graph() const { return stream_.has_value(); }  // train.cuda_graph, where it can be had
  int rank() const { return options_.ranks != nullptr ? options_.ranks->rank() : 0; }

  RunConfig config_;
  TrainerOptions options_;
  torch::Device device_;
  std::optional<OwnStream> stream_;  // for a CUDA graph
  fs::path checkpoints_;
  std::unique_ptr<FileLock> lock_;
  std::vector<MixtureSource> train_data_, valid_data_;
  std::optional<MixtureOrder> order_;
  std::unique_ptr<BatchPrefetch> batches_;
  std::string tokenizer_;  // bytes of tokenizer.model
  GenerationKeys generation_keys_;
  std::shared_ptr<LanguageModel> model_;
  NamedParameters parameters_;
  std::unique_ptr<GradientReducer> reducer_;  // null for a process alone
  std::unique_ptr<AdamW> optimizer_;
  torch::Tensor loss_sum_;  // of the step's micro-batches, fp64, on the device
  std::optional<MicroSteps> micro_steps_;
  Schedule schedule_;
  InnerLoopWatch watch_;
  TrainState state_;
  std::unique_ptr<TensorboardWriter> tensorboard_;   // null without train.tensorboard
  std::unique_ptr<MetricsWriter> metrics_, ledger_;  // rank 0's, and so the one above
  bool has_checkpoint_ = false;                      // of this run, to roll back to
  std::unique_ptr<StepProfile> profile_;
  Watchdog watchdog_;
  // Of several ranks with ZeRO-1, which write their parts of a checkpoint themselves.
  std::unique_ptr<KeyValueExchange> exchange_;
  std::int64_t saves_ = 0;
  BackgroundSave saving_;  // ends before the folder's lock is released
};

}  // namespace ttt
