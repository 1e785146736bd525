// Config files: values, bases, overrides, lists, and defaults that depend on other keys.
#include "config/load.h"

#include <cstdlib>
#include <map>

#include "config/fields.h"
#include "config/load_testing.h"

namespace ttt {
namespace {

TEST_F(LoadTest, EveryKeyThatScriptsRelyOn) {
  const RunConfig config = load_run_config(write("run.yaml", R"(
model: {mixer: ttt_mlp, backbone: transformer, vocab_size: 211, hidden_size: 64, num_layers: 3, num_heads: 2, intermediate_size: 128,
        mini_batch_size: 8, ttt_base_lr: 0.2, ttt_base_lr_init: 0.02, ttt_base_lr_warmup_steps: 7, pre_conv: true, rope_theta: 5e5,
        tie_embeddings: false, ttt_feature_map: elu, ttt_norm: false, ttt_residual: false, ttt_bias: false, ttt_learned_lr: false,
        ttt_target: input, ttt_inner_steps: 3}
data: {train: a, valid: b, order: sequential}
train: {context: 48, batch_tokens: 192, micro_batch: 2, steps: 20, seed: 5, dtype: fp32, device: cpu}
optim: {lr: 1e-2, end_lr: 1e-4, warmup_steps: 3, decay_steps: 15, beta1: 0.8, beta2: 0.9, weight_decay: 0.2, clip_grad_norm: 0.5}
checkpoint: {every: 4, keep_last: 1, keep_every: 8}
output_dir: out
init_from: start
tokenizer: t.model
parity: ttt-lm-jax
)"));
  EXPECT_EQ(config.model.mixer, MixerKind::kTttMlp);
  EXPECT_EQ(config.model.backbone, Backbone::kTransformer);
  EXPECT_EQ(config.model.vocab_size, 211);
  EXPECT_EQ(config.model.hidden_size, 64);
  EXPECT_EQ(config.model.num_layers, 3);
  EXPECT_EQ(config.model.num_heads, 2);
  EXPECT_EQ(config.model.intermediate_size, 128);
  EXPECT_EQ(config.model.mini_batch_size, 8);
  EXPECT_EQ(config.model.ttt_base_lr, 0.2);
  EXPECT_EQ(config.model.ttt_base_lr_init, 0.02);
  EXPECT_EQ(config.model.ttt_base_lr_warmup_steps, 7);
  EXPECT_EQ(ttt_switches(config.model),
            "model.ttt_feature_map elu, model.ttt_norm false, model.ttt_residual false, model.ttt_bias false, "
            "model.ttt_learned_lr false, model.ttt_target input, model.ttt_inner_steps 3");
  EXPECT_TRUE(config.model.pre_conv);
  EXPECT_EQ(config.model.rope_theta, 5e5);
  EXPECT_FALSE(config.model.tie_embeddings);
  EXPECT_EQ(config.data.train.text(), "a");
  EXPECT_EQ(config.data.valid.text(), "b");
  EXPECT_EQ(config.data.order, DataOrder::kSequential);
  EXPECT_EQ(config.train.context, 48);
  EXPECT_EQ(config.train.batch_tokens, 192);
  EXPECT_EQ(config.train.micro_batch, 2);
  EXPECT_EQ(config.train.steps, 20);
  EXPECT_EQ(config.train.seed, 5);
  EXPECT_EQ(config.train.dtype, DType::kFp32);
  EXPECT_EQ(config.train.device, DeviceKind::kCpu);
  EXPECT_EQ(config.optim.lr, 1e-2);
  EXPECT_EQ(config.optim.end_lr, 1e-4);
  EXPECT_EQ(config.optim.warmup_steps, 3);
  EXPECT_EQ(config.optim.decay_steps, 15);
  EXPECT_EQ(config.optim.beta1, 0.8);
  EXPECT_EQ(config.optim.beta2, 0.9);
  EXPECT_EQ(config.optim.weight_decay, 0.2);
  EXPECT_EQ(config.optim.clip_grad_norm, 0.5);
  EXPECT_EQ(config.checkpoint.every, 4);
  EXPECT_EQ(config.checkpoint.keep_last, 1);
  EXPECT_EQ(config.checkpoint.keep_every, 8);
  EXPECT_EQ(config.output_dir, "out");
  EXPECT_EQ(config.init_from, "start");
  EXPECT_EQ(config.tokenizer, "t.model");
  EXPECT_EQ(config.parity, Parity::kTttLmJax);
}

TEST_F(LoadTest, ExtendsAppliesBasesFirstAndIsRelativeToTheFile) {
  write("model/base.yaml", "model: {hidden_size: 64, num_heads: 4, num_layers: 2}\n");
  write("model/wide.yaml", "extends: base.yaml\nmodel: {hidden_size: 128}\n");
  const RunConfig config = load_run_config(write("run/run.yaml",
                                                 "model: {num_layers: 5}\nextends: ../model/wide.yaml\n"
                                                 "data: {train: d}\noutput_dir: o\n"));
  EXPECT_EQ(config.model.num_heads, 4);
  EXPECT_EQ(config.model.hidden_size, 128);
  EXPECT_EQ(config.model.num_layers, 5);  // the deriving file wins, wherever `extends` stands
}

TEST_F(LoadTest, OverridesWinAndArePlacedOnTheCommandLine) {
  const fs::path file = write_run("train: {steps: 100}\n");
  EXPECT_EQ(load_run_config(file, {"train.steps=7", "optim.lr=0.5"}).train.steps, 7);
  EXPECT_EQ(message([&] { load_run_config(file, {"train.stps=7"}); }),
            "command line: unknown key 'train.stps'; did you mean 'train.steps'?");
  EXPECT_EQ(message([&] { load_run_config(file, {"train.steps=x"}); }),
            "command line: 'train.steps' must be an integer of at least 1, not 'x'");
  EXPECT_EQ(message([&] { load_run_config(file, {"train.steps"}); }),
            "command line: 'train.steps' is not an override; write key=value, such as train.steps=1000");
  EXPECT_EQ(message([&] { load_run_config(file, {"train=1"}); }),
            "command line: 'train' is a section; name one of its keys, 'train.KEY=VALUE'");
  EXPECT_EQ(message([&] { load_run_config(file, {"extends=x.yaml"}); }),
            "command line: 'extends' is for files; name the other file as the config instead");
}

TEST_F(LoadTest, DefaultsThatDependOnOtherKeys) {
  const auto model = [&](const std::string& keys) {
    return load_model_config(write("m.yaml", "model: {" + keys + "}\n"));
  };
  EXPECT_TRUE(model("mixer: ttt_linear").pre_conv);
  EXPECT_TRUE(model("mixer: ttt_mlp, backbone: mamba").pre_conv);
  EXPECT_FALSE(model("mixer: ttt_mlp, backbone: transformer").pre_conv);
  EXPECT_TRUE(model("mixer: ttt_mlp, backbone: transformer, pre_conv: true").pre_conv);
  EXPECT_FALSE(model("mixer: ttt_linear, pre_conv: false").pre_conv);
  EXPECT_FALSE(model("mixer: attention").pre_conv);
  EXPECT_EQ(model("mixer: attention").backbone, Backbone::kTransformer);
  EXPECT_EQ(model("mixer: ttt_linear").ttt_base_lr, 1.0);
  EXPECT_EQ(model("mixer: ttt_linear").ttt_base_lr_init, 1.0);
  EXPECT_EQ(model("mixer: ttt_linear, ttt_base_lr: 0.5").ttt_base_lr_init, 0.5);
  EXPECT_EQ(model("mixer: ttt_mlp").ttt_base_lr, 0.1);
  EXPECT_EQ(model("mixer: ttt_mlp").ttt_base_lr_init, 0.01);

  const auto run = [&](const std::string& more) { return load_run_config(write_run(more)); };
  EXPECT_EQ(run("train: {steps: 50}\n").optim.warmup_steps, 5);
  EXPECT_EQ(run("train: {steps: 50}\noptim: {decay_steps: 100}\n").optim.warmup_steps, 10);
  EXPECT_EQ(run("optim: {lr: 1e-6}\n").optim.end_lr, 1e-6);
  EXPECT_EQ(run("train: {context: 512, batch_tokens: 12288}\n").micro_batch(), 12);  // divides 24, 16 would not
  EXPECT_EQ(run("train: {context: 16384, batch_tokens: 65536}\n").micro_batch(), 1);
  EXPECT_EQ(run("train: {context: 64, batch_tokens: 448}\n").micro_batch(), 7);
  EXPECT_EQ(run("train: {context: 512, batch_tokens: 12288}\n").micro_batch(/*ranks=*/4), 6);
}

TEST_F(LoadTest, ListsAreKeysOfTheirOwn) {
  const RunConfig config = load_run_config(write_run(
      "model:\n  num_layers: 4\n  mixer:\n    - ttt_linear\n    - ttt_linear\n    - attention\n  attention_window: 64\n"
      "optim:\n  groups:\n    - {match: '*.w1', weight_decay: 0}\n    - match: 'layers.0.*'\n      lr: 1e-4\n"));
  EXPECT_EQ(config.model.mixer, MixerPattern({MixerKind::kTttLinear, MixerKind::kTttLinear, MixerKind::kAttention}));
  EXPECT_EQ(config.model.mixer.of_layer(2), MixerKind::kAttention);
  EXPECT_EQ(config.model.mixer.of_layer(3), MixerKind::kTttLinear);
  EXPECT_EQ(config.optim.groups, (std::vector<ParameterGroup>{{"*.w1", -1, 0.0}, {"layers.0.*", 1e-4, -1}}));
  // What a run writes down is read back as the same.
  const RunConfig again = load_run_config(write("again.yaml", to_yaml(config)));
  EXPECT_TRUE(diff(config, again).empty());
  EXPECT_EQ(again.optim.groups, config.optim.groups);
  const RunConfig overridden = load_run_config(write_run(""), {"model.mixer=[mamba, attention]", "optim.groups=[]"});
  EXPECT_TRUE(overridden.model.mixer.is_hybrid());

  const auto error = [&](const std::string& more) { return message([&] { load_run_config(write_run(more)); }); };
  EXPECT_EQ(error("train: {steps: [1, 2]}\n"), "run.yaml:3: 'train.steps' takes a single value, not a list");
  EXPECT_EQ(error("optim: {groups: [{match: x, wd: 0}]}\n"),
            "run.yaml:3: entry 1 of 'optim.groups' has an unknown key 'wd'; an entry is {match: ..., lr: ..., "
            "weight_decay: ...}");
  EXPECT_EQ(error("optim: {groups: [{match: x}]}\n"),
            "run.yaml:3: entry 1 of 'optim.groups' needs 'match', a name pattern, and lr or weight_decay, as in "
            "'{match: \"*.w1\", weight_decay: 0}'");
  EXPECT_EQ(error("optim: {groups: [{match: x, lr: fast}]}\n"),
            "run.yaml:3: 'optim.groups': lr must be a number of at least 0, not 'fast'");
  EXPECT_EQ(error("optim: {groups: w1}\n"),
            "run.yaml:3: 'optim.groups' takes a list such as '[{match: ..., lr: ..., weight_decay: ...}]', not 'w1'");
  EXPECT_EQ(error("model: {mixer: []}\n"),
            "run.yaml:3: 'model.mixer' takes one word or a list such as '[a, b]', not '[]'");
}

// train.kernels is a map in a file, in flow style or as op=kernel pairs on the command line.
TEST_F(LoadTest, MapsOfKernels) {
  using Pairs = std::vector<std::pair<std::string, std::string>>;
  const RunConfig config =
      load_run_config(write_run("train:\n  kernels:\n    ttt: fused_avx2\n    rms_norm: composed\n"));
  EXPECT_EQ(config.train.kernels, (Pairs{{"ttt", "fused_avx2"}, {"rms_norm", "composed"}}));
  const RunConfig again = load_run_config(write("again.yaml", to_yaml(config)));
  EXPECT_EQ(again.train.kernels, config.train.kernels);
  const auto overridden = [&](const std::string& text) {
    return load_run_config(write_run("train: {kernels: {ttt: composed}}\n"), {"train.kernels=" + text}).train.kernels;
  };
  EXPECT_EQ(overridden("swiglu=composed,ttt=reference"), (Pairs{{"swiglu", "composed"}, {"ttt", "reference"}}));
  EXPECT_EQ(overridden("{swiglu: composed}"), (Pairs{{"swiglu", "composed"}}));
  EXPECT_EQ(overridden("{}"), Pairs{});
  EXPECT_EQ(overridden(""), Pairs{});

  const auto error = [&](const std::string& kernels) {
    return message([&] { load_run_config(write_run("train: {kernels: " + kernels + "}\n")); });
  };
  for (const char* wrong : {"composed", "[composed]", "{ttt: [a]}", "ttt=", "=composed"})
    EXPECT_NE(error(wrong).find("'train.kernels' takes a map such as '{a: b, c: d}', not '"), std::string::npos)
        << error(wrong);
  EXPECT_EQ(error("\"ttt=composed,ttt=reference\""), "run.yaml:3: 'train.kernels' gives 'ttt' twice; remove one");
  EXPECT_EQ(error("{ttt: composed}, steps: {a: b}"), "run.yaml:3: 'train.steps' takes a single value, not a section");
}

TEST_F(LoadTest, ParitySetsDefaultsUnderExplicitKeys) {
  const RunConfig own = load_run_config(write_run(""));
  EXPECT_EQ(own.optim.decay_on, DecayOn::kMatrices);
  EXPECT_EQ(own.train.loss_average, LossAverage::kTokens);
  const RunConfig parity = load_run_config(write_run("optim: {weight_decay: 0.3, end_lr: 2e-5}\nparity: ttt-lm-jax\n"));
  EXPECT_EQ(parity.optim.decay_on, DecayOn::kAll);
  EXPECT_EQ(parity.train.loss_average, LossAverage::kSequences);
  EXPECT_EQ(parity.optim.beta2, 0.95);
  EXPECT_EQ(parity.optim.weight_decay, 0.3);
  EXPECT_EQ(parity.optim.end_lr, 2e-5);
  // An override switches it on as well, and a key of the file still wins.
  const RunConfig overridden = load_run_config(write_run("optim: {decay_on: matrices}\n"), {"parity=ttt-lm-jax"});
  EXPECT_EQ(overridden.optim.decay_on, DecayOn::kMatrices);
  EXPECT_EQ(overridden.train.loss_average, LossAverage::kSequences);
}

TEST_F(LoadTest, ModelConfigNeedsOnlyTheModelSection) {
  EXPECT_EQ(load_model_config(write("m.yaml", "model: {hidden_size: 64, num_heads: 4}\n")).hidden_size, 64);
  EXPECT_EQ(
      load_model_config(write("m.yaml", "model: {hidden_size: 64, num_heads: 4}\ntrain: {context: 64}\n")).num_heads,
      4);
  EXPECT_EQ(message([&] { load_model_config(write("m.yaml", "model: {}\ntrain: {contxt: 64}\n")); }),
            "m.yaml:2: unknown key 'train.contxt'; did you mean 'train.context'?");
  EXPECT_EQ(load_model_config(write("m.yaml", "model: {num_layers: 4}\n"), {"model.num_layers=9"}).num_layers, 9);
}

TEST_F(LoadTest, ExtendsTakesSeveralFilesTheLaterBeforeTheEarlier) {
  write("common.yaml", "train: {seed: 1, steps: 10}\n");
  write("a.yaml", "extends: common.yaml\ntrain: {context: 64, seed: 2}\n");
  write("b.yaml", "train: {context: 128, batch_tokens: 1Ki}\n");
  const RunConfig config = load_run_config(write_run("extends: [a.yaml, b.yaml]\ntrain: {steps: 30}\n"));
  EXPECT_EQ(config.train.seed, 2);
  EXPECT_EQ(config.train.context, 128);
  EXPECT_EQ(config.train.batch_tokens, 1024);
  EXPECT_EQ(config.train.steps, 30);
  // A base that both of them extend is no circle.
  write("b.yaml", "extends: common.yaml\ntrain: {context: 128, batch_tokens: 1Ki}\n");
  EXPECT_EQ(load_run_config(write_run("extends: [a.yaml, b.yaml]\n")).train.steps, 10);
}

TEST_F(LoadTest, SeveralFilesAndValuesWithPlaces) {
  const fs::path a = write("a.yaml", "data: {train: tokens}\ntrain: {context: 64, steps: 5}\n");
  const fs::path b = write("b.yaml", "train: {steps: 6, batch_tokens: 256}\n");
  const RunConfig config = load_run_config(std::vector<fs::path>{a, b}, {{"output_dir", "out", "sweep.yaml:3"}});
  EXPECT_EQ(config.train.context, 64);
  EXPECT_EQ(config.train.steps, 6);
  EXPECT_EQ(config.output_dir, "out");
  EXPECT_EQ(message([&] {
              load_run_config(std::vector<fs::path>{a, b}, {{"train.stepz", "1", "sweep.yaml:4"}});
            }),
            "sweep.yaml:4: unknown key 'train.stepz'; did you mean 'train.steps'?");
}

TEST_F(LoadTest, APartialConfigNeedsNoData) {
  const fs::path file = write("m.yaml", "model: {hidden_size: 64, num_heads: 4}\n");
  EXPECT_EQ(load_partial_config(file).model.hidden_size, 64);
  EXPECT_EQ(message([&] { load_partial_config(file, {"train.batch_tokens=100"}); }),
            "m.yaml: train.batch_tokens 100 is not a multiple of train.context 2048; use 2048");
}

TEST_F(LoadTest, ExplainSaysWhereEachValueComesFrom) {
  write("base.yaml", "model:\n  mixer: ttt_mlp\n  hidden_size: 64\n");
  const fs::path file = write_run(
      "extends: base.yaml\nparity: ttt-lm-jax\nmodel: {num_heads: 4}\ntrain: {micro_batch: 0, batch_tokens: 4Ki}\n");
  std::map<std::string, std::pair<std::string, std::string>> found;
  for (const ResolvedKey& key : explain_config(file, {"optim.lr=0.5"})) {
    std::string origin = key.origin;
    for (std::size_t at; (at = origin.find(folder_.string() + "/")) != origin.npos;)
      origin.erase(at, folder_.string().size() + 1);
    found[key.key] = {key.value, origin};
  }
  RunConfig config;
  EXPECT_EQ(found.size(), fields_of(config).size());
  using Pair = std::pair<std::string, std::string>;
  EXPECT_EQ(found["model.hidden_size"], Pair("64", "base.yaml:3"));
  EXPECT_EQ(found["model.num_heads"], Pair("4", "run.yaml:5"));
  EXPECT_EQ(found["optim.lr"], Pair("0.5", "command line"));
  EXPECT_EQ(found["optim.decay_on"], Pair("all", "parity: ttt-lm-jax"));
  EXPECT_EQ(found["optim.beta1"], Pair("0.9", "default"));
  EXPECT_EQ(found["optim.warmup_steps"], Pair("480", "derived: a tenth of the decay"));
  EXPECT_EQ(found["model.ttt_base_lr"], Pair("0.1", "derived: the paper's for model.mixer"));
  EXPECT_EQ(found["train.micro_batch"], Pair("2",
                                             "derived: the largest divisor of a step's sequences with at most 8192 "
                                             "tokens; on a GPU by its size (run.yaml:6 leaves it "
                                             "open)"));
}

// How much is validated does not depend on how the steps are cut up.
TEST_F(LoadTest, EvalSamplesAndItsOldName) {
  const auto samples = [&](const std::string& train, const std::vector<std::string>& overrides = {}) {
    return load_run_config(write_run("train: {" + train + "}\n"), overrides).train.eval_samples;
  };
  EXPECT_EQ(samples("context: 2048, batch_tokens: 8Ki"), 64);
  EXPECT_EQ(samples("context: 64, batch_tokens: 256"), 2048);
  EXPECT_EQ(samples("context: 64, batch_tokens: 512, micro_batch: 1"), 2048);
  EXPECT_EQ(samples("context: 32Ki, batch_tokens: 32Ki"), 4);
  EXPECT_EQ(samples("context: 256Ki, batch_tokens: 256Ki"), 1);
  EXPECT_EQ(samples("context: 64, batch_tokens: 256, eval_samples: 7"), 7);
  EXPECT_EQ(samples("context: 64, batch_tokens: 256, eval_samples: 0"), 0);
  // The old name counted batches of 8192 tokens, at least one sequence each.
  for (const char* micro_batch : {"0", "1", "4"})
    EXPECT_EQ(samples(cat("context: 64, batch_tokens: 256, eval_batches: 5, micro_batch: ", micro_batch)), 640);
  EXPECT_EQ(samples("context: 32Ki, batch_tokens: 32Ki, eval_batches: 5"), 5);
  EXPECT_EQ(samples("context: 64, batch_tokens: 256, eval_batches: 0"), 0);
  // The later of the two names holds.
  EXPECT_EQ(samples("context: 64, batch_tokens: 256, eval_batches: 5", {"train.eval_samples=9"}), 9);
  EXPECT_EQ(samples("context: 64, batch_tokens: 256, eval_samples: 9", {"train.eval_batches=2"}), 256);
  write("base.yaml", "train: {eval_samples: 3, context: 64, batch_tokens: 256}\n");
  EXPECT_EQ(load_run_config(write_run("extends: base.yaml\ntrain: {eval_batches: 1}\n")).train.eval_samples, 128);
  EXPECT_EQ(error_of("data: {train: d}\noutput_dir: o\ntrain: {eval_samples: 3,\n        eval_batches: 4}\n"),
            "run.yaml:4: 'train.eval_batches' is the old name of 'train.eval_samples', which is given too; remove it");
  for (const char* bad : {"-1", "many", "4e18", "1.5"}) {
    EXPECT_EQ(error_of("data: {train: d}\noutput_dir: o\n", {cat("train.eval_batches=", bad)}),
              cat("command line: 'train.eval_batches' must be an integer of at least 0, not '", bad, "'"));
  }
  const RunConfig config = load_run_config(write_run("train: {context: 64, batch_tokens: 256, eval_batches: 5}\n"));
  EXPECT_EQ(to_yaml(config).find("eval_batches"), std::string::npos);
  std::string origin;
  for (const ResolvedKey& key : explain_config(write_run("train:\n  eval_batches: 5\n")))
    if (key.key == "train.eval_samples") origin = key.value + " " + key.origin;
  EXPECT_EQ(origin.substr(0, 4), "20 /");
  EXPECT_TRUE(origin.ends_with("run.yaml:4 (eval_batches 5, of 8192 tokens)")) << origin;
}

// "~" and "${VAR}", which users know from their shells, in every path of a config.
TEST_F(LoadTest, PathsOfTheEnvironment) {
  const std::string home = std::getenv("HOME") != nullptr ? std::getenv("HOME") : "";
  setenv("HOME", "/home/me", 1);
  setenv("TTT_TEST_FOLDER", folder_.c_str(), 1);
  write("model.yaml", "model: {hidden_size: 48, num_heads: 3}\n");
  const RunConfig config = load_run_config(
      write("run.yaml",
            "extends: ${TTT_TEST_FOLDER}/model.yaml\n"
            "data:\n  train: [{path: ~/a, weight: 1}, {path: \"${TTT_TEST_FOLDER}/b\", weight: 1}]\n  valid: ~/v/~/w\n"
            "output_dir: ${TTT_TEST_FOLDER}/o-${TTT_TEST_FOLDER}\ninit_from: '~'\ntokenizer: x~\n"),
      {"data.valid=~/c$d"});
  EXPECT_EQ(config.model.hidden_size, 48);
  EXPECT_EQ(config.data.train.list()[0].path, "/home/me/a");
  EXPECT_EQ(config.data.train.list()[1].path, (folder_ / "b").string());
  EXPECT_EQ(config.data.valid.text(), DataSources("/home/me/c$d").text());
  EXPECT_EQ(config.output_dir, cat(folder_.string(), "/o-", folder_.string()));
  EXPECT_EQ(config.init_from, "/home/me");
  EXPECT_EQ(config.tokenizer, "x~");
  EXPECT_TRUE(diff(config, load_run_config(write("again.yaml", to_yaml(config)))).empty());
  unsetenv("TTT_TEST_FOLDER");
  EXPECT_EQ(error_of("data: {train: d}\noutput_dir: ${TTT_TEST_FOLDER}/o\n"),
            "run.yaml:2: 'output_dir' is '${TTT_TEST_FOLDER}/o', but the environment has no TTT_TEST_FOLDER; set it "
            "(export TTT_TEST_FOLDER=...), or write the path out");
  EXPECT_EQ(error_of("data: {train: \"${HOME\"}\noutput_dir: o\n"),
            "run.yaml:1: 'data.train' has a ${ without its }, '${HOME'; close it");
  EXPECT_EQ(error_of("extends: ${TTT_TEST_FOLDER}/x.yaml\n").substr(0, 24), "run.yaml:1: 'extends' is");
  // Without HOME the user's entry in the system's list says where it is.
  unsetenv("HOME");
  EXPECT_EQ(load_run_config(write("run.yaml", "data: {train: d}\noutput_dir: ~/o\n")).output_dir.front(), '/');
  if (!home.empty()) setenv("HOME", home.c_str(), 1);
}

TEST_F(LoadTest, ConfigValueFollowsTheChain) {
  write("base.yaml", "train: {context: 64}\n");
  const fs::path file = write("run.yaml", "extends: base.yaml\ntrain: {steps: 3}\n");
  EXPECT_EQ(config_value(file, "train.context"), "64");
  EXPECT_EQ(config_value(file, "train.seed"), std::nullopt);
}

TEST_F(LoadTest, YamlRoundTrip) {
  RunConfig config = load_run_config(
      write_run("parity: ttt-lm-jax\nmodel: {mixer: ttt_mlp, rope_theta: 12345.678901234567}\noptim: {lr: 1e-3}\n"));
  config.output_dir = "a dir: with \"quotes\" # and a hash\\";
  config.data.valid = "null";
  config.init_from = "~x";
  config.tokenizer = "ünï/t.model";
  const RunConfig again = load_run_config(write("again.yaml", to_yaml(config)));
  for (const FieldDifference& difference : diff(config, again)) {
    ADD_FAILURE() << difference.key << ": " << difference.a << " became " << difference.b;
  }
  EXPECT_EQ(again.model, config.model);
  EXPECT_EQ(load_model_config(write("m.yaml", to_yaml(config.model))), config.model);
}

TEST_F(LoadTest, DataIsAFolderOrAListOfThem) {
  const fs::path file =
      write("run.yaml",
            "output_dir: out\ndata:\n  train:\n    - {path: books, weight: 0.7}\n"
            "    - {path: \"my web\", weight: 3e-1, name: web}\n  valid: [{path: v, name: a}, {path: w}]\n");
  const RunConfig config = load_run_config(file);
  ASSERT_EQ(config.data.train.list().size(), 2u);
  EXPECT_EQ(config.data.train.list()[0].weight, 0.7);
  EXPECT_EQ(config.data.train.list()[0].name, "");
  EXPECT_EQ(config.data.train.list()[1].path, "my web");
  EXPECT_EQ(config.data.train.list()[1].name, "web");
  EXPECT_EQ(config.data.valid.list()[1].path, "w");
  EXPECT_TRUE(diff(config, load_run_config(write("again.yaml", to_yaml(config)))).empty());
  // The same on the command line; a plain path stands for itself, with spaces too.
  EXPECT_EQ(load_run_config(file, {"data.train=[{path: x, weight: 2}]"}).data.train.list()[0].path, "x");
  const RunConfig plain = load_run_config(file, {"data.train=a b/c", "data.valid="});
  ASSERT_EQ(plain.data.train.list().size(), 1u);
  EXPECT_EQ(plain.data.train.list()[0].path, "a b/c");
  EXPECT_TRUE(plain.data.valid.empty());
  EXPECT_TRUE(diff(plain, load_run_config(write("again.yaml", to_yaml(plain)))).empty());
}

TEST_F(LoadTest, DiffNamesEveryFieldThatDiffers) {
  const RunConfig a = load_run_config(write_run(""));
  RunConfig b = a;
  b.train.seed = 9;
  b.model.mixer = MixerKind::kAttention;
  const auto differences = diff(a, b);
  ASSERT_EQ(differences.size(), 2u);
  EXPECT_EQ(differences[0].key, "model.mixer");
  EXPECT_EQ(differences[0].a, "ttt_linear");
  EXPECT_EQ(differences[0].b, "attention");
  EXPECT_EQ(differences[1].key, "train.seed");
  EXPECT_TRUE(diff(a, a).empty());
}

}  // namespace
}  // namespace ttt
