// `ttt train --help-config`: every key of a config.
#pragma once

#include <string>

#include "base/json.h"

namespace ttt {

// Grouped by section, at most 100 columns wide: key, default, meaning, type and unit.
std::string config_keys_text();

// [{"key", "type", "unit", "default", "help"}, ...]
Json config_keys_json();

}  // namespace ttt
