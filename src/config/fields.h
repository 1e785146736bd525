// A config field is declared once: key, where it lives, bound, unit, one line of help. Parsing, dumping, help and diffs
// of configs all come from that declaration.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/run_config.h"

namespace ttt {

// One declared field, bound to a RunConfig object.
struct Field {
  std::string key;   // dotted path, "train.batch_tokens"
  std::string type;  // "integer", "number", "true | false", "text", "path", the choices "a | b | c", or "list of ..."
  std::string unit;  // "tokens", "steps", ... or ""
  std::string help;  // one line
  // Parses and checks the bound; throws UserError that says what is allowed.
  std::function<void(const std::string& text)> set;
  std::function<std::string()> get;  // as set() takes it: set(get()) changes nothing
  bool is_list = false;              // set() also takes YAML in flow style, "[a, b]"; a file may give a list
  bool is_map = false;               // likewise "{a: b}"; is_list is set as well
};

// The fields of `config`, in order of declaration, bound to that object (which must outlive them).
std::vector<Field> fields_of(RunConfig& config);
// Those of the section `model:` alone, with keys "model.mixer", ...
std::vector<Field> fields_of(ModelConfig& config);

// "524288", "524_288", "512Ki", "0.5M", "1e6": an exact integer with decimal (k, M, G) or binary (Ki, Mi, Gi) units.
// Returns false for any other text and for a value that is not whole or does not fit.
bool parse_integer(const std::string& text, std::int64_t& value);

}  // namespace ttt
