// What comes before the first step: checks, the data, the output folder, resuming.
#include <ATen/Context.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "base/json.h"
#include "base/log.h"
#include "config/fields.h"
#include "config/load.h"
#include "infer/load_model.h"
#include "model/device.h"
#include "model/layout.h"
#include "model/self_check.h"
#include "ops/cuda_target.h"
#include "plan/plan.h"
#include "plan/units.h"
#include "train/data_parallel.h"
#include "train/progress.h"
#include "train/trainer.h"

namespace ttt {
namespace {

// Sets up to this size are hashed at the start (a fraction of a second); of larger ones `ttt inspect` hashes every
// shard.
constexpr std::int64_t kVerifiedBytes = 256 << 20;

// state.json's bf16_products of a run on GPUs.
constexpr const char* kOfTheGpu = "cuda";

NamedParameters named_parameters(LanguageModel& model) {
  NamedParameters parameters;
  for (const auto& item : model.named_parameters()) parameters.emplace_back(item.key(), item.value());
  return parameters;
}

// Architecture keys that a fine-tuning run may set anew, since they change no parameter's meaning; and those that its
// model has no use for.
bool may_differ_in_init(const std::string& key, const ModelConfig& model) {
  return key == "model.rope_theta" || key == "model.attention_window" || key.starts_with("model.ttt_base_lr") ||
         !uses_key(model, key);
}

// The config with every value that is derived from others filled in, as the run's config.yaml holds it.
RunConfig resolved(RunConfig config, std::int64_t ranks = 1) {
  validate(config);
  check_shares(config, ranks);
  config.train.micro_batch = config.micro_batch(ranks);
  if (config.model.has_ttt()) {
    config.model.ttt_base_lr_init = config.model.resolved_ttt_base_lr_init();
    config.model.ttt_base_lr = config.model.resolved_ttt_base_lr();
  }
  return config;
}

// A checkpoint's config. Where it has train.eval_batches, it is of a program that validated on so many micro-batches.
RunConfig saved_config(const fs::path& file) {
  RunConfig config = load_run_config(file);
  std::int64_t batches = 0;
  if (const auto text = config_value(file, "train.eval_batches"); text && parse_integer(*text, batches))
    config.train.eval_samples = batches * config.micro_batch();
  return config;
}

// Two decimals.
std::string rounded(double value) {
  char text[48];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

// Bit-exact resuming needs the same sums in the same order. On the CPU that holds at an equal number of threads; on a
// GPU LibTorch and cuBLAS (which reads the variable when it starts) have to be told.
void choose_deterministic_kernels() {
  setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", /*overwrite=*/0);
  at::globalContext().setDeterministicAlgorithms(true, /*warn_only=*/true);
  at::globalContext().setDeterministicFillUninitializedMemory(false);
}

}  // namespace

Trainer::Trainer(const RunConfig& config, const TrainerOptions& options)
    : config_(resolved(config, options.ranks != nullptr ? options.ranks->size() : 1)),
      options_(options),
      device_(torch::kCPU),
      schedule_(schedule_of(config_)),
      watchdog_(static_cast<double>(config.train.watchdog_seconds),
                options.ranks != nullptr ? options.ranks->rank() : 0) {
  Communicator* ranks = options_.ranks;
  if (!is_first()) options_.quiet = true;
  device_ = ranks != nullptr ? ranks->device() : select_device(config_.train.device);
  prepare_cpu(config_.train.threads, ranks != nullptr ? local_processes(*ranks) : LocalProcesses{});
  select_kernels(config_.train);
  if (device_.is_cuda() && config_.train.deterministic) choose_deterministic_kernels();
  if (config_.train.cuda_graph && can_record(device_) && !config_.train.reset_at_documents) stream_.emplace(device_);
  open_data();
  read_tokenizer();

  if (ranks != nullptr) check_same_on_all_ranks(*ranks, config_, mixture_fingerprint(train_data_));
  if (any_rank(device_.is_cuda()) && any_rank(device_.is_cpu()))
    user_error("some of the processes found a GPU and some did not; set train.device to cpu, or see to the GPUs");

  const fs::path output(config_.output_dir);
  checkpoints_ = output / "checkpoints";
  set_log_verbose(!options_.quiet);
  if (is_first()) {
    make_writable_directory(output);
    lock_ = std::make_unique<FileLock>(output / ".lock", cat("another training is running in '", config_.output_dir,
                                                             "'; wait for it, or choose another output_dir"));
  }
  std::optional<ResumePoint> newest = agree_on_resume_point();
  if (is_first()) log_to_file((output / "train.log").string());
  if (ranks != nullptr) {
    self_check_on_all_ranks(*ranks, device_, config_.train.self_check);
  } else {
    self_check(device_, config_.train.self_check);
  }
  if (ranks != nullptr && config_.dist.zero > 0) exchange_ = ranks->open_exchange();

  if (config.train.micro_batch == 0 && device_.is_cuda()) choose_micro_batch();

  const auto seed = static_cast<std::uint64_t>(config_.train.seed);
  model_ = std::make_shared<LanguageModel>(config_.model, seed);
  model_->to(device_);
  const bool bf16 = select_bf16(config_.train.dtype, device_);
  if (any_rank(bf16) && any_rank(!bf16))
    user_error("train.dtype: auto is bf16 on some of the processes' machines and fp32 on others; set one of them");
  model_->set_bf16(bf16);
  if (!config_.train.deterministic)
    log_info(device_.is_cuda() ? "train.deterministic: false: equal runs differ by rounding, and so do resumed ones"
                               : "train.deterministic: false changes nothing on a CPU, where equal runs are equal");
  model_->set_inner_loop({config_.train.inner_lr_scale, std::nullopt});
  if (bf16) state_.bf16_products = agree_on_bf16_products(newest);
  parameters_ = named_parameters(*model_);
  if (ranks != nullptr) {
    ReducerOptions reducing;
    reducing.own_share_only = config_.dist.zero > 0;
    reducing.bf16 = config_.dist.reduce_dtype == ReduceDType::kBf16;
    reducer_ = std::make_unique<GradientReducer>(*ranks, parameters_, reducing);
    optimizer_ =
        std::make_unique<AdamW>(parameters_, config_.optim, decay_of(config_.model),
                                reducing.own_share_only ? reducer_->own_pieces() : std::vector<ElementRange>{});
  } else {
    optimizer_ = std::make_unique<AdamW>(parameters_, config_.optim, decay_of(config_.model));
  }
  loss_sum_ = torch::zeros({}, torch::TensorOptions(torch::kDouble).device(device_));
  micro_steps_.emplace(device_, with_graph(), [this](const MicroBatch& batch, const ForwardContext& context) {
    micro_step(batch, context, /*reduce=*/false);
  });
  std::vector<MixtureOrder::Source> sources;
  for (const MixtureSource& source : train_data_)
    sources.push_back({source.name, source.data.num_samples(config_.train.context), source.weight});
  order_.emplace(sources, config_.data.order == DataOrder::kShuffled, seed);
  batches_ = std::make_unique<BatchPrefetch>(
      [this](const std::vector<std::int64_t>& positions) { return read_batch(positions); }, device_.is_cuda());
  state_.seed = config_.train.seed;
  state_.data = mixture_fingerprint(train_data_);
  if (newest) {
    resume(*std::exchange(newest, std::nullopt));
  } else if (!config_.init_from.empty()) {
    start_from(find_checkpoint(config_.init_from));
  }
  profile_ = std::make_unique<StepProfile>(config_.profile, output, rank(), device_.is_cuda());
  if (!is_first()) return;
  open_writers();
  write_file_atomically(output / "config.yaml", to_yaml(config_));
}

// Metrics from state_.step on; what is there of later steps goes.
void Trainer::open_writers() {
  const fs::path output(config_.output_dir);
  metrics_.reset();
  ledger_.reset();
  tensorboard_.reset();
  if (config_.train.tensorboard) {
    tensorboard_ = std::make_unique<TensorboardWriter>(output / "tensorboard", state_.step + 1, to_yaml(config_));
  }
  metrics_ = std::make_unique<MetricsWriter>(output / "metrics.jsonl", state_.step, tensorboard_.get());
  ledger_ = std::make_unique<MetricsWriter>(output / "ledger.jsonl", state_.step);
}

void Trainer::open_data() {
  train_data_ = open_sources("data.train", config_.data.train, /*valid=*/false);
  for (const MixtureSource& source : train_data_) check_fit(source.data, "data.train");
  valid_data_ = open_sources("data.valid", config_.data.valid, /*valid=*/true);
  if (config_.train.position_loss_every > 0 && valid_data_.empty())
    user_error("train.position_loss_every needs data.valid, and this run has none; set it to 0, or name a set");
  if (!config_.train.eval_inner_lr_scales.empty() && valid_data_.empty())
    user_error("train.eval_inner_lr_scales needs data.valid, and this run has none; leave it out, or name a set");
  const std::string tokenizer = train_data_.front().data.tokenizer_hash();
  for (const MixtureSource& source : valid_data_) {
    check_fit(source.data, "data.valid");
    const std::string own = source.data.tokenizer_hash();
    if (own.empty() || tokenizer.empty() || own == tokenizer) continue;
    user_error("data.valid '", source.data.directory().string(),
               "' was prepared with another tokenizer than data.train '", train_data_.front().data.directory().string(),
               "'; prepare both with one tokenizer");
  }
}

void Trainer::check_fit(const Dataset& data, const char* key) const {
  const std::string place = cat(key, " '", data.directory().string(), "'");
  // A model that is trained on may have its vocabulary padded; a new one gets its data's.
  const bool padded = !config_.init_from.empty() && data.vocab_size() < config_.model.vocab_size;
  if (data.vocab_size() != config_.model.vocab_size && !padded) {
    user_error(place, " has a vocabulary of ", data.vocab_size(), " and model.vocab_size is ", config_.model.vocab_size,
               "; set model.vocab_size to ", data.vocab_size(), ", or prepare the data with the model's tokenizer");
  }
  if (data.num_samples(config_.train.context) == 0) {
    user_error(place, " has ", data.num_tokens(), " tokens, too few for one sample of train.context ",
               config_.train.context, " and its last target; take a shorter context or more text");
  }
  if (config_.train.reset_at_documents && !data.bos_id()) {
    user_error(place,
               " declares no BOS id, by which train.reset_at_documents finds documents; prepare it from text or with "
               "--bos-id, or leave the key out");
  }
  const std::int64_t bytes_per_token = data.vocab_size() <= 65536 ? 2 : 4;
  if (data.num_tokens() > kVerifiedBytes / bytes_per_token) return;
  const std::vector<std::string> problems = data.verify();
  if (!problems.empty()) throw UserError(problems.front());
}

void Trainer::read_tokenizer() {
  const fs::path of_data = train_data_.front().data.tokenizer_path();
  const std::string data_bytes = of_data.empty() ? "" : read_file(of_data);
  tokenizer_ = config_.tokenizer.empty() ? data_bytes : read_file(config_.tokenizer);
  if (!data_bytes.empty() && tokenizer_ != data_bytes) {
    user_error("data.train '", config_.data.train.text(), "' was prepared with another tokenizer than '",
               config_.tokenizer, "'; leave out the key tokenizer, or prepare the data with that one");
  }
  const Dataset& data = train_data_.front().data;
  if (!tokenizer_.empty()) {
    generation_keys_ = generation_keys(Tokenizer::from_bytes(tokenizer_, "tokenizer.model"));
  } else {
    if (data.bos_id()) generation_keys_.bos_token_id = *data.bos_id();
    if (data.eos_id()) generation_keys_.eos_token_id = *data.eos_id();
  }
  generation_keys_.max_position_embeddings = config_.train.context;
  if (config_.train.sample_tokens > 0 && (tokenizer_.empty() || valid_data_.empty())) {
    user_error("train.sample_tokens needs data.valid and a tokenizer, and this run has no ",
               tokenizer_.empty() ? "tokenizer" : "data.valid", "; set it to 0");
  }
}

std::optional<ResumePoint> Trainer::agree_on_resume_point() const {
  std::optional<ResumePoint> point;
  if (is_first()) point = find_resume_point(checkpoints_);
  if (is_first() && !point && !config_.branch_from.empty()) point = find_branch_point(config_.branch_from);
  if (options_.ranks == nullptr) return point;
  const std::string found = options_.ranks->broadcast(point ? point->directory.string() : "");
  if (is_first() || found.empty()) return point;
  // On another machine the files come another way.
  const TensorHashes hashes = options_.ranks->world().local_rank == 0 ? TensorHashes::kChecked : TensorHashes::kTrusted;
  return ResumePoint{
      found, read_checkpoint(found, CheckpointParts::kAll, hashes), {}, fs::path(found).parent_path() != checkpoints_};
}

// A run keeps the products that it began with, so that it resumes bit for bit; one that begins takes panels where any
// of its machines needs them.
std::string Trainer::agree_on_bf16_products(const std::optional<ResumePoint>& newest) const {
  if (device_.is_cuda()) return kOfTheGpu;
  std::string stored = newest ? newest->checkpoint.state.value("bf16_products", std::string()) : std::string();
  // A program that did not know of panels wrote nothing.
  if (newest && stored.empty() && load_run_config(newest->directory / "config.yaml").train.dtype == DType::kBf16)
    stored = to_string(Bf16Products::kNative);
  if (stored == kOfTheGpu) stored.clear();
  Bf16Products chosen = select_bf16_products(config_.train.bf16_products, device_, stored);
  if (any_rank(chosen == Bf16Products::kFp32Panels) && chosen == Bf16Products::kNative) {
    log_info("train.bf16_products: fp32_panels, as another process needs it");
    chosen = Bf16Products::kFp32Panels;
    set_bf16_products(chosen);
  }
  return to_string(chosen);
}

void Trainer::resume(ResumePoint point) {
  auto& [directory, checkpoint, damaged, is_branch] = point;
  const std::string source = directory.string();
  const TrainState saved = train_state_from_json(checkpoint.state, source);
  const RunConfig before = saved_config(directory / "config.yaml");
  const auto differences =
      is_branch ? check_branch_config(before, config_, saved.step) : check_resumed_config(before, config_);
  if (saved.data != state_.data) {
    user_error("data.train '", config_.data.train.text(), "' holds other data, or other weights, than the run in '",
               config_.output_dir, "' was trained on; give that data set, or choose another output_dir for a new run");
  }
  const auto is_later = [&](const PassedOver::Range& range) { return range.last > saved.cursor; };
  const auto& passed_over = saved.passed_over.ranges();
  if (is_branch && std::any_of(passed_over.begin(), passed_over.end(), is_later)) {
    user_error("branch_from '", source,
               "' was rolled back to by what happened later, and leaves out samples that this ", "run of ",
               config_.train.steps, " steps may not have had to; branch off from an earlier checkpoint, or ",
               "leave out branch_from");
  }
  set_aside_damaged(point);
  import_parameters(*model_, std::move(checkpoint.model), source);
  const StoredOptimizer& stored = checkpoint.stored_optimizer;
  optimizer_->load_state({.shape = [&](const std::string& name) { return stored.shape(name); },
                          .read = [&](const std::string& name, ElementRange elements,
                                      const at::Tensor& into) { stored.read(name, elements, into); }},
                         saved.step - saved.skipped, source);
  const std::string bf16_products = state_.bf16_products;
  state_ = saved;
  state_.bf16_products = bf16_products;
  has_checkpoint_ = true;
  if (is_branch && is_first()) take_records_of_trunk(directory);
  log_info(cat(is_branch ? "a branch of '" : "resuming from '", source, "' at step ", state_.step));
  for (const std::string& difference : differences) log_info(cat("changed since: ", difference));
  for (const std::int64_t step : config_.checkpoint.keep_steps) {
    if (is_first() && step < state_.step && !fs::exists(checkpoint_path(checkpoints_, step)))
      log_warn(cat("checkpoint.keep_steps names step ", step, ", which this run has passed without keeping it"));
  }
}

// The trunk's metrics and ledger, which open_writers() cuts off after the branch's first step: then the branch's are
// those of the whole run.
void Trainer::take_records_of_trunk(const fs::path& checkpoint) const {
  const fs::path trunk = fs::canonical(checkpoint).parent_path().parent_path(), output(config_.output_dir);
  for (const char* name : {"metrics.jsonl", "ledger.jsonl"}) {
    if (fs::is_regular_file(trunk / name)) {
      write_file_atomically(output / name, read_file(trunk / name));
    } else {
      log_warn(cat("'", trunk.string(), "' has no ", name, ": this run's begins with step ", state_.step + 1));
    }
  }
}

void Trainer::start_from(const fs::path& directory) {
  Checkpoint checkpoint = read_checkpoint(directory, CheckpointParts::kModel);
  const std::string source = directory.string();
  RunConfig theirs = config_;
  theirs.model = model_config_from_hugging_face(checkpoint.hf_config, source);
  theirs = resolved(theirs);
  for (const FieldDifference& difference : diff(theirs, config_)) {
    if (!may_differ_in_init(difference.key, config_.model)) {
      user_error("init_from '", source, "' is a model with ", difference.key, " ", difference.a,
                 " and the config says ", difference.b, "; set the config's key to ", difference.a);
    }
    if (uses_key(config_.model, difference.key))
      log_info(cat("init_from has ", difference.key, " ", difference.a, ", this run ", difference.b));
  }
  import_parameters(*model_, std::move(checkpoint.model), source);
  log_info(cat("starting from the model in '", source, "'"));
}

// For this GPU, or the smallest of the ranks'.
void Trainer::choose_micro_batch() {
  const GpuSize gpu{gpu_memory(device_).total, gpu_multiprocessors(device_)};
  const std::int64_t ranks = options_.ranks != nullptr ? options_.ranks->size() : 1;
  RunConfig config = config_;
  if (config.train.dtype == DType::kAuto) config.train.dtype = DType::kBf16;  // which it is on a GPU
  std::int64_t chosen = gpu.bytes > 0 ? gpu_micro_batch(config, gpu, ranks) : config.micro_batch(ranks);
  if (ranks > 1)
    for (const std::string& other : options_.ranks->all_gather(std::to_string(chosen)))
      chosen = std::min<std::int64_t>(chosen, std::stoll(other));
  config_.train.micro_batch = chosen;
  if (gpu.bytes > 0 && is_first())
    log_info(cat("train.micro_batch: ", chosen, ", ", chosen * config_.train.context, " tokens, for a GPU with ",
                 short_bytes(gpu.bytes), " and ", gpu.multiprocessors, " multiprocessors"));
}

void Trainer::announce() const {
  std::int64_t parameters = 0;
  for (const torch::Tensor& parameter : model_->parameters()) parameters += parameter.numel();
  const std::string processes = options_.ranks != nullptr ? cat(options_.ranks->size(), " processes",
                                                                config_.dist.zero > 0 ? " (ZeRO-1)" : "", " on ")
                                                          : "on ";
  log_info(cat(to_string(config_.model.mixer), ", ", format_count(static_cast<double>(parameters)), " parameters, ",
               processes, device_.str(), " with ", at::get_num_threads(), " threads; output in '", config_.output_dir,
               "'"));
  log_info(cat("steps ", state_.step + 1, " to ", config_.train.steps, " of ", config_.sequences_per_step(), " x ",
               config_.train.context, " tokens, in micro-batches of ", config_.micro_batch()));
  const std::int64_t samples = config_.train.steps * config_.sequences_per_step();
  for (std::size_t i = 0; i < train_data_.size(); ++i) {
    const MixtureSource& source = train_data_[i];
    const std::int64_t own = order_->count(i, samples), epoch = source.data.num_samples(config_.train.context);
    log_info(cat("data '", source.name, "': ", rounded(100.0 * static_cast<double>(own) / static_cast<double>(samples)),
                 " % of the tokens, ", rounded(static_cast<double>(own) / static_cast<double>(epoch)), " epochs of ",
                 epoch, " samples (", source.data.num_tokens(), " tokens) over the run"));
  }
  for (const std::string& group : optimizer_->describe_groups()) log_info(cat("AdamW  ", group));
  if (config_.train.cuda_graph && !can_record(device_))
    log_info(cat("train.cuda_graph is not used: ",
                 device_.is_cuda() ? "this ttt was built without CUDA kernels" : "the run is on a CPU"));
  if (config_.train.cuda_graph && config_.train.reset_at_documents)
    log_info("train.cuda_graph is not used: with train.reset_at_documents no two micro-steps are alike");
  announce_memory();
}

void Trainer::announce_memory() const {
  RunConfig config = config_;
  config.train.dtype = model_->bf16() ? DType::kBf16 : DType::kFp32;
  const MemoryPlan memory =
      make_plan(config, std::nullopt, options_.ranks != nullptr ? options_.ranks->size() : 1).memory;
  const std::int64_t graph = with_graph() ? memory.activations : 0;  // what it keeps for itself
  const std::int64_t needed = memory.training() + graph + (device_.is_cuda() ? kMoreLogitBytesOfGpu : 0);
  std::string text =
      cat("memory, about ", short_bytes(needed), ": weights ", short_bytes(memory.weights), ", gradients ",
          short_bytes(memory.gradients), ", AdamW's moments ", short_bytes(memory.optimizer),
          ", activations of a micro-batch ", short_bytes(memory.activations));
  if (graph > 0) text += " and once more in the CUDA graph";
  const GpuMemory gpu = gpu_memory(device_);
  if (gpu.total > 0)
    text += cat("; the GPU has ", short_bytes(gpu.total), ", of which ", short_bytes(gpu.free), " were free");
  log_info(text);
  if (gpu.total > 0 && needed > gpu.total)
    log_warn("this may be more memory than the GPU has: take a smaller train.micro_batch, or train.recompute: true");
}

}  // namespace ttt
