// The declarations of every config field.
#include "config/fields.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <utility>

#include "arch/mixer.h"
#include "base/error.h"
#include "config/expand_path.h"
#include "config/flow.h"
#include "config/load.h"

namespace ttt {
namespace {

constexpr std::int64_t kNoLimit = std::numeric_limits<std::int64_t>::max();

struct IntegerBound {
  std::int64_t min = 0;
  std::int64_t max = kNoLimit;
};

// Numbers in [min, max]; `open`: min itself is excluded, and so is max where it is finite. `automatic`: -1 stands for a
// value that the program chooses.
struct NumberBound {
  double min = 0;
  double max = std::numeric_limits<double>::infinity();
  bool min_open = false;
  bool max_open = false;
  bool automatic = false;
};

bool parse_number(const std::string& text, double& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

std::string to_text(double value) {
  char buffer[32];
  return {buffer, std::to_chars(buffer, buffer + sizeof buffer, value).ptr};
}

std::string allowed(const IntegerBound& bound) {
  if (bound.max == kNoLimit) return cat("an integer of at least ", bound.min);
  return cat("an integer from ", bound.min, " to ", bound.max);
}

std::string allowed(const NumberBound& bound) {
  std::string text = cat("a number ", bound.min_open ? "above " : "of at least ", to_text(bound.min));
  if (std::isfinite(bound.max)) text += cat(bound.max_open ? " and below " : " and at most ", to_text(bound.max));
  if (bound.automatic) text += ", or -1 for the paper's value";
  return text;
}

// Collects declarations; each method declares one field.
class Declarations {
 public:
  void integer(const char* key, std::int64_t& at, IntegerBound bound, const char* unit, const char* help) {
    auto set = [key, &at, bound](const std::string& text) {
      std::int64_t value = 0;
      if (!parse_integer(text, value) || value < bound.min || value > bound.max) {
        user_error("'", key, "' must be ", allowed(bound), ", not '", text, "'");
      }
      at = value;
    };
    fields_.push_back({key, "integer", unit, help, set, [&at] { return std::to_string(at); }});
  }

  void number(const char* key, double& at, NumberBound bound, const char* help) {
    auto set = [key, &at, bound](const std::string& text) {
      double value = 0;
      const bool parsed = parse_number(text, value);
      const bool inside = (bound.min_open ? value > bound.min : value >= bound.min) &&
                          (bound.max_open ? value < bound.max : value <= bound.max);
      if (!parsed || !(inside || (bound.automatic && value == -1))) {
        user_error("'", key, "' must be ", allowed(bound), ", not '", text, "'");
      }
      at = value;
    };
    fields_.push_back({key, "number", "", help, set, [&at] { return to_text(at); }});
  }

  void boolean(const char* key, bool& at, const char* help) {
    auto set = [key, &at](const std::string& text) {
      if (text != "true" && text != "false") user_error("'", key, "' must be true or false, not '", text, "'");
      at = text == "true";
    };
    fields_.push_back({key, "true | false", "", help, set, [&at] { return std::string(at ? "true" : "false"); }});
  }

  void path(const char* key, std::string& at, const char* help) {
    auto set = [key, &at](const std::string& text) { at = expand_path(key, text); };
    fields_.push_back({key, "path", "", help, set, [&at] { return at; }});
  }

  void word(const char* key, std::string& at, const char* help) {
    fields_.push_back({key, "word", "", help, [&at](const std::string& text) { at = text; }, [&at] { return at; }});
  }

  template <class Enum>
  void choice(const char* key, Enum& at, const std::vector<std::pair<const char*, Enum>>& choices, const char* help) {
    std::string names;
    std::vector<std::string> words;
    for (const auto& [name, value] : choices) {
      names += (names.empty() ? "" : " | ") + std::string(name);
      words.emplace_back(name);
    }
    auto set = [key, &at, choices, names, words](const std::string& text) {
      for (const auto& [name, value] : choices) {
        if (text == name) {
          at = value;
          return;
        }
      }
      const std::string near = nearest(text, words);
      user_error("'", key, "' must be one of ", names, ", not '", text, "'",
                 near.empty() ? "" : cat("; did you mean '", near, "'?"));
    };
    auto get = [&at, choices] {
      for (const auto& [name, value] : choices) {
        if (at == value) return std::string(name);
      }
      fail("a config holds a value that its field does not declare");
    };
    fields_.push_back({key, names, "", help, set, get});
  }

  // A list with a text form of its own.
  void list(const char* key, const std::string& type, std::function<void(const std::string&)> set,
            std::function<std::string()> get, const char* help) {
    fields_.push_back({key, type, "", help, std::move(set), std::move(get), /*is_list=*/true});
  }

  void map(const char* key, const char* type, std::function<void(const std::string&)> set,
           std::function<std::string()> get, const char* help) {
    fields_.push_back({key, type, "", help, std::move(set), std::move(get), /*is_list=*/true, /*is_map=*/true});
  }

  std::vector<Field> take() { return std::move(fields_); }

 private:
  std::vector<Field> fields_;
};

MixerPattern parse_mixer(const std::string& text) {
  std::vector<MixerKind> kinds;
  for (const std::string& word : parse_flow_list("model.mixer", text)) {
    const auto& all = all_mixers();
    const auto found = std::find_if(all.begin(), all.end(), [&](const auto* mixer) { return word == mixer->name(); });
    if (found == all.end()) {
      std::vector<std::string> words;
      for (const MixerDeclaration* mixer : all) words.emplace_back(mixer->name());
      const std::string near = nearest(word, words);
      user_error("'model.mixer' must be one of ", mixer_names(" | "), ", or a list of them, not '", word, "'",
                 near.empty() ? "" : cat("; did you mean '", near, "'?"));
    }
    kinds.push_back((*found)->kind());
  }
  return MixerPattern(kinds);
}

// A number of at least 0 in a list's entry, or `fallback` where it is not given.
double number_of(const FlowRecord& record, const char* column, const char* key, double fallback) {
  const auto found = record.find(column);
  if (found == record.end()) return fallback;
  double value = 0;
  if (!parse_number(found->second, value) || value < 0)
    user_error("'", key, "': ", column, " must be a number of at least 0, not '", found->second, "'");
  return value;
}

std::vector<double> parse_numbers(const char* key, const std::string& text) {
  std::vector<double> numbers;
  if (text.empty() || text == "[]") return numbers;
  for (const std::string& word : parse_flow_list(key, text)) {
    double value = 0;
    if (!parse_number(word, value) || value < 0)
      user_error("'", key, "' must be a list of numbers of at least 0, not '", word, "'");
    numbers.push_back(value);
  }
  return numbers;
}

std::string to_text(const std::vector<double>& numbers) {
  std::string text;
  for (const double number : numbers) text += (text.empty() ? "" : ", ") + to_text(number);
  return numbers.empty() ? "" : "[" + text + "]";
}

std::vector<std::int64_t> parse_steps(const char* key, const std::string& text) {
  std::vector<std::int64_t> steps;
  if (text.empty() || text == "[]") return steps;
  for (const std::string& word : parse_flow_list(key, text)) {
    std::int64_t step = 0;
    if (!parse_integer(word, step) || step < 1)
      user_error("'", key, "' must be a list of steps of at least 1, not '", word, "'");
    steps.push_back(step);
  }
  std::sort(steps.begin(), steps.end());
  steps.erase(std::unique(steps.begin(), steps.end()), steps.end());
  return steps;
}

std::string to_text(const std::vector<std::int64_t>& steps) {
  std::string text;
  for (const std::int64_t step : steps) text += (text.empty() ? "" : ", ") + std::to_string(step);
  return steps.empty() ? "" : "[" + text + "]";
}

const std::vector<std::string> kGroupColumns = {"match", "lr", "weight_decay"};

std::vector<ParameterGroup> parse_groups(const std::string& text) {
  std::vector<ParameterGroup> groups;
  for (const FlowRecord& record : parse_flow_records("optim.groups", text, kGroupColumns)) {
    if (record.count("match") == 0 || record.at("match").empty() || record.size() < 2) {
      user_error("entry ", groups.size() + 1,
                 " of 'optim.groups' needs 'match', a name pattern, and lr or weight_decay, as in '{match: \"*.w1\", "
                 "weight_decay: 0}'");
    }
    groups.push_back({record.at("match"), number_of(record, "lr", "optim.groups", -1),
                      number_of(record, "weight_decay", "optim.groups", -1)});
  }
  return groups;
}

std::string to_text(const std::vector<ParameterGroup>& groups) {
  std::vector<FlowRecord> records;
  for (const ParameterGroup& group : groups) {
    FlowRecord record = {{"match", group.match}};
    if (group.lr >= 0) record["lr"] = to_text(group.lr);
    if (group.weight_decay >= 0) record["weight_decay"] = to_text(group.weight_decay);
    records.push_back(std::move(record));
  }
  return to_flow(records, kGroupColumns);
}

void declare(Declarations& d, ModelConfig& m) {
  d.list(
      "model.mixer", mixer_names(" | ") + ", or a list of them",
      [&m](const std::string& text) { m.mixer = parse_mixer(text); }, [&m] { return to_string(m.mixer); },
      "the layer that moves information along time; a list is repeated over the layers (hybrids)");
  d.choice<Backbone>("model.backbone", m.backbone,
                     {{"transformer", Backbone::kTransformer}, {"mamba", Backbone::kMamba}},
                     "of TTT mixers: mamba has a gate, shared QK and short convolutions, transformer none of these");
  d.integer("model.vocab_size", m.vocab_size, {2, 1 << 30}, "tokens", "rows of the embedding");
  d.integer("model.hidden_size", m.hidden_size, {2, 1 << 20}, "",
            "width of the residual stream, a multiple of num_heads");
  d.integer("model.num_layers", m.num_layers, {1, 10000}, "", "blocks");
  d.integer("model.num_heads", m.num_heads, {1, 1 << 16}, "", "heads of the mixer");
  d.integer("model.head_dim", m.head_dim, {0, 1 << 16}, "",
            "Gated DeltaNet: size of a head's queries and keys; 0: hidden_size / num_heads");
  d.number("model.expand_v", m.expand_v, {.min_open = true}, "Gated DeltaNet: size of a head's values, in head_dims");
  d.integer("model.intermediate_size", m.intermediate_size, {1, 1 << 22}, "", "SwiGLU's hidden width");
  d.integer("model.mini_batch_size", m.mini_batch_size, {1, 1 << 20}, "tokens", "TTT: tokens of one inner-loop step");
  d.number("model.ttt_base_lr", m.ttt_base_lr, {.automatic = true},
           "TTT: inner learning rate; -1: 1 (ttt_linear), 0.1 (ttt_mlp)");
  d.number("model.ttt_base_lr_init", m.ttt_base_lr_init, {.automatic = true},
           "TTT: where its warm-up starts; -1: no warm-up (ttt_linear), 0.01 (ttt_mlp)");
  d.integer("model.ttt_base_lr_warmup_steps", m.ttt_base_lr_warmup_steps, {-1}, "steps",
            "TTT: its warm-up; -1: optim.warmup_steps");
  d.choice<TttFeatureMap>("model.ttt_feature_map", m.ttt_feature_map,
                          {{"none", TttFeatureMap::kNone}, {"elu", TttFeatureMap::kElu}},
                          "TTT: of queries and keys, after RoPE; elu: elu(x) + 1");
  d.boolean("model.ttt_normalizer", m.ttt_normalizer,
            "TTT with a linear f: outputs are divided by the sum of the query's products with the keys so far");
  d.boolean("model.ttt_learned_w0", m.ttt_learned_w0, "TTT: where fast weights start is learned; false: at 0");
  d.boolean("model.ttt_norm", m.ttt_norm, "TTT: LayerNorm in f");
  d.boolean("model.ttt_residual", m.ttt_residual,
            "TTT: f(x) = x + ..., with which the inner target is V - K; false: V");
  d.boolean("model.ttt_bias", m.ttt_bias, "TTT: layers of f have a bias, which the inner loop learns too");
  d.boolean("model.ttt_learned_lr", m.ttt_learned_lr,
            "TTT: the inner learning rate is ttt_base_lr sigmoid(theta x) / head size, times 1 / place in the "
            "mini-batch plus a learned number; false: ttt_base_lr for every token");
  d.choice<TttTarget>("model.ttt_target", m.ttt_target, {{"value", TttTarget::kValue}, {"input", TttTarget::kInput}},
                      "TTT: what f is to give of a key; value: theta_V x; input: the head's part of x itself");
  d.integer("model.ttt_inner_steps", m.ttt_inner_steps, {1, 64}, "steps",
            "TTT: gradient steps of a mini-batch; a token's gradient is taken at what the tokens up to it have left");
  d.integer("model.attention_window", m.attention_window, {0, 1 << 30}, "tokens",
            "attention: tokens that a token sees, itself included; 0: all before it");
  d.boolean(
      "model.pre_conv", m.pre_conv,
      "a causal convolution block before the mixer; where not given: on for TTT with the Mamba backbone, else off");
  d.number("model.rope_theta", m.rope_theta, {.min_open = true}, "RoPE's base");
  d.boolean("model.tie_embeddings", m.tie_embeddings, "the head uses the embedding's matrix");
}

void declare(Declarations& d, DataConfig& data) {
  d.list(
      "data.train", "path, or list of {path, weight, name}",
      [&data](const std::string& text) { data.train = parse_data_sources("data.train", text, /*weighted=*/true); },
      [&data] { return data.train.text(); },
      "training sets: folders that `ttt prepare` wrote, weighted by their share of the tokens");
  d.list(
      "data.valid", "path, or list of {path, name}",
      [&data](const std::string& text) { data.valid = parse_data_sources("data.valid", text, /*weighted=*/false); },
      [&data] { return data.valid.text(); }, "validation sets, likewise, each with a loss of its own; may be absent");
  d.choice<DataOrder>("data.order", data.order,
                      {{"shuffled", DataOrder::kShuffled}, {"sequential", DataOrder::kSequential}},
                      "order of the samples in an epoch");
}

void declare(Declarations& d, TrainConfig& t) {
  d.integer("train.context", t.context, {1, 1 << 30}, "tokens", "length of a sequence");
  d.integer("train.batch_tokens", t.batch_tokens, {1}, "tokens",
            "in an optimizer step, a multiple of context; integers may be written 524288, 512Ki, 0.5M or 1e6");
  d.integer(
      "train.micro_batch", t.micro_batch, {0}, "sequences",
      "taken at once; 0: the largest divisor of a process's share of the step with at most 8192 tokens; on a GPU by "
      "its memory and size (`ttt plan --gpu-memory`)");
  d.integer("train.steps", t.steps, {1}, "steps", "optimizer steps in all");
  d.integer("train.seed", t.seed, {0}, "", "of initialisation and data order");
  d.integer("train.threads", t.threads, {0, 4096}, "threads",
            "of the CPU, in each process; 0: all cores, or those that a control group allows (a container's or a job's "
            "quota), divided among the processes of the machine");
  d.choice<DType>(
      "train.dtype", t.dtype, {{"auto", DType::kAuto}, {"fp32", DType::kFp32}, {"bf16", DType::kBf16}},
      "arithmetic of the model; bf16: dense layers and activations, with fp32 master weights, inner loops and norms; "
      "auto: bf16 on a GPU or a processor with AMX");
  d.choice<ProductsKind>(
      "train.bf16_products", t.bf16_products,
      {{"auto", ProductsKind::kAuto}, {"native", ProductsKind::kNative}, {"fp32_panels", ProductsKind::kFp32Panels}},
      "dense products of bf16 on a CPU: LibTorch's own, or widened to fp32 and rounded once, which is "
      "faster without bf16 instructions; auto: measured at the start of a run, then kept");
  d.choice<DeviceKind>("train.device", t.device,
                       {{"auto", DeviceKind::kAuto}, {"cpu", DeviceKind::kCpu}, {"cuda", DeviceKind::kCuda}},
                       "auto: a GPU where there is one");
  d.map(
      "train.kernels", "map of op: kernel",
      [&t](const std::string& text) { t.kernels = parse_flow_pairs("train.kernels", text); },
      [&t] { return to_flow(t.kernels); },
      "rows that ops run on, as in {ttt: fused_avx2, rms_norm: composed} (`ttt doctor` lists them; ttt: both TTT ops); "
      "the others take the best that can; the environment's TTT_KERNELS=ttt=fused_avx2,rms_norm=composed does the "
      "same");
  d.word("train.ttt_kernel", t.ttt_kernel, "the older name of train.kernels: {ttt: ...}; auto: the best");
  d.boolean("train.self_check", t.self_check,
            "before the first use of a GPU its fused kernels are held against fp64 in a process of their own (seconds; "
            "the verdict is kept); what fails there is not used; false: nothing is checked. Nothing on a CPU");
  d.choice<LossAverage>("train.loss_average", t.loss_average,
                        {{"tokens", LossAverage::kTokens}, {"sequences", LossAverage::kSequences}},
                        "over all scored tokens, or over a sequence's and then over sequences");
  d.number("train.inner_lr_scale", t.inner_lr_scale, {},
           "TTT: inner learning rates times this, in training and validation; 0: fast weights stay at W0");
  d.list(
      "train.eval_inner_lr_scales", "list of numbers",
      [&t](const std::string& text) { t.eval_inner_lr_scales = parse_numbers("train.eval_inner_lr_scales", text); },
      [&t] { return to_text(t.eval_inner_lr_scales); },
      "TTT: validation says the loss with the inner learning rates times each of these, too");
  d.boolean(
      "train.recompute", t.recompute,
      "keep only each block's input for the backward pass and compute the block again: less memory, a third more work");
  d.boolean("train.deterministic", t.deterministic,
            "on a GPU: equal runs are equal bit for bit, and so are resumed ones; false: attention's backward pass is "
            "faster. On a CPU they always are");
  d.boolean("train.cuda_graph", t.cuda_graph,
            "on a GPU, forward and backward pass of a micro-batch as one CUDA graph: fewer launches, for small models; "
            "it keeps a micro-batch's activations for itself");
  d.boolean(
      "train.reset_at_documents", t.reset_at_documents,
      "a document sees nothing of the one before it in the same sample: states, windows and positions start anew");
  d.integer("train.log_every", t.log_every, {1}, "steps", "between two progress lines");
  d.integer("train.eval_every", t.eval_every, {0}, "steps", "between two validations; 0: only at the end");
  d.integer("train.eval_samples", t.eval_samples, {0}, "sequences",
            "of each validation set, always its first; 0: all of it; where not given: as many as have 131072 tokens");
  d.integer("train.position_loss_every", t.position_loss_every, {0}, "steps",
            "between two validations that say the loss by position too, with 95 % intervals; 0: never");
  d.integer("train.stats_every", t.stats_every, {0}, "steps", "between two records of inner-loop statistics; 0: never");
  d.integer("train.digest_every", t.digest_every, {0}, "steps",
            "between two hashes of all parameters in ledger.jsonl, by which `ttt diff` compares runs; 0: never");
  d.boolean("train.tensorboard", t.tensorboard, "write TensorBoard event files to output_dir/tensorboard");
  d.integer("train.sample_tokens", t.sample_tokens, {0, 100000}, "tokens",
            "of text that the model writes at each validation, after the first words of data.valid; 0: none");
  d.integer("train.max_skipped_steps", t.max_skipped_steps, {0}, "steps",
            "in a row that are passed over, with no update, when their loss or gradient is not finite");
  d.integer(
      "train.max_rollbacks", t.max_rollbacks, {0}, "",
      "to the newest checkpoint, passing over the samples in question, when that does not help; then the run stops");
  d.number("train.spike_deviations", t.spike_deviations, {},
           "a loss so many standard deviations above that of the last steps is such a case too; 0: never");
  d.integer("train.watchdog_seconds", t.watchdog_seconds, {0}, "seconds",
            "that a micro-batch, a save or the like may take before the process ends itself with exit code 1; 0: any");
}

void declare(Declarations& d, OptimConfig& o) {
  d.number("optim.lr", o.lr, {}, "peak learning rate");
  d.choice<ScheduleKind>("optim.schedule", o.schedule, {{"cosine", ScheduleKind::kCosine}, {"wsd", ScheduleKind::kWsd}},
                         "after the warm-up: a cosine, or wsd: stable, then linear decay over the last cooldown_steps");
  d.number("optim.end_lr", o.end_lr, {}, "learning rate where the decay ends, at most lr");
  d.integer("optim.warmup_steps", o.warmup_steps, {0}, "steps",
            "linear warm-up from 0; where not given: a tenth of the decay");
  d.integer("optim.decay_steps", o.decay_steps, {0}, "steps", "where the decay ends, warm-up included; 0: train.steps");
  d.integer("optim.cooldown_steps", o.cooldown_steps, {-1}, "steps",
            "wsd: length of the linear decay at the end; -1: a fifth of decay_steps");
  d.number("optim.beta1", o.beta1, {.max = 1, .max_open = true}, "AdamW's first decay");
  d.number("optim.beta2", o.beta2, {.max = 1, .max_open = true}, "AdamW's second decay");
  d.number("optim.eps", o.eps, {.min_open = true}, "AdamW's epsilon");
  d.number("optim.weight_decay", o.weight_decay, {}, "decoupled weight decay");
  d.choice<DecayOn>("optim.decay_on", o.decay_on, {{"matrices", DecayOn::kMatrices}, {"all", DecayOn::kAll}},
                    "parameters that weight decay touches; matrices: not norms and biases");
  d.number("optim.clip_grad_norm", o.clip_grad_norm, {}, "largest global gradient norm; 0: no clipping");
  d.list(
      "optim.groups", "list of {match, lr, weight_decay}",
      [&o](const std::string& text) { o.groups = parse_groups(text); }, [&o] { return to_text(o.groups); },
      "parameters with settings of their own, by name pattern (* and ?); the first that matches holds");
}

void declare(Declarations& d, CheckpointConfig& c) {
  d.integer("checkpoint.every", c.every, {0}, "steps",
            "between two checkpoints; the last step is always saved; 0: only the last");
  d.integer("checkpoint.keep_last", c.keep_last, {0}, "checkpoints", "newest ones kept; 0: all");
  d.integer("checkpoint.keep_every", c.keep_every, {0}, "steps",
            "checkpoints at its multiples are kept for good; 0: none");
  d.list(
      "checkpoint.keep_steps", "list of steps",
      [&c](const std::string& text) { c.keep_steps = parse_steps("checkpoint.keep_steps", text); },
      [&c] { return to_text(c.keep_steps); },
      "after each of these a checkpoint is saved and kept for good, such as for branch_from");
  d.boolean("checkpoint.async", c.async,
            "write from a copy in host memory while the training goes on; at most one copy at a time");
}

void declare(Declarations& d, DistConfig& dist) {
  d.integer("dist.timeout_seconds", dist.timeout_seconds, {1, 1'000'000}, "seconds",
            "that a process waits for the others before the run fails");
  d.integer(
      "dist.heartbeat_seconds", dist.heartbeat_seconds, {0, 1'000'000}, "seconds",
      "after which a process that nothing is heard of, though it should count on every second, is taken for gone; "
      "0: never");
  d.integer("dist.zero", dist.zero, {0, 1}, "",
            "1: each process keeps and steps its share of AdamW's moments (ZeRO-1); the result is the same");
  d.choice<ReduceDType>("dist.reduce_dtype", dist.reduce_dtype,
                        {{"fp32", ReduceDType::kFp32}, {"bf16", ReduceDType::kBf16}},
                        "in which gradients travel and are summed over the processes; bf16: half the traffic");
}

void declare(Declarations& d, ProfileConfig& profile) {
  d.integer("profile.first_step", profile.first_step, {0}, "",
            "from which output_dir/trace-stepN-rankR.json is recorded, a Chrome trace of every op; 0: none");
  d.integer("profile.steps", profile.steps, {1}, "steps", "that it covers");
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

}  // namespace

bool parse_integer(const std::string& text, std::int64_t& value) {
  // value = sign * mantissa * 10^exponent * unit, in exact integer arithmetic.
  const char* p = text.c_str();
  const bool negative = *p == '-';
  if (negative) ++p;
  __int128 mantissa = 0;
  int exponent = 0;
  bool fraction = false, any = false;
  for (; is_digit(*p) || *p == '.' || *p == '_'; ++p) {
    if (*p == '.') {
      if (fraction) return false;
      fraction = true;
    } else if (*p == '_') {
      if (!any || !is_digit(p[1])) return false;
    } else {
      any = true;
      mantissa = mantissa * 10 + (*p - '0');
      if (mantissa > kNoLimit) return false;
      if (fraction) --exponent;
    }
  }
  if (!any) return false;
  if (*p == 'e' || *p == 'E') {
    ++p;
    if (*p == '+') ++p;
    int given = 0;
    if (!is_digit(*p)) return false;
    for (; is_digit(*p); ++p) {
      given = given * 10 + (*p - '0');
      if (given > 18) return false;
    }
    exponent += given;
  }
  const std::string unit = p;
  if (unit == "k") {
    exponent += 3;
  } else if (unit == "M") {
    exponent += 6;
  } else if (unit == "G") {
    exponent += 9;
  } else if (unit == "Ki") {
    mantissa <<= 10;
  } else if (unit == "Mi") {
    mantissa <<= 20;
  } else if (unit == "Gi") {
    mantissa <<= 30;
  } else if (!unit.empty()) {
    return false;
  }
  for (; exponent > 0 && mantissa <= kNoLimit; --exponent) mantissa *= 10;
  for (; exponent < 0; ++exponent) {
    if (mantissa % 10 != 0) return false;
    mantissa /= 10;
  }
  if (mantissa > kNoLimit) return false;
  value = static_cast<std::int64_t>(negative ? -mantissa : mantissa);
  return true;
}

std::vector<Field> fields_of(ModelConfig& config) {
  Declarations d;
  declare(d, config);
  return d.take();
}

std::vector<Field> fields_of(RunConfig& config) {
  Declarations d;
  declare(d, config.model);
  declare(d, config.data);
  declare(d, config.train);
  declare(d, config.optim);
  declare(d, config.checkpoint);
  declare(d, config.dist);
  declare(d, config.profile);
  d.path("output_dir", config.output_dir, "the run's folder: config, metrics, log, checkpoints");
  d.path("init_from", config.init_from,
         "a checkpoint folder, or a run folder (its newest), whose model starts the run; empty: fresh initialisation");
  d.path(
      "branch_from", config.branch_from,
      "another run's checkpoint folder: a run without checkpoints of its own goes on from it as if it were that run; "
      "what both have before it must be the same, so that only the schedule's end may differ; empty: none");
  d.path("tokenizer", config.tokenizer,
         "a SentencePiece model to keep with the checkpoints; empty: the training set's own");
  d.choice<Parity>("parity", config.parity, {{"none", Parity::kNone}, {"ttt-lm-jax", Parity::kTttLmJax}},
                   "defaults and conventions of the official code; explicit keys win");
  return d.take();
}

}  // namespace ttt
