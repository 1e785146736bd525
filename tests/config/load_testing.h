// A folder for the tests of config files, and what loading says.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "config/load.h"
#include "support/user_error.h"

namespace ttt {

// A folder of config files that is gone after the test.
class LoadTest : public testing::Test {
 protected:
  LoadTest() : folder_(fs::temp_directory_path() / cat("ttt_load_test_", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~LoadTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    const fs::path path = folder_ / name;
    fs::create_directories(path.parent_path());
    write_file_atomically(path, content);
    return path;
  }

  // A run config that is right as it is, plus `more` behind it.
  fs::path write_run(const std::string& more, const std::string& name = "run.yaml") {
    return write(name, "data: {train: tokens}\noutput_dir: out\n" + more);
  }

  // The message of the error that loading `content` gives, with the folder's name cut out.
  std::string error_of(const std::string& content, const std::vector<std::string>& overrides = {}) {
    return message([&] { load_run_config(write("run.yaml", content), overrides); });
  }

  template <class Action>
  std::string message(Action&& action) {
    return user_error_of(folder_, action);
  }

  fs::path folder_;
};

}  // namespace ttt
