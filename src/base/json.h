// JSON for the project: nlohmann's, keys in order of insertion when written.
#pragma once

#include <nlohmann/json.hpp>

namespace ttt {
using Json = nlohmann::ordered_json;
}
