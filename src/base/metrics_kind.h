// What a line of metrics.jsonl is about, for all who read that file.
#pragma once

#include <string>

#include "base/json.h"

namespace ttt {

// The key `kind`, "train" for one; "" for a line that was cut off or damaged, also what Json::parse without exceptions
// returns for it.
inline std::string kind_of(const Json& line) {
  const auto kind = line.find("kind");
  return kind != line.end() && kind->is_string() ? kind->get<std::string>() : "";
}

}  // namespace ttt
