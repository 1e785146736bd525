// Reading a YAML file.
#pragma once

#include <yaml-cpp/yaml.h>

#include "base/files.h"

namespace ttt {

// The file's one document; null when it is empty. Throws UserError with the file and the line for text that is not
// UTF-8, that is not YAML or that holds several documents.
YAML::Node read_yaml(const fs::path& file);

}  // namespace ttt
