// What the fuzz targets share. A target gives any bytes to a reader, which may take them or refuse them with an Error;
// whatever else happens (another exception, a sanitizer's report, a huge allocation, a hang) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "support/scratch_folder.h"

namespace ttt {

// A folder of the process's own, for readers that read files.
inline const fs::path& scratch() {
  static const ScratchFolder folder;
  return folder.path();
}

inline void write_bytes(const fs::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// Takes the first part of the input off it: two bytes say how long it is.
inline std::string_view take_part(std::string_view& input) {
  if (input.size() < 2) return {};
  const std::size_t size =
      static_cast<unsigned char>(input[0]) | static_cast<std::size_t>(static_cast<unsigned char>(input[1])) << 8;
  input.remove_prefix(2);
  const std::string_view part = input.substr(0, size);
  input.remove_prefix(part.size());
  return part;
}

template <class Reader>
void expect_error_or_result(Reader&& reader) {
  try {
    reader();
  } catch (const Error&) {  // and UserError: a refusal
  }
}

}  // namespace ttt
