// YAML files to configs: `extends:` a base, strict keys with file, line and the nearest valid key, `key=value`
// overrides.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/run_config.h"

namespace ttt {

// A run config: the file (its `extends:` chain first, base before derived, paths relative to the file that names them),
// then `parity`'s defaults under every key that was not given, then overrides "key=value", then validate(). Throws
// UserError: "FILE:LINE: unknown key 'train.contxt'; did you mean 'train.context'?".
RunConfig load_run_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// A value that is not given in a config file; `place` says where, for messages ("command line", "sweep.yaml:12").
struct Override {
  std::string key, value, place;
};

// As above from several files, the later before the earlier, and values from elsewhere. For `ttt sweep`.
RunConfig load_run_config(const std::vector<std::filesystem::path>& files, const std::vector<Override>& overrides);

// A config that is only looked at (`ttt plan`, `ttt config`): as load_run_config, but data.train and output_dir may be
// missing, so that a file with a section `model:` alone will do.
RunConfig load_partial_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// Where each key's value comes from, in order of declaration.
struct ResolvedKey {
  std::string key, value;
  // "FILE:LINE", "command line", "default", "parity ttt-lm-jax", or "derived: RULE" where it follows from other keys.
  std::string origin;
};
std::vector<ResolvedKey> explain_config(const std::filesystem::path& file,
                                        const std::vector<std::string>& overrides = {});

// Only the section `model:` of a file (other sections are allowed and checked for unknown keys, but need not be
// complete).
ModelConfig load_model_config(const std::filesystem::path& file, const std::vector<std::string>& overrides = {});

// The value that a file (its `extends:` chain included) gives to a key, as written; nothing when the key is not given.
std::optional<std::string> config_value(const std::filesystem::path& file, const std::string& key);

// The whole config as YAML, every key with its resolved value; load_run_config of it gives the same config.
std::string to_yaml(const RunConfig& config);
std::string to_yaml(const ModelConfig& config);  // the section `model:`

// One line a field whose value differs: (key, value in a, value in b).
struct FieldDifference {
  std::string key, a, b;
};
std::vector<FieldDifference> diff(const RunConfig& a, const RunConfig& b);

// The candidate nearest to `word` by edit distance, or "" when none is near. For did-you-mean messages.
std::string nearest(const std::string& word, const std::vector<std::string>& candidates);

// For a path that does not exist: the nearest one that does, each misspelt part replaced by the nearest name in its
// folder, or "" when none is near.
std::string nearest_path(const std::filesystem::path& path);

}  // namespace ttt
