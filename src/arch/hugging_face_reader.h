// Typed access to the keys of a Hugging Face config.json, with messages that name file and key.
#pragma once

#include <cstdint>
#include <set>
#include <string>

#include "base/json.h"

namespace ttt {

// Null is as good as absent. Every method throws UserError where the file has another type of value, or one that this
// program has no counterpart of.
class HuggingFaceReader {
 public:
  HuggingFaceReader(const Json& json, const std::string& source);

  const std::string& source() const { return source_; }  // the file
  bool has(const char* key) const;
  const Json& value(const char* key) const { return json_[key]; }  // of a key that there is

  std::int64_t integer(const char* key) const;
  std::int64_t positive(const char* key) const;  // up to 2^30
  double number(const char* key, double fallback) const;
  bool boolean(const char* key, bool fallback) const;
  std::string text(const char* key, const std::string& fallback) const;
  bool is_text(const char* key) const { return has(key) && json_[key].is_string(); }

  // This program has one value for the key; files with another cannot be loaded.
  void only(const char* key, bool equal, const std::string& supported) const;
  // The same for keys that need not be there.
  void only_value(const char* key, const Json& supported) const;
  void only_number(const char* key, double supported, double fallback) const;

  // RoPE's base: a key of its own, or inside of rope_parameters, where transformers 5 has it with the scaling.
  double rope_theta() const;

  // After all reading: what is left would be passed over, and might change the model. Keys that are known to be
  // harmless, and names that begin with '_', may stay.
  void check_nothing_is_left() const;

 private:
  void require(const char* key, bool holds, const char* what) const;

  const Json& json_;
  const std::string& source_;
  mutable std::set<std::string> asked_;
};

}  // namespace ttt
