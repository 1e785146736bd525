// `ttt bench peer`: what its numbers are made of, which models it refuses, and how it speaks with the peer. How long
// anything takes is never asserted.
#include "bench/peer_bench.h"

#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "bench/peer_process.h"
#include "support/small_model.h"

namespace ttt {
namespace {

ModelConfig peer_test_model(MixerPattern mixer) {
  ModelConfig config = small_model(std::move(mixer));
  config.pre_conv = false;
  return config;
}

// The sentence with which a call is refused, or fails; "" where it is not.
template <class Exception, class Call>
std::string sentence_of(const Call& call) {
  try {
    call();
  } catch (const Exception& error) {
    return error.what();
  }
  return "";
}

void expect_no_peer(const ModelConfig& config, const std::string& official, const std::string& words) {
  const std::string sentence = sentence_of<UserError>([&] { peer_model(config, 64, official); });
  EXPECT_NE(sentence.find(words), std::string::npos) << "'" << sentence << "' has not '" << words << "'";
}

TEST(PeerBench, RatesAreMediansAndTheRatioThatOfTheRounds) {
  const PeerRates rates = compare_rounds({{{10, 20, 30}, {10}}, {{40}, {10, 30}}, {{30, 50}, {8, 8, 100}}});
  EXPECT_EQ(rates.ratios, (std::vector<double>{2, 2, 5}));
  EXPECT_EQ(rates.ratio.median, 2);
  EXPECT_EQ(rates.ratio.min, 2);
  EXPECT_EQ(rates.ratio.max, 5);
  EXPECT_EQ(rates.ours, 30);  // of 10, 20, 30, 40, 30, 50
  EXPECT_EQ(rates.peer, 10);  // of 10, 10, 30, 8, 8, 100
}

TEST(PeerBench, CountsOfParametersMayDifferByOnePercent) {
  EXPECT_EQ(parameter_warning(1000, 1000), "");
  EXPECT_EQ(parameter_warning(1000, 1010), "");
  EXPECT_EQ(parameter_warning(1000, 990), "");
  EXPECT_EQ(parameter_warning(1000, 1011), "the peer is another model: it has 1011 parameters, and ours 1000");
  EXPECT_NE(parameter_warning(1000, 989), "");
}

TEST(PeerBench, ThePeerHasTheSameSizes) {
  RunConfig config;
  config.model = peer_test_model(MixerKind::kAttention);
  config.train.context = 16;
  config.train.batch_tokens = 64;
  config.train.micro_batch = 2;
  const Json settings = peer_settings(config, {}, /*bf16=*/true, 3);
  EXPECT_EQ(settings["peer"], "LlamaForCausalLM");
  EXPECT_EQ(settings["official"], "");
  EXPECT_EQ(settings["sequences"], 4);
  EXPECT_EQ(settings["micro_batch"], 2);
  EXPECT_EQ(settings["threads"], 3);
  EXPECT_EQ(settings["bf16"], true);
  EXPECT_EQ(settings["betas"].size(), 2U);
  const Json& model = settings["config"];
  EXPECT_EQ(model["vocab_size"], 31);
  EXPECT_EQ(model["hidden_size"], 24);
  EXPECT_EQ(model["num_hidden_layers"], 2);
  EXPECT_EQ(model["num_attention_heads"], 3);
  EXPECT_EQ(model["intermediate_size"], 40);
  EXPECT_EQ(model["tie_word_embeddings"], true);
  EXPECT_EQ(model["max_position_embeddings"], 16);
  EXPECT_EQ(peer_model(peer_test_model(MixerKind::kMamba), 16, "")["architectures"][0], "MambaForCausalLM");
}

TEST(PeerBench, ModelsWithoutAPeerAreRefused) {
  expect_no_peer(peer_test_model(MixerKind::kGatedDeltaNet), "", "gated_deltanet has no peer");
  expect_no_peer(peer_test_model(MixerPattern({MixerKind::kTttLinear, MixerKind::kAttention})), "",
                 "several mixers, [ttt_linear, attention], has no peer");
  expect_no_peer(peer_test_model(MixerKind::kTttMlp), "", "with --official DIR");
  expect_no_peer(peer_test_model(MixerKind::kTttLinear), "/nowhere", "there is no '/nowhere/ttt.py'");
  expect_no_peer(peer_test_model(MixerKind::kMamba), "/nowhere", "--official names the code of TTT layers");
  ModelConfig window = peer_test_model(MixerKind::kAttention);
  window.attention_window = 8;
  expect_no_peer(window, "", "has no form of this model");
}

TEST(PeerProcess, ProgramsAreFoundByPathAndByName) {
  EXPECT_EQ(find_program("--python", "/bin/sh").string(), "/bin/sh");
  EXPECT_TRUE(find_program("--python", "sh").is_absolute());
  for (const char* absent : {"/nowhere/python", "no-such-python", "/", ""})
    EXPECT_NE(sentence_of<UserError>([&] { find_program("--python", absent); }).find("for --python"), std::string::npos)
        << absent;
}

TEST(PeerProcess, AnswersLinesWithObjects) {
  PeerProcess process("/bin/sh", {"-c", "echo '{\"ready\":1}'; while read -r n; do echo \"{\\\"n\\\":$n}\"; done"}, 60);
  EXPECT_EQ(process.answer("starting")["ready"], 1);
  process.ask("7");
  process.ask("8");
  EXPECT_EQ(process.answer("counting")["n"], 7);
  EXPECT_EQ(process.answer("counting")["n"], 8);
}

TEST(PeerProcess, OneThatDiesIsQuoted) {
  PeerProcess process("/bin/sh", {"-c", "read -r n; echo first >&2; echo 'No room' >&2; exit 3"}, 60);
  process.ask("1");
  EXPECT_EQ(sentence_of<Error>([&] { process.answer("training"); }),
            "the peer, '/bin/sh', was training and died (exit code 3): No room");
  PeerProcess wordless("/bin/sh", {"-c", "exit 5"}, 60);
  EXPECT_EQ(sentence_of<Error>([&] { wordless.answer("starting"); }),
            "the peer, '/bin/sh', was starting and died (exit code 5): exit code 5 and not a word");
  process.ask("2");  // nobody reads it
  PeerProcess killed("/bin/sh", {"-c", "kill -9 $$"}, 60);
  EXPECT_NE(sentence_of<Error>([&] { killed.answer("starting"); }).find("died (signal 9, Killed)"), std::string::npos);
}

TEST(PeerProcess, WhatIsNoObjectAndSilenceAreErrors) {
  PeerProcess words("/bin/sh", {"-c", "echo hello"}, 60);
  EXPECT_NE(sentence_of<Error>([&] { words.answer("starting"); }).find("said 'hello', which is no JSON object"),
            std::string::npos);
  PeerProcess silent("/bin/sh", {"-c", "exec sleep 600"}, 0.2);
  EXPECT_NE(sentence_of<Error>([&] { silent.answer("starting"); }).find("was starting and gave no answer in 0.2 s"),
            std::string::npos);
}

}  // namespace
}  // namespace ttt
