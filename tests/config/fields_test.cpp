// Field declarations: integers with units, set(get()), nearest words; and every file under configs/ loads.
#include "config/fields.h"

#include <gtest/gtest.h>

#include <set>

#include "base/error.h"
#include "base/files.h"
#include "config/load.h"

namespace ttt {
namespace {

TEST(Fields, IntegersWithUnitsAreExact) {
  const auto parsed = [](const std::string& text) {
    std::int64_t value = 0;
    return parse_integer(text, value) ? std::to_string(value) : "no";
  };
  EXPECT_EQ(parsed("524288"), "524288");
  EXPECT_EQ(parsed("-1"), "-1");
  EXPECT_EQ(parsed("524_288"), "524288");
  EXPECT_EQ(parsed("0.5M"), "500000");
  EXPECT_EQ(parsed("512k"), "512000");
  EXPECT_EQ(parsed("512Ki"), "524288");
  EXPECT_EQ(parsed("0.5Mi"), "524288");
  EXPECT_EQ(parsed("1e6"), "1000000");
  EXPECT_EQ(parsed("1.5e+3"), "1500");
  EXPECT_EQ(parsed("2.50e1"), "25");
  EXPECT_EQ(parsed("3.0"), "3");
  EXPECT_EQ(parsed("9223372036854775807"), "9223372036854775807");
  EXPECT_EQ(parsed("0"), "0");
  for (const char* wrong : {"",
                            "-",
                            "1.5",
                            "0.0001k",
                            "1e-3",
                            "9223372036854775808",
                            "10000000000G",
                            "1e19",
                            "5kb",
                            "K",
                            "0x10",
                            "1 0",
                            "_1",
                            "1_",
                            "1__0",
                            "1.2.3",
                            "k",
                            "++1",
                            "1e",
                            "nan",
                            " 1"}) {
    EXPECT_EQ(parsed(wrong), "no") << "'" << wrong << "'";
  }
}

TEST(Fields, SettingWhatIsThereChangesNothing) {
  RunConfig config;
  config.optim.lr = 0.1 + 0.2;  // needs all 17 digits
  config.output_dir = "a b";
  RunConfig before = config;
  for (const Field& field : fields_of(config)) field.set(field.get());
  EXPECT_TRUE(diff(before, config).empty());
  EXPECT_EQ(config.optim.lr, 0.1 + 0.2);
}

TEST(Fields, KeysAreUniqueAndExplained) {
  RunConfig config;
  std::set<std::string> keys;
  for (const Field& field : fields_of(config)) {
    EXPECT_TRUE(keys.insert(field.key).second) << field.key;
    EXPECT_FALSE(field.help.empty()) << field.key;
  }
  EXPECT_GT(keys.size(), 40u);
}

TEST(Nearest, FindsTypingErrorsOnly) {
  const std::vector<std::string> words = {"train", "tokenizer", "eval", "generate"};
  EXPECT_EQ(nearest("trian", words), "train");
  EXPECT_EQ(nearest("evl", words), "eval");
  EXPECT_EQ(nearest("genrate", words), "generate");
  EXPECT_EQ(nearest("tokeniser", words), "tokenizer");
  EXPECT_EQ(nearest("publish", words), "");
  EXPECT_EQ(nearest("x", words), "");
}

// Files directly below configs/`folder`.
std::vector<fs::path> presets(const std::string& folder) {
  return list_files(fs::path(TTT_SOURCE_DIR) / "configs" / folder);
}

TEST(Presets, EveryModelLoads) {
  std::set<std::string> names;
  for (const fs::path& file : presets("model")) {
    const ModelConfig model = load_model_config(file);
    const std::string name = file.stem().string();
    names.insert(name);
    EXPECT_TRUE(name.starts_with(model.mixer.is_hybrid() ? "hybrid" : to_string(model.mixer))) << name;
    EXPECT_EQ(model.pre_conv, model.has_ttt() && model.backbone == Backbone::kMamba) << name;
    if (model.has_ttt()) {
      EXPECT_EQ(model.backbone == Backbone::kTransformer, name.find("transformer") != name.npos) << name;
    }
    if (!uses_key(model, "model.rope_theta")) continue;  // other heads, other MLPs
    if (name.ends_with("760m")) {
      EXPECT_EQ(model.head_size(), 96) << name;
    }
    if (name.ends_with("125m")) {
      EXPECT_EQ(model.hidden_size, 768);
      EXPECT_EQ(model.num_layers, 12);
      EXPECT_EQ(model.intermediate_size, 2048);
    }
  }
  for (const char* size : {"130m", "370m", "790m", "1.4b"}) EXPECT_TRUE(names.count(cat("mamba_", size))) << size;
  for (const char* size : {"125m", "350m", "760m", "1.3b"}) {
    for (const char* kind : {"attention", "ttt_linear", "ttt_mlp", "ttt_linear_transformer", "ttt_mlp_transformer",
                             "mamba", "gated_deltanet"}) {
      EXPECT_TRUE(names.count(cat(kind, "_", size))) << kind << "_" << size;
    }
  }
}

TEST(Presets, EveryRunLoadsAndFollowsTheRecipe) {
  const std::vector<std::pair<std::string, std::vector<double>>> recipe = {{"_125m_", {4800, 480, 3e-3}},
                                                                           {"_350m_", {13500, 1350, 1.5e-3}},
                                                                           {"_760m_", {29000, 2900, 1.25e-3}},
                                                                           {"_1.3b_", {50000, 5000, 1e-3}}};
  int checked = 0;
  for (const fs::path& file : presets("run")) {
    const RunConfig config = load_run_config(file);
    const std::string name = file.stem().string();
    for (const auto& [size, numbers] : recipe) {
      if (name.find(size) == name.npos) continue;
      ++checked;
      EXPECT_EQ(config.train.steps, numbers[0]) << name;
      EXPECT_EQ(config.optim.warmup_steps, numbers[1]) << name;
      EXPECT_EQ(config.optim.lr, numbers[2]) << name;
      EXPECT_EQ(config.train.batch_tokens, 524288) << name;
      EXPECT_EQ(config.optim.decay_on, DecayOn::kAll) << name;
      EXPECT_EQ(config.ttt_warmup_steps(), config.optim.warmup_steps) << name;
    }
  }
  EXPECT_EQ(checked, 28);
}

}  // namespace
}  // namespace ttt
