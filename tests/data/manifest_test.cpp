// manifest.json with numbers that cannot be: each is refused as damaged, before anything is computed from it.
#include "data/manifest.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/files.h"
#include "base/json.h"

namespace ttt {
namespace {

class ManifestTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fs::path(::testing::TempDir()) / ("manifest_" + std::to_string(getpid()));
    fs::create_directories(directory_);
    DatasetManifest manifest;
    manifest.vocab_size = 100;
    manifest.num_tokens = 30;
    manifest.num_documents = 2;
    manifest.bos_id = 1;
    manifest.shards = {{"tokens-00000.bin", "documents-00000.bin", 10, 1, 5, 6},
                       {"tokens-00001.bin", "documents-00001.bin", 20, 1, 7, 8}};
    write_manifest(directory_, manifest);
    json_ = Json::parse(read_file(directory_ / "manifest.json"));
  }
  void TearDown() override { fs::remove_all(directory_); }

  void expect_refused(const Json& json, const std::string& because) const {
    write_file_atomically(directory_ / "manifest.json", json.dump());
    try {
      read_manifest(directory_);
      ADD_FAILURE() << "taken: " << json.dump();
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(because), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find("is damaged"), std::string::npos) << error.what();
    }
  }

  fs::path directory_;
  Json json_;
};

TEST_F(ManifestTest, NumbersThatCannotBeAreRefused) {
  EXPECT_EQ(read_manifest(directory_).num_tokens, 30);
  for (const char* key : {"vocab_size", "num_tokens", "num_documents", "text_bytes"}) {
    for (const Json& value : {Json(-1), Json(1.5), Json(1e300), Json(true), Json("3")}) {
      Json json = json_;
      json[key] = value;
      expect_refused(json, std::string(key) + " is not a whole number");
    }
    Json json = json_;
    json[key] = std::uint64_t{1} << 63;
    expect_refused(json, std::string(key) + " is 9223372036854775808, too large");
  }
  Json json = json_;
  json["bos_id"] = std::int64_t{1} << 40;
  expect_refused(json, "bos_id is 1099511627776, too large");
}

TEST_F(ManifestTest, ShardsWhoseSumWouldOverflowAreRefused) {
  Json json = json_;
  for (int i = 0; i < 300; ++i) json["shards"].push_back(json["shards"][0]);
  for (Json& shard : json["shards"]) shard["num_tokens"] = std::int64_t{1} << 56;
  expect_refused(json, "the shards do not add up");
}

}  // namespace
}  // namespace ttt
