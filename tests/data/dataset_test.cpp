// Data sets: what is written is read back, samples and their order are as declared, damage is found and named.
#include "data/dataset.h"

#include <numeric>
#include <set>

#include "base/json.h"
#include "data/manifest.h"
#include "data/scratch.h"
#include "data/writer.h"

namespace ttt {
namespace {

// Tokens 0, 1, 2, ... modulo `vocab_size`, in documents of 10.
void write_set(const fs::path& directory, std::int64_t tokens, std::int64_t vocab_size, std::int64_t shard_tokens,
               bool force = false) {
  DatasetWriter writer({.directory = directory,
                        .vocab_size = vocab_size,
                        .bos_id = 0,
                        .eos_id = std::nullopt,
                        .shard_tokens = shard_tokens,
                        .force = force});
  for (std::int64_t begin = 0; begin < tokens; begin += 10) {
    writer.begin_document();
    std::vector<std::int32_t> ids;
    for (std::int64_t i = begin; i < std::min(begin + 10, tokens); ++i)
      ids.push_back(static_cast<std::int32_t>(i % vocab_size));
    writer.append(ids);
  }
  writer.commit();
}

// Overwrites the byte at `offset` of a file.
void poke(const fs::path& path, std::size_t offset, char flip) {
  std::string content = read_file(path);
  content.at(offset) = static_cast<char>(content[offset] ^ flip);
  write_file_atomically(path, content);
}

std::vector<std::int64_t> values(const at::Tensor& tensor) {
  const at::Tensor flat = tensor.contiguous();
  return {flat.const_data_ptr<std::int64_t>(), flat.const_data_ptr<std::int64_t>() + flat.numel()};
}

TEST(Dataset, ReadsBackWhatWasWrittenInEitherWidth) {
  for (const std::int64_t vocab_size : {97, 65536, 65537, 100000}) {
    const ScratchFolder folder;
    constexpr std::int64_t kTokens = 101;
    write_set(folder / "set", kTokens, vocab_size, 1000);
    const Dataset data(folder / "set");
    EXPECT_EQ(data.num_tokens(), kTokens);
    EXPECT_EQ(data.num_documents(), 11);
    EXPECT_EQ(data.vocab_size(), vocab_size);
    EXPECT_EQ(data.bos_id(), 0);
    EXPECT_EQ(data.eos_id(), std::nullopt);
    EXPECT_EQ(data.tokenizer_hash(), "");
    EXPECT_TRUE(data.tokenizer_path().empty());
    EXPECT_EQ(fs::file_size(folder / "set/tokens-00000.bin"),
              static_cast<std::uintmax_t>(kTokens * (vocab_size <= 65536 ? 2 : 4)));
    const std::vector<std::int32_t> ids = data.tokens(0, kTokens);
    for (std::int64_t i = 0; i < kTokens; ++i) EXPECT_EQ(ids[static_cast<std::size_t>(i)], i % vocab_size);
    EXPECT_TRUE(data.verify().empty());
  }
}

TEST(Dataset, TheLargestIdsKeepTheirValues) {
  for (const std::int32_t vocab_size : {65536, 65537, 2000000000}) {
    const ScratchFolder folder;
    DatasetWriter writer(
        {.directory = folder / "set", .vocab_size = vocab_size, .bos_id = std::nullopt, .eos_id = std::nullopt});
    writer.begin_document();
    writer.append(std::vector<std::int32_t>{vocab_size - 1, 0, vocab_size - 1});
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{vocab_size}), Error);
    EXPECT_THROW(writer.append(std::vector<std::int32_t>{-1}), Error);
    writer.commit();
    EXPECT_EQ(Dataset(folder / "set").tokens(0, 3), (std::vector<std::int32_t>{vocab_size - 1, 0, vocab_size - 1}));
  }
}

TEST(Dataset, SamplesAreWindowsAndTargetsAreShiftedByOne) {
  const ScratchFolder folder;
  write_set(folder / "set", 22, 100, 1000);
  const Dataset data(folder / "set");
  EXPECT_EQ(data.num_samples(7), 3);  // tokens 0..21: the last sample's last target is token 21
  EXPECT_EQ(data.num_samples(21), 1);
  EXPECT_EQ(data.num_samples(22), 0);
  const Batch batch = data.batch({2, 0}, 7);
  EXPECT_EQ(batch.inputs_BT.sizes(), (at::IntArrayRef{2, 7}));
  EXPECT_EQ(batch.targets_BT.scalar_type(), at::kLong);
  EXPECT_EQ(values(batch.inputs_BT), (std::vector<std::int64_t>{14, 15, 16, 17, 18, 19, 20, 0, 1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(values(batch.targets_BT), (std::vector<std::int64_t>{15, 16, 17, 18, 19, 20, 21, 1, 2, 3, 4, 5, 6, 7}));
  EXPECT_THROW(data.batch({3}, 7), Error);
}

TEST(Dataset, ShardsDoNotShowInTheStream) {
  const ScratchFolder folder;
  write_set(folder / "one", 100, 1000, 1000);
  write_set(folder / "many", 100, 1000, 7);
  const Dataset one(folder / "one"), many(folder / "many");
  EXPECT_TRUE(fs::exists(folder / "many/tokens-00014.bin"));
  EXPECT_EQ(many.num_documents(), 10);
  EXPECT_EQ(one.tokens(0, 100), many.tokens(0, 100));
  EXPECT_EQ(one.tokens(13, 30), many.tokens(13, 30));
  EXPECT_EQ(values(one.batch({0, 1, 2}, 33).targets_BT), values(many.batch({0, 1, 2}, 33).targets_BT));
  // Documents' offsets, counted within the set, shard by shard.
  std::vector<std::uint64_t> offsets;
  for (const DatasetManifest::Shard& shard : read_manifest(folder / "many").shards) {
    const std::string bytes = read_file(folder / "many" / shard.documents_file);
    for (std::size_t at = 0; at < bytes.size(); at += 8) {
      std::uint64_t offset;
      std::memcpy(&offset, bytes.data() + at, 8);
      offsets.push_back(offset);
    }
  }
  EXPECT_EQ(offsets, (std::vector<std::uint64_t>{0, 10, 20, 30, 40, 50, 60, 70, 80, 90}));
}

TEST(Dataset, TruncatedAndMissingFilesAreNamed) {
  const ScratchFolder folder;
  write_set(folder / "set", 100, 1000, 30);
  const auto open = [&] { return user_error_of([&] { Dataset data(folder / "set"); }); };
  fs::resize_file(folder / "set/tokens-00001.bin", 59);
  EXPECT_TRUE(mentions(open(), {"tokens-00001.bin", "59", "60", "truncated", "prepare"}));
  fs::remove(folder / "set/tokens-00001.bin");
  EXPECT_TRUE(mentions(open(), {"tokens-00001.bin", "missing"}));
  write_set(folder / "set", 100, 1000, 30, /*force=*/true);
  fs::resize_file(folder / "set/documents-00000.bin", 8);
  EXPECT_TRUE(mentions(open(), {"documents-00000.bin", "truncated"}));
}

TEST(Dataset, AFlippedByteIsFoundByItsHash) {
  const ScratchFolder folder;
  write_set(folder / "set", 100, 1000, 30);
  const std::string before = Dataset(folder / "set").fingerprint();
  poke(folder / "set/tokens-00002.bin", 10, 1);
  poke(folder / "set/documents-00000.bin", 3, 1);
  const Dataset data(folder / "set");
  const std::vector<std::string> problems = data.verify();
  ASSERT_EQ(problems.size(), 2u);
  EXPECT_TRUE(mentions(problems[0], {"documents-00000.bin", "damaged"}));
  EXPECT_TRUE(mentions(problems[1], {"tokens-00002.bin", "damaged"}));
  EXPECT_EQ(data.fingerprint(), before);  // of what was written
}

TEST(Dataset, ATokenOutsideTheVocabularyIsNamed) {
  const ScratchFolder folder;
  write_set(folder / "set", 100, 100, 30);
  poke(folder / "set/tokens-00001.bin", 2 * 5 + 1, 0x40);  // token 35 becomes 35 + 2^14
  const Dataset data(folder / "set");
  EXPECT_NO_THROW(data.batch({0}, 20));
  EXPECT_TRUE(mentions(user_error_of([&] { data.batch({1}, 20); }),
                       {"tokens-00001.bin", "token 5 ", "16419", "vocabulary of 100"}));
}

TEST(Dataset, ManifestsThatCannotBeReadAreNamed) {
  const ScratchFolder folder;
  const auto open = [&] { return user_error_of([&] { Dataset data(folder / "set"); }); };
  EXPECT_TRUE(mentions(open(), {"set", "no such folder", "ttt prepare"}));
  fs::create_directories(folder / "set");
  EXPECT_TRUE(mentions(open(), {"set", "manifest.json", "ttt prepare"}));
  write_set(folder / "set", 100, 1000, 30);
  const Json good = Json::parse(read_file(folder / "set/manifest.json"));
  const auto with = [&](const char* key, const Json& value) {
    Json changed = good;
    changed[key] = value;
    write_file_atomically(folder / "set/manifest.json", changed.dump());
    return open();
  };
  EXPECT_TRUE(mentions(with("format_version", 3), {"manifest.json", "version 3", "up to 2"}));
  EXPECT_TRUE(mentions(with("num_tokens", 99), {"manifest.json", "damaged"}));
  EXPECT_TRUE(mentions(with("vocab_size", 70000), {"manifest.json", "damaged", "dtype"}));
  EXPECT_TRUE(mentions(with("shards", "none"), {"manifest.json", "damaged"}));
  EXPECT_TRUE(mentions(with("format", "else"), {"manifest.json"}));
  write_file_atomically(folder / "set/manifest.json", good.dump().substr(0, 100));
  EXPECT_TRUE(mentions(open(), {"manifest.json", "damaged"}));
}

TEST(DatasetWriter, LeavesAnExistingSetAloneUnlessForced) {
  const ScratchFolder folder;
  write_set(folder / "set", 100, 1000, 30);
  EXPECT_TRUE(
      mentions(user_error_of([&] { write_set(folder / "set", 5, 10, 30); }), {"already holds a data set", "--force"}));
  {  // abandoned: as by an error in the middle
    DatasetWriter writer(
        {.directory = folder / "set", .vocab_size = 10, .bos_id = std::nullopt, .eos_id = std::nullopt, .force = true});
    writer.begin_document();
    writer.append(std::vector<std::int32_t>(100, 3));
  }
  EXPECT_TRUE(Dataset(folder / "set").verify().empty());
  EXPECT_EQ(Dataset(folder / "set").num_tokens(), 100);
  EXPECT_FALSE(fs::exists(folder / "set/.staging"));
  write_set(folder / "set", 5, 10, 30, /*force=*/true);
  EXPECT_EQ(Dataset(folder / "set").num_tokens(), 5);
  EXPECT_FALSE(fs::exists(folder / "set/tokens-00001.bin"));  // of the old set
}

TEST(DatasetWriter, DoesNotReplaceAnotherKindOfManifest) {
  const ScratchFolder folder;
  folder.write("checkpoint/manifest.json", R"({"format_version": 1, "files": {}})");
  EXPECT_TRUE(mentions(user_error_of([&] { write_set(folder / "checkpoint", 5, 10, 30, /*force=*/true); }),
                       {"something else"}));
  EXPECT_EQ(read_file(folder / "checkpoint/manifest.json"), R"({"format_version": 1, "files": {}})");
}

TEST(SampleOrder, EverySampleComesOnceInEachEpoch) {
  constexpr std::int64_t kSamples = 37;
  const SampleOrder order(kSamples, /*shuffled=*/true, 5);
  std::vector<std::vector<std::int64_t>> epochs;
  for (std::int64_t epoch = 0; epoch < 3; ++epoch) {
    std::vector<std::int64_t> samples;
    for (std::int64_t i = 0; i < kSamples; ++i) samples.push_back(order(epoch * kSamples + i));
    const std::set<std::int64_t> unique(samples.begin(), samples.end());
    EXPECT_EQ(unique.size(), static_cast<std::size_t>(kSamples));
    EXPECT_EQ(*unique.begin(), 0);
    EXPECT_EQ(*unique.rbegin(), kSamples - 1);
    epochs.push_back(samples);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  EXPECT_NE(epochs[1], epochs[2]);
  EXPECT_NE(SampleOrder(kSamples, true, 6)(0) * kSamples + SampleOrder(kSamples, true, 6)(1),
            order(0) * kSamples + order(1));
  EXPECT_EQ(SampleOrder(kSamples, true, 5)(71), epochs[1][71 - kSamples]);  // no state: any place at once
}

TEST(SampleOrder, SequentialStartsOverAtTheEnd) {
  const SampleOrder order(3, /*shuffled=*/false, 5);
  std::vector<std::int64_t> samples;
  for (std::int64_t n = 0; n < 7; ++n) samples.push_back(order(n));
  EXPECT_EQ(samples, (std::vector<std::int64_t>{0, 1, 2, 0, 1, 2, 0}));
}

}  // namespace
}  // namespace ttt
