// JSON for the project: nlohmann's, keys in order of insertion when written.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace ttt {

using Json = nlohmann::ordered_json;

// As one line of output. JSON is UTF-8, paths need not be: each byte of one that is not becomes U+FFFD.
inline std::string to_line(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace ttt
