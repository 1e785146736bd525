// From YAML files and overrides to configs.
//
// A file becomes a list of (key, value, place); the lists of the `extends:` chain follow each other, base first, then
// the overrides. A later value of a key replaces an earlier one. What was not given gets a default that may depend on
// what was.
#include "config/load.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "arch/mixer.h"
#include "base/error.h"
#include "base/files.h"
#include "base/utf8.h"
#include "config/expand_path.h"
#include "config/fields.h"
#include "config/flow.h"
#include "config/yaml_file.h"

namespace ttt {
namespace {

struct Given {
  std::string value;
  std::string place;  // "FILE:LINE" or "command line"
};

using GivenKeys = std::map<std::string, Given>;

// What train.eval_samples was called when it counted batches, each of 8192 tokens but at least one sequence.
constexpr const char* kEvalBatches = "train.eval_batches";
constexpr const char* kEvalSamples = "train.eval_samples";
constexpr std::int64_t kEvalBatchTokens = 8192;

// Replaces what was given before, under either name.
void replace(GivenKeys& given, const std::string& key, Given value) {
  if (key == kEvalBatches) given.erase(kEvalSamples);
  if (key == kEvalSamples) given.erase(kEvalBatches);
  given[key] = std::move(value);
}

std::string section_of(const std::string& key) {
  const auto dot = key.find('.');
  return dot == std::string::npos ? "" : key.substr(0, dot);
}

std::string leaf_of(const std::string& key) {
  const auto dot = key.rfind('.');
  return dot == std::string::npos ? key : key.substr(dot + 1);
}

// Every declared key and section.
class KnownKeys {
 public:
  KnownKeys() {
    RunConfig config;
    for (const Field& field : fields_of(config)) {
      keys_.push_back(field.key);
      if (field.is_list) lists_.insert(field.key);
      if (field.is_map) maps_.insert(field.key);
      if (const std::string section = section_of(field.key); !section.empty()) sections_.insert(section);
    }
  }

  bool is_key(const std::string& key) const {
    return key == kEvalBatches || std::find(keys_.begin(), keys_.end(), key) != keys_.end();
  }
  bool is_list(const std::string& key) const { return lists_.count(key) != 0; }
  bool is_map(const std::string& key) const { return maps_.count(key) != 0; }
  bool is_section(const std::string& name) const { return sections_.count(name) != 0; }

  [[noreturn]] void unknown(const std::string& place, const std::string& key) const {
    const std::string suggestion = suggest(key);
    user_error(place, ": unknown key '", key, "'",
               suggestion.empty() ? std::string("; `ttt train --help-config` lists the keys")
                                  : cat("; did you mean '", suggestion, "'?"));
  }

 private:
  // A near key of the same section, else the same word in another section, else whatever is near as a whole.
  std::string suggest(const std::string& key) const {
    const std::string section = section_of(key);
    std::vector<std::string> siblings;
    for (const std::string& known : keys_) {
      if (section_of(known) == section) siblings.push_back(leaf_of(known));
    }
    if (section.empty()) {
      siblings.insert(siblings.end(), sections_.begin(), sections_.end());
      siblings.emplace_back("extends");
    }
    if (const std::string near = nearest(leaf_of(key), siblings); !near.empty())
      return section.empty() ? near : section + "." + near;
    for (const std::string& known : keys_) {
      if (leaf_of(known) == leaf_of(key)) return known;
    }
    return nearest(key, keys_);
  }

  std::vector<std::string> keys_;
  std::set<std::string> sections_, lists_, maps_;
};

// Lists in flow style, as Field::set takes them.
std::string flow_text(const YAML::Node& node) {
  YAML::Emitter out;
  out.SetSeqFormat(YAML::Flow);
  out.SetMapFormat(YAML::Flow);
  out << node;
  return out.c_str();
}

// Reads one file and, before it, its bases.
class FileReader {
 public:
  explicit FileReader(const KnownKeys& known) : known_(known) {}

  // `named_at`: where the file is named ("FILE:LINE: " of the extends key), "" for the first one.
  void read(const fs::path& file, const std::string& named_at, GivenKeys& given) {
    if (fs::is_directory(file)) {
      const bool run = fs::is_regular_file(file / "config.yaml");
      user_error(named_at, "'", file.string(), "' is a folder, not a config file; name a file",
                 run ? cat(", such as '", (file / "config.yaml").string(), "'") : "");
    }
    if (!fs::is_regular_file(file)) {
      const std::string near = nearest_path(file);
      user_error(named_at,
                 named_at.empty() ? "there is no config file '" : "'extends' names a file that does not exist, '",
                 file.string(), near.empty() ? "'; check the path" : cat("'; did you mean '", near, "'?"));
    }
    const std::string identity = fs::canonical(file).string();
    if (std::find(chain_.begin(), chain_.end(), identity) != chain_.end()) {
      user_error(named_at, "'extends' leads back to '", file.string(),
                 "', which is being read already; remove one of the links");
    }
    chain_.push_back(identity);
    const YAML::Node root = read_yaml(file);
    if (!root.IsNull() && !root.IsMap()) {
      user_error(file.string(), ":", root.Mark().line + 1,
                 ": a config is a map of keys to values, such as 'train: {context: 2048}'");
    }
    read_extends(file, root, given);
    GivenKeys own;
    sections_seen_.clear();
    for (const auto& item : root) read_top_level(file, item.first, item.second, own);
    if (own.count(kEvalBatches) != 0 && own.count(kEvalSamples) != 0) {
      user_error(own.at(kEvalBatches).place, ": '", kEvalBatches, "' is the old name of '", kEvalSamples,
                 "', which is given too; remove it");
    }
    for (auto& [key, value] : own) replace(given, key, std::move(value));
    chain_.pop_back();
  }

 private:
  static std::string place(const fs::path& file, const YAML::Node& node) {
    return cat(file.string(), ":", node.Mark().line + 1);
  }

  static std::string expand(const std::string& at, const std::string& base) {
    try {
      return expand_path("extends", base);
    } catch (const UserError& error) {
      user_error(at, ": ", error.what());
    }
  }

  void read_extends(const fs::path& file, const YAML::Node& root, GivenKeys& given) {
    bool seen = false;
    for (const auto& item : root) {
      if (!item.first.IsScalar() || item.first.Scalar() != "extends") continue;
      const std::string at = place(file, item.first);
      if (seen) user_error(at, ": 'extends' is given twice; give several files as a list, [a.yaml, b.yaml]");
      seen = true;
      std::vector<YAML::Node> bases;
      if (item.second.IsSequence()) {
        for (const auto& base : item.second) bases.push_back(base);
      } else {
        bases.push_back(item.second);
      }
      for (const YAML::Node& base : bases) {
        if (!base.IsScalar() || base.Scalar().empty())
          user_error(at, ": 'extends' must be the path of a file, or a list of paths");
        read((file.parent_path() / expand(at, base.Scalar())).lexically_normal(), at + ": ", given);
      }
    }
  }

  void read_top_level(const fs::path& file, const YAML::Node& name, const YAML::Node& value, GivenKeys& own) {
    const std::string at = place(file, name);
    if (!name.IsScalar()) user_error(at, ": a key must be a word");
    const std::string& key = name.Scalar();
    if (key == "extends") return;
    if (!known_.is_section(key)) {
      if (!known_.is_key(key) || key.find('.') != std::string::npos) unknown_top_level(at, key);
      read_value(at, key, value, own);
      return;
    }
    if (!sections_seen_.insert(key).second) user_error(at, ": section '", key, "' is given twice; join the two");
    if (value.IsNull()) return;
    if (!value.IsMap()) user_error(at, ": '", key, "' is a section and takes keys below it, not a value");
    for (const auto& item : value) {
      const std::string inner_at = place(file, item.first);
      if (!item.first.IsScalar()) user_error(inner_at, ": a key must be a word");
      const std::string full = key + "." + item.first.Scalar();
      if (!known_.is_key(full)) known_.unknown(inner_at, full);
      read_value(inner_at, full, item.second, own);
    }
  }

  [[noreturn]] void unknown_top_level(const std::string& at, const std::string& key) const {
    if (known_.is_key(key)) {
      user_error(at, ": in a file, '", key, "' is written as a section: '", section_of(key), ": {", leaf_of(key),
                 ": ...}'");
    }
    if (key == "base" || key == "axes" || key == "runs")
      user_error(at, ": '", key,
                 "' is a key of sweeps, and this is read as the config of one run; `ttt sweep` takes it");
    known_.unknown(at, key);
  }

  void read_value(const std::string& at, const std::string& key, const YAML::Node& value, GivenKeys& own) const {
    const bool list = (value.IsSequence() && known_.is_list(key)) || (value.IsMap() && known_.is_map(key));
    if ((value.IsMap() || value.IsSequence()) && !list)
      user_error(at, ": '", key, "' takes a single value, not a ", value.IsMap() ? "section" : "list");
    const std::string text = list ? flow_text(value) : value.IsNull() ? "" : value.Scalar();
    if (!own.emplace(key, Given{text, at}).second) {
      user_error(at, ": '", key, "' is given twice (first at ", own.at(key).place, "); remove one");
    }
  }

  const KnownKeys& known_;
  std::vector<std::string> chain_;       // files being read, base last
  std::set<std::string> sections_seen_;  // in the file whose keys are being read
};

constexpr const char* kCommandLine = "command line";

std::vector<Override> parse_overrides(const std::vector<std::string>& texts) {
  std::vector<Override> overrides;
  for (const std::string& text : texts) {
    const auto equals = text.find('=');
    if (equals == std::string::npos || equals == 0)
      user_error("command line: '", text, "' is not an override; write key=value, such as train.steps=1000");
    overrides.push_back({text.substr(0, equals), text.substr(equals + 1), kCommandLine});
  }
  return overrides;
}

GivenKeys read_keys(const std::vector<fs::path>& files, const std::vector<Override>& overrides) {
  const KnownKeys known;
  GivenKeys given;
  for (const fs::path& file : files) FileReader(known).read(file, "", given);
  for (const auto& [key, value, place] : overrides) {
    if (key == "extends") user_error(place, ": 'extends' is for files; name the other file as the config instead");
    if (known.is_section(key))
      user_error(place, ": '", key, "' is a section; name one of its keys, '", key, ".KEY=VALUE'");
    if (!known.is_key(key)) known.unknown(place, key);
    if (find_invalid_utf8(value)) user_error(place, ": the value of '", key, "' is not UTF-8 text");
    replace(given, key, {value, place});
  }
  return given;
}

GivenKeys read_keys(const fs::path& file, const std::vector<std::string>& overrides) {
  return read_keys(std::vector<fs::path>{file}, parse_overrides(overrides));
}

void set_field(const Field& field, const Given& given) {
  try {
    if (given.value.empty() && field.type != "path" && !field.is_list) user_error("'", field.key, "' has no value");
    field.set(given.value);
  } catch (const UserError& error) {
    user_error(given.place, ": ", error.what());
  }
}

// What the official code does where this project's own defaults differ or might come to differ.
void apply_parity_defaults(RunConfig& config) {
  if (config.parity != Parity::kTttLmJax) return;
  config.train.loss_average = LossAverage::kSequences;
  config.optim.end_lr = 1e-5;
  config.optim.beta1 = 0.9;
  config.optim.beta2 = 0.95;
  config.optim.eps = 1e-8;
  config.optim.weight_decay = 0.1;
  config.optim.decay_on = DecayOn::kAll;
  config.optim.clip_grad_norm = 1.0;
  config.model.mini_batch_size = 16;
  config.model.rope_theta = 10000.0;
}

// The rules below and RunConfig::micro_batch(), in words, for explain_config.
const std::map<std::string, std::string> kDerived = {
    {"model.backbone", "by model.mixer"},
    {"model.head_dim", "hidden_size / num_heads"},
    {"model.pre_conv", "by model.mixer and model.backbone"},
    {"model.ttt_base_lr", "the paper's for model.mixer"},
    {"model.ttt_base_lr_init", "the paper's for model.mixer"},
    {"train.micro_batch", "the largest divisor of a step's sequences with at most 8192 tokens; on a GPU by its size"},
    {kEvalSamples, "131072 tokens in samples of train.context"},
    {"optim.warmup_steps", "a tenth of the decay"},
    {"optim.end_lr", "at most optim.lr"},
};

// Defaults that depend on other fields, for keys that were not given.
void resolve_model(ModelConfig& model, const GivenKeys& given) {
  if (!given.count("model.backbone") && !model.has_ttt()) model.backbone = Backbone::kTransformer;
  if (!given.count("model.pre_conv")) model.pre_conv = model.has_ttt() && model.backbone == Backbone::kMamba;
  for (const MixerKind kind : model.mixer.kinds()) declaration_of(kind).resolve(model);
  std::set<MixerKind> inner_loops;
  for (const MixerKind kind : model.mixer.kinds())
    if (declaration_of(kind).has_inner_loop()) inner_loops.insert(kind);
  if (inner_loops.size() == 1) {  // of several kinds, the config has to say it
    model.ttt_base_lr_init = model.resolved_ttt_base_lr_init();
    model.ttt_base_lr = model.resolved_ttt_base_lr();
  }
}

void resolve_optim(RunConfig& config, const GivenKeys& given) {
  OptimConfig& optim = config.optim;
  if (!given.count("optim.warmup_steps")) optim.warmup_steps = config.decay_steps() / 10;
  if (!given.count("optim.end_lr")) optim.end_lr = std::min(optim.end_lr, optim.lr);
}

void resolve_eval_samples(RunConfig& config, const GivenKeys& given) {
  TrainConfig& train = config.train;
  const std::int64_t samples = std::max<std::int64_t>(1, kEvalBatchTokens / train.context);
  if (const auto batches = given.find(kEvalBatches); batches != given.end()) {
    const auto& [text, place] = batches->second;
    std::int64_t count = 0;
    if (!parse_integer(text, count) || count < 0 || count > std::numeric_limits<std::int64_t>::max() / samples)
      user_error(place, ": '", kEvalBatches, "' must be an integer of at least 0, not '", text, "'");
    train.eval_samples = count * samples;
  } else if (!given.count(kEvalSamples)) {
    train.eval_samples = std::max<std::int64_t>(1, 16 * kEvalBatchTokens / train.context);
  }
}

RunConfig assemble(const GivenKeys& given) {
  RunConfig config;
  const std::vector<Field> fields = fields_of(config);
  if (const auto parity = given.find("parity"); parity != given.end()) {
    for (const Field& field : fields) {
      if (field.key == "parity") set_field(field, parity->second);
    }
    apply_parity_defaults(config);
  }
  for (const Field& field : fields) {
    if (const auto found = given.find(field.key); found != given.end()) set_field(field, found->second);
  }
  resolve_model(config.model, given);
  resolve_optim(config, given);
  resolve_eval_samples(config, given);
  return config;
}

// Runs a check and puts the file before its message.
template <class Check>
void check_in(const fs::path& file, Check&& check) {
  try {
    check();
  } catch (const UserError& error) {
    user_error(file.string(), ": ", error.what());
  }
}

std::string to_yaml(const std::vector<Field>& fields) {
  std::string out, section;
  for (const Field& field : fields) {
    const std::string own = section_of(field.key);
    if (own != section && !own.empty()) out += own + ":\n";
    section = own;
    out += cat(own.empty() ? "" : "  ", leaf_of(field.key), ": ",
               field.is_list ? field.get() : flow_scalar(field.get()), "\n");
  }
  return out;
}

}  // namespace

RunConfig load_run_config(const fs::path& file, const std::vector<std::string>& overrides) {
  RunConfig config = assemble(read_keys(file, overrides));
  check_in(file, [&] { validate(config); });
  return config;
}

RunConfig load_run_config(const std::vector<fs::path>& files, const std::vector<Override>& overrides) {
  RunConfig config = assemble(read_keys(files, overrides));
  validate(config);
  return config;
}

RunConfig load_partial_config(const fs::path& file, const std::vector<std::string>& overrides) {
  RunConfig config = assemble(read_keys(file, overrides));
  check_in(file, [&] { validate_settings(config); });
  return config;
}

std::vector<ResolvedKey> explain_config(const fs::path& file, const std::vector<std::string>& overrides) {
  const GivenKeys given = read_keys(file, overrides);
  RunConfig config = load_partial_config(file, overrides);
  config.train.micro_batch = config.micro_batch();
  RunConfig defaults, with_parity;
  with_parity.parity = config.parity;
  apply_parity_defaults(with_parity);
  const std::vector<Field> fields = fields_of(config), parity_fields = fields_of(with_parity),
                           default_fields = fields_of(defaults);
  std::vector<ResolvedKey> keys;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const std::string value = fields[i].get(), by_parity = parity_fields[i].get(), by_default = default_fields[i].get();
    const auto found = given.find(fields[i].key);
    const auto batches = given.find(kEvalBatches);
    const auto derived = kDerived.find(fields[i].key);
    const std::string rule = derived == kDerived.end() ? "" : cat("derived: ", derived->second);
    std::string origin = "default";
    if (fields[i].key == kEvalSamples && batches != given.end()) {
      origin =
          cat(batches->second.place, " (eval_batches ", batches->second.value, ", of ", kEvalBatchTokens, " tokens)");
    } else if (found != given.end()) {
      default_fields[i].set(found->second.value);
      const bool as_given = value == default_fields[i].get();
      origin = as_given ? found->second.place : cat(rule, " (", found->second.place, " leaves it open)");
    } else if (value == by_parity && by_parity != by_default) {
      origin = "parity: ttt-lm-jax";
    } else if (!rule.empty() && (value != by_default || fields[i].key != "optim.end_lr")) {
      origin = rule;
    }
    keys.push_back({fields[i].key, value, origin});
  }
  return keys;
}

ModelConfig load_model_config(const fs::path& file, const std::vector<std::string>& overrides) {
  const ModelConfig model = assemble(read_keys(file, overrides)).model;
  check_in(file, [&] { validate(model); });
  return model;
}

std::optional<std::string> config_value(const fs::path& file, const std::string& key) {
  const GivenKeys given = read_keys(file, {});
  const auto found = given.find(key);
  return found == given.end() ? std::nullopt : std::optional(found->second.value);
}

std::string to_yaml(const RunConfig& config) {
  RunConfig copy = config;
  return to_yaml(fields_of(copy));
}

std::string to_yaml(const ModelConfig& config) {
  ModelConfig copy = config;
  return to_yaml(fields_of(copy));
}

std::vector<FieldDifference> diff(const RunConfig& a, const RunConfig& b) {
  RunConfig copy_a = a, copy_b = b;
  const std::vector<Field> fields_a = fields_of(copy_a), fields_b = fields_of(copy_b);
  std::vector<FieldDifference> differences;
  for (std::size_t i = 0; i < fields_a.size(); ++i) {
    const std::string value_a = fields_a[i].get(), value_b = fields_b[i].get();
    if (value_a != value_b) differences.push_back({fields_a[i].key, value_a, value_b});
  }
  return differences;
}

}  // namespace ttt
