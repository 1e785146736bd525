// What `ttt inspect` reports, each report a JSON object whose "problems" lists what is damaged, and how it is printed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/json.h"

namespace ttt {

// Stretches of a data set that are decoded, at random places.
struct InspectWindows {
  std::int64_t count = 2;
  std::int64_t tokens = 64;
  std::uint64_t seed = 0;
};

bool is_data(const std::filesystem::path& path);        // a data set, a folder of train/ and valid/, or of domains
bool is_checkpoint(const std::filesystem::path& path);  // a checkpoint folder
bool is_run(const std::filesystem::path& path);

// Throw UserError when the folder is not what the name says.
Json inspect_data(const std::filesystem::path& path, const InspectWindows& windows);
Json inspect_checkpoint(const std::filesystem::path& path);  // of a run folder: its newest one
Json inspect_run(const std::filesystem::path& path);

void print_data(const Json& report);
void print_checkpoint(const Json& report, bool every_tensor);

// A string as it is, null as "none", anything else as JSON.
std::string plain(const Json& value);

}  // namespace ttt
