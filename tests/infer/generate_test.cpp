// generate(): greedy equals the argmax of full forward passes, seeds, limits; TextStream; loading a checkpoint folder.
#include "infer/generate.h"

#include <gtest/gtest.h>
#include <torch/types.h>
#include <torch/utils.h>

#include "base/utf8.h"
#include "checkpoint/checkpoint.h"
#include "config/load.h"
#include "infer/evaluate.h"
#include "infer/fixture.h"
#include "infer/load_model.h"
#include "model/layout.h"

namespace ttt {
namespace {

class GenerateTest : public InferTest, public testing::WithParamInterface<MixerKind> {};

// The likeliest next token by one forward pass over the whole sequence, without any state.
std::int32_t next_by_forward(LanguageModel& model, const std::vector<std::int32_t>& tokens) {
  torch::NoGradGuard no_grad;
  const std::vector<std::int64_t> input(tokens.begin(), tokens.end());
  const torch::Tensor hidden = model.hidden(torch::tensor(input, torch::kInt64).unsqueeze(0), ForwardContext{});
  return static_cast<std::int32_t>(model.logits(hidden)[0][-1].argmax().item<std::int64_t>());
}

TEST_P(GenerateTest, GreedyIsTheArgmaxOfTheForwardPass) {
  LanguageModel model(tiny(GetParam()), 11);
  std::vector<std::int32_t> tokens = random_tokens(7, 37, 1);
  const std::vector<std::int32_t> prompt = tokens;
  std::vector<std::int32_t> streamed;
  const GenerateResult result = generate(model, prompt, {.max_tokens = 9, .sampling = {.temperature = 0}},
                                         [&](std::int32_t token) { streamed.push_back(token); });
  ASSERT_EQ(result.tokens.size(), 9u);
  EXPECT_EQ(streamed, result.tokens);
  for (const std::int32_t token : result.tokens) {
    EXPECT_EQ(token, next_by_forward(model, tokens)) << "at " << tokens.size();
    tokens.push_back(token);
  }
  EXPECT_GT(result.state_bytes, 0);
}

TEST_P(GenerateTest, TheSeedDecidesTheText) {
  LanguageModel model(tiny(GetParam()), 11);
  const auto sample = [&](std::uint64_t seed) {
    return generate(model, {1, 2, 3}, {.max_tokens = 24, .sampling = {.top_k = 20}, .seed = seed}).tokens;
  };
  EXPECT_EQ(sample(5), sample(5));
  EXPECT_NE(sample(5), sample(6));
}

INSTANTIATE_TEST_SUITE_P(Mixers, GenerateTest,
                         testing::Values(MixerKind::kAttention, MixerKind::kTttLinear, MixerKind::kTttMlp),
                         [](const auto& mixer) { return std::string(to_string(mixer.param)); });

class GenerateLimits : public InferTest {};

TEST_F(GenerateLimits, StopsBeforeEos) {
  LanguageModel model(tiny(MixerKind::kTttLinear), 11);
  const std::vector<std::int32_t> all = generate(model, {1, 2, 3}, {.max_tokens = 12, .seed = 3}).tokens;
  const std::int32_t eos = all[5];
  const auto first = static_cast<std::size_t>(std::find(all.begin(), all.end(), eos) - all.begin());
  const GenerateResult result = generate(model, {1, 2, 3}, {.max_tokens = 12, .seed = 3, .eos_id = eos});
  EXPECT_TRUE(result.ended_by_eos);
  EXPECT_EQ(result.tokens, std::vector<std::int32_t>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(first)));
}

TEST_F(GenerateLimits, OnlyFullAttentionHasALongestPrompt) {
  LanguageModel attention(tiny(MixerKind::kAttention), 1);
  LanguageModel linear(tiny(MixerKind::kTttLinear), 1);
  const std::vector<std::int32_t> prompt = random_tokens(10, 37, 1);
  const auto options = [](std::int64_t max_tokens, std::int64_t context) {
    return GenerateOptions{.max_tokens = max_tokens, .max_context = context};
  };
  EXPECT_EQ(generate(attention, prompt, options(6, 16)).tokens.size(), 6u);
  EXPECT_THROW(generate(attention, prompt, options(7, 16)), UserError);
  EXPECT_THROW(generate(attention, prompt, options(1, 10)), UserError);
  EXPECT_EQ(generate(linear, prompt, options(20, 16)).tokens.size(), 20u);
  EXPECT_THROW(generate(linear, {}, options(1, 16)), UserError);
}

TEST_F(GenerateLimits, TttStateDoesNotGrow) {
  LanguageModel linear(tiny(MixerKind::kTttLinear), 1);
  const auto bytes = [&](std::size_t prompt) {
    return generate(linear, random_tokens(prompt, 37, 1), {.max_tokens = 1}).state_bytes;
  };
  EXPECT_EQ(bytes(3), bytes(300));
}

class TextStreamTest : public InferTest {
 protected:
  TextStreamTest() {
    std::string text;
    for (int i = 0; i < 200; ++i) text += cat("some words and number ", i, "\n");
    write_file_atomically(folder_ / "text.txt", text);
    train_small_tokenizer(folder_ / "text.txt", folder_ / "t.model", 300);
    tokenizer_.emplace(folder_ / "t.model");
  }
  // Streams ids; every piece must be whole UTF-8.
  std::string stream(const std::vector<std::int32_t>& ids, std::vector<std::string>* pieces = nullptr) {
    TextStream stream(*tokenizer_, tokenizer_->encode("some"));
    std::string text;
    for (const std::int32_t id : ids) {
      const std::string piece = stream.push(id);
      EXPECT_FALSE(find_invalid_utf8(piece).has_value());
      if (pieces) pieces->push_back(piece);
      text += piece;
    }
    return text + stream.finish();
  }
  std::optional<Tokenizer> tokenizer_;
};

TEST_F(TextStreamTest, GivesTheTextBack) {
  // Greek, an emoji and U+2581 are byte pieces: this tokenizer never saw them.
  const std::string text =
      " words \xce\xb1\xce\xb2 and \xf0\x9f\x98\x80\xf0\x9f\x98\x80 number \xe2\x96\x81 \xe2\x82\xac\n\n7";
  EXPECT_EQ(stream(tokenizer_->encode(text)), text);
}

TEST_F(TextStreamTest, HoldsBackAnUnfinishedCharacter) {
  const std::string emoji = "\xf0\x9f\x98\x80";
  const std::vector<std::int32_t> ids = tokenizer_->encode(emoji);
  ASSERT_EQ(ids.size(), 4u);
  std::vector<std::string> pieces;
  stream(ids, &pieces);
  EXPECT_EQ(pieces, (std::vector<std::string>{"", "", "", emoji}));
}

TEST_F(TextStreamTest, ReplacesWhatIsNoCharacter) {
  const std::string replacement = "\xEF\xBF\xBD", emoji = "\xf0\x9f\x98\x80";
  const std::vector<std::int32_t> ids = tokenizer_->encode(emoji);
  EXPECT_EQ(stream({ids[0], ids[1]}), replacement + replacement);  // cut off at the end
  std::vector<std::int32_t> stray = {ids[1]};                      // a continuation byte before a good character
  stray.insert(stray.end(), ids.begin(), ids.end());
  EXPECT_EQ(stream(stray), replacement + emoji);
  std::vector<std::int32_t> broken = {ids[0], ids[1]};  // a character broken off by a letter
  const std::vector<std::int32_t> letter = tokenizer_->encode("w");
  broken.insert(broken.end(), letter.begin(), letter.end());
  EXPECT_EQ(stream(broken), replacement + replacement + "w");
}

class LoadModelTest : public InferTest {
 protected:
  // A model-only checkpoint at `path`.
  static Checkpoint checkpoint_of(const LanguageModel& model, const std::string& config_yaml) {
    Checkpoint checkpoint;
    checkpoint.model = export_parameters(model);
    checkpoint.hf_config = hugging_face_config(model.config());
    checkpoint.config_yaml = config_yaml;
    return checkpoint;
  }
  static bool same(const LanguageModel& a, const LanguageModel& b) {
    const auto pa = a.named_parameters(), pb = b.named_parameters();
    if (pa.size() != pb.size()) return false;
    for (const auto& item : pa) {
      if (!torch::equal(item.value(), pb[item.key()])) return false;
    }
    return true;
  }
};

TEST_F(LoadModelTest, TakesTheNewestOfARunOrTheFolderItself) {
  ModelConfig config = tiny(MixerKind::kTttMlp);
  config.ttt_base_lr = config.resolved_ttt_base_lr();  // as loading a config leaves them
  config.ttt_base_lr_init = config.resolved_ttt_base_lr_init();
  const LanguageModel older(config, 1), newer(config, 2);
  const std::string yaml = to_yaml(config) + "train:\n  context: 48\n";
  const fs::path root = folder_ / "run" / "checkpoints";
  fs::create_directories(root);
  write_checkpoint(checkpoint_path(root, 5), checkpoint_of(older, yaml));
  write_checkpoint(checkpoint_path(root, 10), checkpoint_of(newer, yaml));
  fs::create_directories(root / "step_00000020.tmp");

  const LoadedModel of_run = load_model(folder_ / "run", torch::kCPU);
  EXPECT_TRUE(same(*of_run.model, newer));
  EXPECT_EQ(of_run.model->config(), config);
  EXPECT_EQ(of_run.trained_context, 48);
  EXPECT_FALSE(of_run.tokenizer.has_value());
  EXPECT_EQ(of_run.directory, checkpoint_path(root, 10));
  EXPECT_TRUE(same(*load_model(root, torch::kCPU).model, newer));
  EXPECT_TRUE(same(*load_model(checkpoint_path(root, 5), torch::kCPU).model, older));
}

TEST_F(LoadModelTest, ReadsHuggingFacesConfigWithoutOurs) {
  const LanguageModel model(tiny(MixerKind::kTttLinear), 1);
  write_checkpoint(folder_ / "hf", checkpoint_of(model, ""));
  const LoadedModel loaded = load_model(folder_ / "hf", torch::kCPU);
  EXPECT_TRUE(same(*loaded.model, model));
  EXPECT_EQ(loaded.trained_context, std::nullopt);
}

TEST_F(LoadModelTest, RefusesWhatIsNoCheckpoint) {
  EXPECT_THROW(load_model(folder_ / "none", torch::kCPU), UserError);
  EXPECT_THROW(load_model(folder_, torch::kCPU), UserError);  // an empty folder
  write_file_atomically(folder_ / "file", "x");
  EXPECT_THROW(load_model(folder_ / "file", torch::kCPU), UserError);
}

TEST_F(LoadModelTest, AHuggingFaceFolderIsToBeConverted) {
  for (const char* weights : {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin"}) {
    const fs::path folder = folder_ / weights;
    fs::create_directories(folder);
    write_file_atomically(folder / "config.json", "{}");
    write_file_atomically(folder / weights, "x");
    try {
      load_model(folder, torch::kCPU);
      ADD_FAILURE() << weights << " was taken";
    } catch (const UserError& error) {
      EXPECT_EQ(std::string(error.what()),
                cat("'", folder.string(),
                    "' is a Hugging Face folder and no checkpoint; make one of it with `ttt convert "
                    "--from huggingface --input ",
                    folder.string(), " --output DIR`"));
    }
  }
}

// A vocabulary that is padded beyond the tokenizer's pieces: the rest is never generated, a larger tokenizer refused.
TEST_F(LoadModelTest, APaddedVocabularyAndItsTokenizer) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += cat("int value_", i, " = ", i * i, ";\n");
  write_file_atomically(folder_ / "text.txt", text);
  train_small_tokenizer(folder_ / "text.txt", folder_ / "t.model", 300);
  for (const std::int64_t vocab_size : {320, 300, 299}) {
    Checkpoint checkpoint = checkpoint_of(LanguageModel(tiny(MixerKind::kTttLinear, vocab_size), 1), "");
    checkpoint.tokenizer = read_file(folder_ / "t.model");
    const fs::path folder = folder_ / cat("padded", vocab_size);
    write_checkpoint(folder, checkpoint);
    if (vocab_size < 300) {
      EXPECT_THROW(load_model(folder, torch::kCPU), UserError);
      continue;
    }
    const LoadedModel loaded = load_model(folder, torch::kCPU);
    GenerateOptions options;
    options.max_tokens = 200;
    options.sampling.temperature = 50;  // every id is as likely as any other
    const auto largest = [&] {
      const GenerateResult result = generate(*loaded.model, {5, 6}, options);
      return *std::max_element(result.tokens.begin(), result.tokens.end());
    };
    EXPECT_EQ(largest() >= 300, vocab_size > 300);
    options.vocab_size = loaded.tokenizer->vocab_size();
    EXPECT_LT(largest(), 300);
    // Data of that tokenizer are scored; data of another vocabulary only where it is said to be the same tokenizer's.
    const Dataset data(prepare(random_tokens(40, 300, 7), 300));
    EXPECT_EQ(evaluate(*loaded.model, data, {.context = 10, .padded_vocabulary = true}).tokens, 39);
    if (vocab_size > 300) {
      EXPECT_THROW(evaluate(*loaded.model, data, {.context = 10}), UserError);
    }
  }
}

}  // namespace
}  // namespace ttt
