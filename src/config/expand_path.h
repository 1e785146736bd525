// `~` and `${VAR}` in the paths of a config, as a shell would read them.
#pragma once

#include <string>

namespace ttt {

// "~" and "~/..." begin with the home folder; "${VAR}" is the environment's VAR, anywhere. All else is as written.
// Throws UserError naming `key` for a variable that is not set, and for a "${" without an end.
std::string expand_path(const std::string& key, const std::string& text);

}  // namespace ttt
