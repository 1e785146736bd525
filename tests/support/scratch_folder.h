// A folder of a test's own, gone when the test is.
#pragma once

#include <unistd.h>

#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/files.h"

namespace ttt {

class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (fs::temp_directory_path() / ("ttt_test_" + std::string(6, 'X'))).string();  // mkdtemp's
    if (mkdtemp(pattern.data()) == nullptr) fail("cannot make a scratch folder");
    path_ = pattern;
  }
  ~ScratchFolder() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;

  fs::path operator/(const std::string& name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

  // Writes a file, its folders included.
  fs::path write(const std::string& name, std::string_view content) const {
    const fs::path path = path_ / name;
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << content;  // without an fsync each
    return path;
  }

 private:
  fs::path path_;
};

}  // namespace ttt
