// What the tests of this layer share: a scratch folder, a tiny model, a token set, a tokenizer.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "arch/model_config.h"
#include "base/error.h"
#include "base/files.h"
#include "base/rng.h"
#include "data/prepare.h"
#include "support/small_model.h"
#include "tokenizer/tokenizer.h"

namespace ttt {

class InferTest : public testing::Test {
 protected:
  InferTest() : folder_(fs::temp_directory_path() / cat("ttt_infer_test_", getpid())) {
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  ~InferTest() override { fs::remove_all(folder_); }

  static ModelConfig tiny(MixerKind mixer, std::int64_t vocab_size = 37) {
    ModelConfig config = small_model(mixer);
    config.pre_conv = mixer != MixerKind::kAttention;
    config.vocab_size = vocab_size;
    config.hidden_size = 16;
    config.num_heads = 2;
    config.mini_batch_size = 4;
    return config;
  }

  static std::vector<std::int32_t> random_tokens(std::size_t count, std::int64_t vocab_size, std::uint64_t seed) {
    CounterRng rng(seed);
    std::vector<std::int32_t> tokens;
    while (tokens.size() < count)
      tokens.push_back(static_cast<std::int32_t>(rng.next() % static_cast<std::uint64_t>(vocab_size)));
    return tokens;
  }

  // A prepared set of exactly these tokens.
  fs::path prepare(const std::vector<std::int32_t>& tokens, std::int64_t vocab_size,
                   std::optional<std::int32_t> bos_id = {}, const fs::path& tokenizer = {}) {
    std::string header = cat("{'descr': '<i4', 'fortran_order': False, 'shape': (", tokens.size(), ",), }");
    header.resize(128 - 10 - 1, ' ');
    header += '\n';
    std::string npy = std::string("\x93NUMPY\x01\x00", 8) + static_cast<char>(header.size()) + '\0' + header;
    npy.append(reinterpret_cast<const char*>(tokens.data()), tokens.size() * sizeof tokens[0]);
    write_file_atomically(folder_ / "tokens.npy", npy);
    PrepareTokens options;
    options.input = folder_ / "tokens.npy";
    options.vocab_size = vocab_size;
    options.bos_id = bos_id;
    options.tokenizer = tokenizer;
    options.output = folder_ / cat("set", sets_++);
    prepare_tokens(options);
    return options.output;
  }

  static void train_small_tokenizer(const fs::path& text, const fs::path& output, std::int64_t vocab_size) {
    TokenizerTraining training;
    training.inputs = {text};
    training.output = output;
    training.vocab_size = vocab_size;
    train_tokenizer(training);
  }

  fs::path folder_;
  int sets_ = 0;
};

}  // namespace ttt
