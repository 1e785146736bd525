// What the tests of sweeps share: a scratch folder with a base config, sweep files in it, and a shell script in the place
// of `ttt train`.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <sstream>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "support/user_error.h"
#include "sweep/record.h"
#include "sweep/runner.h"
#include "sweep/spec.h"

namespace ttt {

constexpr const char* kBase =
    "model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}\n"
    "data: {train: tokens}\n"
    "train: {context: 64, batch_tokens: 256, steps: 10}\n";

class SweepTest : public testing::Test {
 protected:
  SweepTest() : folder_(fs::temp_directory_path() / cat("ttt_sweep_test_", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    write("base.yaml", kBase);
    write("wide.yaml", "model: {hidden_size: 64}\n");
    write("narrow.yaml", "model: {hidden_size: 16}\n");
  }
  ~SweepTest() override { fs::remove_all(folder_); }

  fs::path write(const std::string& name, const std::string& content) {
    fs::create_directories((folder_ / name).parent_path());
    write_file_atomically(folder_ / name, content);
    return folder_ / name;
  }

  Sweep sweep(const std::string& content, const std::vector<std::string>& overrides = {}) {
    return read_sweep(write("sweep.yaml", "output_dir: " + (folder_ / "out").string() + "\n" + content), overrides);
  }

  std::string error_of(const std::string& content, const std::vector<std::string>& overrides = {}) {
    return user_error_of(folder_, [&] { sweep(content, overrides); });
  }

  // A program that is called as `PROGRAM train CONFIG.yaml`; `body` is shell, with $out the run's output_dir.
  fs::path program(const std::string& body) {
    const fs::path path = write("program.sh", "#!/bin/bash\nout=$(sed -n 's/^output_dir: //p' \"$2\")\n" + body);
    fs::permissions(path, fs::perms::owner_all);
    return path;
  }

  static std::vector<const SweepRun*> all(const Sweep& sweep) {
    std::vector<const SweepRun*> runs;
    for (const SweepRun& run : sweep.runs) runs.push_back(&run);
    return runs;
  }

  static std::vector<Json> runs_file(const Sweep& sweep) {
    std::vector<Json> lines;
    std::istringstream in(read_file(sweep.output_dir / "runs.jsonl"));
    for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
    return lines;
  }

  fs::path folder_;
};

constexpr const char* kFinishes =
    "echo '{\"kind\":\"train\",\"step\":10,\"tokens\":2560,\"loss\":3,\"tokens_per_second\":1000}' "
    ">\"$out/metrics.jsonl\"\n"
    "echo '{\"kind\":\"valid\",\"step\":10,\"loss\":2.5,\"perplexity\":12.18,\"bits_per_byte\":1.5}' "
    ">>\"$out/metrics.jsonl\"\n"
    "echo x >>\"$out/starts\"\n";

}  // namespace ttt
