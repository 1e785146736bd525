// A run's whole configuration, as `ttt train` takes it.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "arch/model_config.h"
#include "config/data_sources.h"

namespace ttt {

enum class DataOrder { kShuffled, kSequential };
// How bf16 is multiplied on a CPU, ops/products.h; kAuto: measured at the start.
enum class ProductsKind { kAuto, kNative, kFp32Panels };
enum class DType { kAuto, kFp32, kBf16 };
enum class DeviceKind { kAuto, kCpu, kCuda };
enum class Parity { kNone, kTttLmJax };
enum class DecayOn { kMatrices, kAll };          // which parameters weight decay touches
enum class LossAverage { kTokens, kSequences };  // over all scored tokens, or over a sequence's and then over sequences

enum class ScheduleKind { kCosine, kWsd };

struct DataConfig {
  DataSources train;  // folders that `ttt prepare` wrote, with weights
  DataSources valid;  // likewise; empty: no validation
  DataOrder order = DataOrder::kShuffled;
};

struct TrainConfig {
  std::int64_t context = 2048;         // tokens in a sequence
  std::int64_t batch_tokens = 524288;  // tokens in an optimizer step, over all ranks and micro-batches
  std::int64_t micro_batch = 0;        // sequences a rank takes at once; 0: at most 8192 tokens, on a GPU by its size
  std::int64_t steps = 4800;
  std::int64_t seed = 0;
  std::int64_t threads = 0;  // CPU threads of a process; 0: all cores, shared by the processes of a machine
  DType dtype = DType::kAuto;
  ProductsKind bf16_products = ProductsKind::kAuto;  // on a CPU, and then kept: it stands in the run's checkpoints
  DeviceKind device = DeviceKind::kAuto;
  // Rows of kernel tables by op, ops/kernel_table.h; "ttt": both TTT ops, which ttt_kernel is the older name of.
  std::vector<std::pair<std::string, std::string>> kernels;
  std::string ttt_kernel = "auto";  // row of the TTT kernel table, ops/ttt.h; auto: the best that takes the call
  bool self_check = true;           // on a GPU: rows that fail it are not used, model/self_check.h
  LossAverage loss_average = LossAverage::kTokens;
  double inner_lr_scale = 1;                 // TTT: the inner learning rates times this; 0: W0 stays
  std::vector<double> eval_inner_lr_scales;  // TTT: at which validation says the loss, too
  bool recompute = false;           // keep only each block's input and compute the block again in the backward pass
  bool deterministic = true;        // on a GPU: equal runs are equal bit for bit
  bool cuda_graph = false;          // on a GPU: micro-steps as one CUDA graph
  bool reset_at_documents = false;  // a document sees nothing of the one before it in the same sample
  std::int64_t log_every = 1;       // steps between two progress lines
  std::int64_t eval_every = 0;      // steps between two validations; 0: only at the end
  std::int64_t eval_samples = 64;   // of each set in a validation, always its first; 0: the whole set
  std::int64_t position_loss_every = 0;  // steps between two validations that say the loss by position too; 0: never
  std::int64_t stats_every = 100;        // steps between two records of inner-loop statistics; 0: never
  std::int64_t digest_every = 50;        // steps between two hashes of all parameters in the ledger; 0: never
  bool tensorboard = true;               // write event files
  std::int64_t sample_tokens = 0;        // of text that the model writes at each validation; 0: none
  std::int64_t max_skipped_steps = 3;  // in a row, whose loss or gradient is not finite, before the run is rolled back
  std::int64_t max_rollbacks = 2;      // to a checkpoint, before the run stops; 0: none
  double spike_deviations = 0;  // a loss so many standard deviations above the usual rolls the run back; 0: never
  std::int64_t watchdog_seconds = 3600;  // without progress, after which the process ends itself; 0: never
};

// Of a Chrome trace, train/step_profile.h.
struct ProfileConfig {
  std::int64_t first_step = 0;  // 0: none is written
  std::int64_t steps = 2;
};

// Parameters with settings of their own.
struct ParameterGroup {
  std::string match;         // a name or a pattern with * and ?, "layers.*.mixer.w1"
  double lr = -1;            // peak, the schedule scaled alike; -1: optim.lr
  double weight_decay = -1;  // -1: as optim.weight_decay and decay_on say
  bool operator==(const ParameterGroup&) const = default;
};

struct OptimConfig {
  double lr = 3e-3;  // peak
  ScheduleKind schedule = ScheduleKind::kCosine;
  double end_lr = 1e-5;  // where the decay ends
  std::int64_t warmup_steps = 480;
  std::int64_t decay_steps = 0;      // where the decay ends, warm-up included; 0: train.steps
  std::int64_t cooldown_steps = -1;  // WSD: length of the linear decay at the end; -1: a fifth of decay_steps
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  DecayOn decay_on = DecayOn::kMatrices;
  double clip_grad_norm = 1.0;         // 0: no clipping
  std::vector<ParameterGroup> groups;  // the first that matches a parameter's name holds
};

struct CheckpointConfig {
  std::int64_t every = 500;              // steps; the last step is always saved; 0: only the last
  std::int64_t keep_last = 2;            // newest checkpoints kept; 0: all
  std::int64_t keep_every = 0;           // checkpoints at multiples of this step are kept for good; 0: none
  std::vector<std::int64_t> keep_steps;  // after each of these steps one is saved, and kept for good
  bool async = true;                     // written beside the training, from a copy in host memory
};

enum class ReduceDType { kFp32, kBf16 };

// Of a run of several processes; without meaning for one alone.
struct DistConfig {
  std::int64_t timeout_seconds = 600;             // a rank waits so long for the others
  std::int64_t heartbeat_seconds = 15;            // after which a silent rank is taken for gone; 0: never
  std::int64_t zero = 0;                          // 1: each rank keeps and steps its share of AdamW's moments (ZeRO-1)
  ReduceDType reduce_dtype = ReduceDType::kFp32;  // in which gradients are summed over the ranks
};

struct RunConfig {
  ModelConfig model;
  DataConfig data;
  TrainConfig train;
  OptimConfig optim;
  CheckpointConfig checkpoint;
  DistConfig dist;
  ProfileConfig profile;
  std::string output_dir;
  std::string init_from;  // a checkpoint folder, or a run folder (its newest), whose model starts the run; empty: fresh
                          // initialisation
  // Another run's checkpoint folder, from which a run that has none of its own goes on as if it were that run: its
  // weights, moments, step and place in the data (train/resume.h); empty: none.
  std::string branch_from;
  std::string tokenizer;  // a SentencePiece model to keep with the checkpoints; empty: the training set's own
  Parity parity = Parity::kNone;

  std::int64_t sequences_per_step() const { return train.batch_tokens / train.context; }
  // train.micro_batch, or for 0 the largest divisor of a rank's share of a step's sequences with at most 8192 tokens; plan/plan.h has the GPU's.
  std::int64_t micro_batch(std::int64_t ranks = 1) const;
  std::int64_t decay_steps() const { return optim.decay_steps > 0 ? optim.decay_steps : train.steps; }
  // Steps of WSD's decay, the last before decay_steps().
  std::int64_t cooldown_steps() const { return optim.cooldown_steps >= 0 ? optim.cooldown_steps : decay_steps() / 5; }
  // Steps of the inner learning rate's warm-up.
  std::int64_t ttt_warmup_steps() const {
    return model.ttt_base_lr_warmup_steps >= 0 ? model.ttt_base_lr_warmup_steps : optim.warmup_steps;
  }
};

// Cross-field rules for training. Throws UserError.
void validate(const RunConfig& config);
// The same without asking where data are and where output goes.
void validate_settings(const RunConfig& config);
// Throws UserError, with numbers that would fit, unless the sequences of a step divide evenly among so many processes
// and their micro-batches.
void check_shares(const RunConfig& config, std::int64_t ranks);

}  // namespace ttt
