// Statistics of documents: lengths, BOS and EOS, duplicates.
#include "data/statistics.h"

#include "data/scratch.h"
#include "data/writer.h"

namespace ttt {
namespace {

using Ids = std::vector<std::int32_t>;

class StatisticsTest : public ::testing::Test {
 protected:
  DatasetStatistics statistics_of(const std::vector<Ids>& documents, std::optional<std::int32_t> eos_id = 2) {
    DatasetWriter writer({.directory = folder_ / "set",
                          .vocab_size = 100,
                          .bos_id = 1,
                          .eos_id = eos_id,
                          .shard_tokens = 7,
                          .force = true});
    for (const Ids& document : documents) {
      writer.begin_document();
      writer.append(document);
    }
    writer.commit();
    return dataset_statistics(Dataset(folder_ / "set"), document_offsets(folder_ / "set"));
  }

  ScratchFolder folder_;
};

TEST_F(StatisticsTest, LengthsAreCountedAcrossShards) {
  std::vector<Ids> documents;
  for (int length = 1; length <= 101; ++length)
    documents.emplace_back(static_cast<std::size_t>(length), length % 90 + 3);
  const DatasetStatistics statistics = statistics_of(documents);
  EXPECT_EQ(document_offsets(folder_ / "set").size(), 102u);
  EXPECT_EQ(document_offsets(folder_ / "set")[3], 1 + 2 + 3);
  EXPECT_DOUBLE_EQ(statistics.mean_length, 51);
  EXPECT_EQ(statistics.shortest, 1);
  EXPECT_EQ(statistics.percentile_10, 11);
  EXPECT_EQ(statistics.median, 51);
  EXPECT_EQ(statistics.percentile_90, 91);
  EXPECT_EQ(statistics.longest, 101);
  EXPECT_EQ(statistics.duplicates, 0);
  EXPECT_FALSE(statistics.example.has_value());
}

TEST_F(StatisticsTest, BosAndEosAreCountedAgainstTheDocuments) {
  const std::vector<Ids> documents = {{1, 5, 2}, {1, 5, 6}, {7, 8, 2}, {1, 1, 2, 9, 2}};
  const DatasetStatistics statistics = statistics_of(documents);
  EXPECT_EQ(statistics.bos_tokens, 4);
  EXPECT_EQ(statistics.eos_tokens, 4);
  EXPECT_EQ(statistics.without_bos, 1);
  EXPECT_EQ(statistics.without_eos, 1);
  EXPECT_EQ(statistics_of(documents, std::nullopt).without_eos, 0);
}

TEST_F(StatisticsTest, DuplicatesAreThoseThatAnEarlierDocumentEquals) {
  const Ids a = {1, 5, 6, 7, 2}, b = {1, 5, 6, 8, 2}, c = {1, 5, 6, 7};
  const DatasetStatistics statistics = statistics_of({b, a, c, a, b, a, {1, 9, 9, 9, 9, 9, 9, 9, 9, 9, 2}});
  EXPECT_EQ(statistics.duplicates, 3);
  EXPECT_EQ(statistics.duplicate_tokens, 15);
  ASSERT_TRUE(statistics.example.has_value());
  EXPECT_EQ(statistics.example->first, 3);
  EXPECT_EQ(statistics.example->second, 1);
}

TEST_F(StatisticsTest, OffsetsOutOfOrderAreNamed) {
  statistics_of({{1, 2}, {1, 2}});
  std::string bytes = read_file(folder_ / "set/documents-00000.bin");
  bytes[8] = 100;
  write_file_atomically(folder_ / "set/documents-00000.bin", bytes);
  EXPECT_TRUE(
      mentions(user_error_of([&] { document_offsets(folder_ / "set"); }), {"documents-00000.bin", "out of order"}));
}

}  // namespace
}  // namespace ttt
