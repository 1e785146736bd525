// A sentence with place and remedy for every kind of mistake in a config file.
#include <map>

#include "config/load_testing.h"

namespace ttt {
namespace {

TEST_F(LoadTest, UnknownKeys) {
  EXPECT_EQ(error_of("output_dir: o\ntrain:\n  contxt: 5\n"),
            "run.yaml:3: unknown key 'train.contxt'; did you mean 'train.context'?");
  EXPECT_EQ(error_of("trian: {context: 5}\n"), "run.yaml:1: unknown key 'trian'; did you mean 'train'?");
  EXPECT_EQ(error_of("train: {lr: 1e-3}\n"), "run.yaml:1: unknown key 'train.lr'; did you mean 'optim.lr'?");
  EXPECT_EQ(error_of("\nwarmup_steps: 3\n"),
            "run.yaml:2: unknown key 'warmup_steps'; did you mean 'optim.warmup_steps'?");
  EXPECT_EQ(error_of("extend: a.yaml\n"), "run.yaml:1: unknown key 'extend'; did you mean 'extends'?");
  EXPECT_EQ(error_of("zzzzzzz: 3\n"), "run.yaml:1: unknown key 'zzzzzzz'; `ttt train --help-config` lists the keys");
  EXPECT_EQ(error_of("base: b.yaml\n"),
            "run.yaml:1: 'base' is a key of sweeps, and this is read as the config of one run; `ttt sweep` takes it");
  EXPECT_EQ(error_of("train.steps: 3\n"),
            "run.yaml:1: in a file, 'train.steps' is written as a section: 'train: {steps: ...}'");
}

TEST_F(LoadTest, WrongTypesAndValuesOutOfRange) {
  EXPECT_EQ(error_of("train:\n  context: 5.5\n"),
            "run.yaml:2: 'train.context' must be an integer from 1 to 1073741824, not '5.5'");
  EXPECT_EQ(error_of("train: {context: 0}\n"),
            "run.yaml:1: 'train.context' must be an integer from 1 to 1073741824, not '0'");
  EXPECT_EQ(error_of("train: {steps: -3}\n"), "run.yaml:1: 'train.steps' must be an integer of at least 1, not '-3'");
  EXPECT_EQ(error_of("optim: {lr: fast}\n"), "run.yaml:1: 'optim.lr' must be a number of at least 0, not 'fast'");
  EXPECT_EQ(error_of("optim: {lr: .inf}\n"), "run.yaml:1: 'optim.lr' must be a number of at least 0, not '.inf'");
  EXPECT_EQ(error_of("optim: {beta1: 1}\n"),
            "run.yaml:1: 'optim.beta1' must be a number of at least 0 and below 1, not '1'");
  EXPECT_EQ(error_of("model: {ttt_base_lr: -0.5}\n"),
            "run.yaml:1: 'model.ttt_base_lr' must be a number of at least 0, or -1 for the paper's value, not '-0.5'");
  EXPECT_EQ(error_of("model: {pre_conv: yes}\n"), "run.yaml:1: 'model.pre_conv' must be true or false, not 'yes'");
  EXPECT_EQ(error_of("model: {mixer: ttt_liner}\n"),
            "run.yaml:1: 'model.mixer' must be one of attention | ttt_linear | ttt_mlp | mamba | gated_deltanet, or a "
            "list of them, not "
            "'ttt_liner'; did "
            "you mean 'ttt_linear'?");
  EXPECT_EQ(error_of("parity: jax\n"), "run.yaml:1: 'parity' must be one of none | ttt-lm-jax, not 'jax'");
  EXPECT_EQ(error_of("train: {steps: }\n"), "run.yaml:1: 'train.steps' has no value");
}

TEST_F(LoadTest, WrongShapesOfTheFile) {
  EXPECT_EQ(error_of("output_dir: o\ntrain: 5\n"),
            "run.yaml:2: 'train' is a section and takes keys below it, not a value");
  EXPECT_EQ(error_of("train: {steps: {a: 1}}\n"), "run.yaml:1: 'train.steps' takes a single value, not a section");
  EXPECT_EQ(error_of("train: {steps: [1, 2]}\n"), "run.yaml:1: 'train.steps' takes a single value, not a list");
  EXPECT_EQ(error_of("train:\n  steps: 1\n  steps: 2\n"),
            "run.yaml:3: 'train.steps' is given twice (first at run.yaml:2); remove one");
  EXPECT_EQ(error_of("train: {steps: 1}\noptim: {lr: 1}\ntrain: {seed: 1}\n"),
            "run.yaml:3: section 'train' is given twice; join the two");
  EXPECT_EQ(error_of("output_dir: a\noutput_dir: b\n"),
            "run.yaml:2: 'output_dir' is given twice (first at run.yaml:1); remove one");
  EXPECT_EQ(error_of("- a\n- b\n"),
            "run.yaml:1: a config is a map of keys to values, such as 'train: {context: 2048}'");
  const std::string kSeveralDocuments =
      "run.yaml: holds more than one YAML document; take out what parts them, a '---' or a stray ',', '}' or ']'";
  EXPECT_EQ(error_of("a: 1\n---\nb: 2\n"), kSeveralDocuments);
  EXPECT_EQ(error_of(", output_dir: o\n"), kSeveralDocuments);
  EXPECT_EQ(error_of("data:\n  train: caf\xe9\n"),
            "run.yaml:2: not UTF-8 text (byte 18 of the file); convert the file to UTF-8");
  EXPECT_EQ(error_of("output_dir: o\ntrain: {steps: 1\n").substr(0, 29), "run.yaml:3: not valid YAML: e");
  EXPECT_EQ(message([&] { load_run_config(folder_ / "none.yaml"); }),
            "there is no config file 'none.yaml'; check the path");
  fs::create_directory(folder_ / "run");
  EXPECT_EQ(message([&] { load_run_config(folder_ / "run"); }), "'run' is a folder, not a config file; name a file");
  write("run/config.yaml", "");
  EXPECT_EQ(message([&] { load_run_config(folder_ / "run"); }),
            "'run' is a folder, not a config file; name a file, such as 'run/config.yaml'");
}

TEST_F(LoadTest, WrongExtends) {
  EXPECT_EQ(error_of("output_dir: o\nextends: none.yaml\n"),
            "run.yaml:2: 'extends' names a file that does not exist, 'none.yaml'; check the path");
  EXPECT_EQ(error_of("extends: [a, b]\n"),
            "run.yaml:1: 'extends' names a file that does not exist, 'a'; check the path");
  EXPECT_EQ(error_of("extends: [[a], b]\n"), "run.yaml:1: 'extends' must be the path of a file, or a list of paths");
  EXPECT_EQ(error_of("extends:\n"), "run.yaml:1: 'extends' must be the path of a file, or a list of paths");
  EXPECT_EQ(error_of("extends: run.yaml\n"),
            "run.yaml:1: 'extends' leads back to 'run.yaml', which is being read already; remove one of the links");
  write("a.yaml", "extends: b.yaml\n");
  write("b.yaml", "\nextends: a.yaml\n");
  EXPECT_EQ(message([&] { load_run_config(folder_ / "a.yaml"); }),
            "b.yaml:2: 'extends' leads back to 'a.yaml', which is being read already; remove one of the links");
  write("base.yaml", "train:\n  stepz: 4\n");  // a mistake in a base is placed in the base
  EXPECT_EQ(error_of("extends: base.yaml\n"), "base.yaml:2: unknown key 'train.stepz'; did you mean 'train.steps'?");
}

TEST_F(LoadTest, CrossFieldRulesNameKeysAndRemedy) {
  const auto error = [&](const std::string& more) { return message([&] { load_run_config(write_run(more)); }); };
  EXPECT_EQ(error_of("output_dir: o\n"),
            "run.yaml: data.train is missing; give the folder that `ttt prepare` wrote, as in 'data: {train: DIR}'");
  EXPECT_EQ(error_of("data: {train: d}\n"),
            "run.yaml: output_dir is missing; give the folder that the run may write to");
  EXPECT_EQ(error("model: {hidden_size: 100, num_heads: 12}\n"),
            "run.yaml: model.hidden_size 100 is not a multiple of model.num_heads 12; use a width of 96 or 108, or "
            "another number of heads");
  EXPECT_EQ(error("model: {hidden_size: 36, num_heads: 12}\n"),
            "run.yaml: model.hidden_size / model.num_heads is 3, but RoPE rotates pairs and needs an even head size; "
            "change one of the two");
  EXPECT_EQ(error("model: {mixer: [ttt_linear, attention], num_layers: 1}\n"),
            "run.yaml: model.mixer lists 2 layers and model.num_layers is 1; shorten the list or add layers");
  EXPECT_EQ(error("model: {mixer: [ttt_linear, ttt_mlp]}\n"),
            "run.yaml: model.mixer has ttt_linear and ttt_mlp layers, whose inner learning rates the paper sets "
            "differently; give model.ttt_base_lr and model.ttt_base_lr_init, which hold for both");
  EXPECT_EQ(error("model: {mixer: mamba, attention_window: 64}\n"),
            "run.yaml: model.attention_window is 64 but model.mixer mamba has no attention layer; leave it out");
  EXPECT_EQ(
      error("model: {mixer: attention, ttt_norm: false, ttt_inner_steps: 2}\n"),
      "run.yaml: the config says model.ttt_norm false, model.ttt_inner_steps 2, and model.mixer attention has no TTT "
      "layer; leave it out");
  EXPECT_EQ(
      error("model: {mixer: ttt_mlp, ttt_learned_w0: false}\n"),
      "run.yaml: model.ttt_learned_w0 is false, and no gradient reaches the layers of an inner MLP that starts at "
      "zero; leave the key out, or take model.mixer ttt_linear");
  for (const char* keys : {"ttt_normalizer: true", "ttt_normalizer: true, ttt_feature_map: elu, ttt_norm: false",
                           "ttt_normalizer: true, ttt_norm: false, ttt_residual: false"}) {
    EXPECT_EQ(error(cat("model: {mixer: ttt_linear, ", keys, "}\n")),
              "run.yaml: model.ttt_normalizer divides what a linear f gives by a sum over positive keys; give "
              "model.ttt_feature_map: elu, model.ttt_norm: false and model.ttt_residual: false with it");
  }
  EXPECT_EQ(error_of("model: {ttt_inner_steps: 0}\n"),
            "run.yaml:1: 'model.ttt_inner_steps' must be an integer from 1 to 64, not '0'");
  EXPECT_EQ(error_of("model: {ttt_feature_map: relu}\n"),
            "run.yaml:1: 'model.ttt_feature_map' must be one of none | elu, not 'relu'; did you mean 'elu'?");
  EXPECT_EQ(error("optim: {schedule: wsd, warmup_steps: 60, cooldown_steps: 50}\ntrain: {steps: 100}\n"),
            "run.yaml: optim.warmup_steps 60 and optim.cooldown_steps 50 are more than the 100 steps of the schedule; "
            "shorten one of them");
  EXPECT_EQ(error("train: {context: 2048, batch_tokens: 0.5M}\n"),
            "run.yaml: train.batch_tokens 500000 is not a multiple of train.context 2048; use 499712 or 501760");
  EXPECT_EQ(error("train: {context: 100, batch_tokens: 40}\n"),
            "run.yaml: train.batch_tokens 40 is not a multiple of train.context 100; use 100");
  EXPECT_EQ(error("train: {context: 64, batch_tokens: 640, micro_batch: 4}\n"),
            "run.yaml: a step has 10 sequences (train.batch_tokens / train.context), which train.micro_batch 4 does "
            "not divide; "
            "use a divisor of 10, or 0 to let the program choose");
  EXPECT_EQ(
      error("train: {steps: 50}\noptim: {warmup_steps: 60}\n"),
      "run.yaml: optim.warmup_steps 60 is more than the 50 steps after which the decay ends (train.steps); shorten "
      "the warm-up");
  EXPECT_EQ(error("optim: {lr: 1e-4, end_lr: 1e-3}\n"),
            "run.yaml: optim.end_lr 0.001 is above the peak, optim.lr 0.0001; lower it");
}

TEST_F(LoadTest, AMisspeltFileNameGetsTheNearestOne) {
  write("model/ttt_linear_125m.yaml", "model: {}\n");
  const auto refusal = [&](const std::string& name) { return message([&] { load_run_config(folder_ / name); }); };
  EXPECT_EQ(refusal("model/ttt_liner_125m.yaml"),
            "there is no config file 'model/ttt_liner_125m.yaml'; did you mean '"
            "model/ttt_linear_125m.yaml'?");
  EXPECT_EQ(refusal("modle/ttt_linear_125m"),
            "there is no config file 'modle/ttt_linear_125m'; did you mean 'model/ttt_linear_125m.yaml'?");
  EXPECT_EQ(refusal("model/unlike.yaml"), "there is no config file 'model/unlike.yaml'; check the path");
  EXPECT_EQ(error_of("extends: model/ttt_linear_125.yaml\n"),
            "run.yaml:1: 'extends' names a file that does not exist, 'model/ttt_linear_125.yaml'; did you mean "
            "'model/ttt_linear_125m.yaml'?");
}

TEST_F(LoadTest, ATabIsExplained) {
  EXPECT_EQ(error_of("train:\n  steps: 3\n\tcontext: 64\n"),
            "run.yaml:3: the line is indented with a tab, which YAML does not take; use spaces");
  EXPECT_EQ(error_of("train:\n\tsteps: 3\n"),
            "run.yaml:2: the line is indented with a tab, which YAML does not take; use spaces");
  // Elsewhere a tab is white space.
  EXPECT_EQ(load_run_config(write("run.yaml", "data:\t{train: d}\noutput_dir: o\t# here\n")).output_dir, "o");
}

TEST_F(LoadTest, DataListsThatMakeNoSenseAreNamed) {
  const auto error = [&](const std::string& train) {
    return message([&] { load_run_config(write_run(""), {"data.train=" + train}); });
  };
  const auto mentions = [](const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
  };
  EXPECT_TRUE(
      mentions(error("[{path: a, weight: 0}, {path: b, weight: 0}]"), "the weights of 'data.train' sum to nothing"));
  EXPECT_TRUE(mentions(error("[{path: a, weight: -1}]"), "weight must be a number of at least 0, not '-1'"));
  EXPECT_TRUE(mentions(error("[{path: a, weight: much}]"), "not 'much'"));
  EXPECT_TRUE(mentions(error("[{path: a, weight: 1}, {path: b}]"), "gives 1 of its 2 entries a weight"));
  EXPECT_TRUE(mentions(error("[{weight: 1}]"), "entry 1 of 'data.train' has no path"));
  EXPECT_TRUE(mentions(error("[{path: a, wieght: 1}]"), "did you mean 'weight'?"));
  EXPECT_TRUE(mentions(error("[]"), "is an empty list"));
  EXPECT_TRUE(
      mentions(message([&] { load_run_config(write_run(""), {"data.valid=[{path: a, weight: 1}]"}); }), "'weight'"));
}

}  // namespace
}  // namespace ttt
