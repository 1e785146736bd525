// ttt --version: what this program was built from and with.
#pragma once

#include <string>

#include "base/json.h"

namespace ttt {

std::string version_text();
Json version_json();

}  // namespace ttt
