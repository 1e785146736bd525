// Data sets of tasks and of prompts with answers: what is scored survives writing, reading and mixing.
#include <gtest/gtest.h>

#include "base/error.h"
#include "base/files.h"
#include "data/dataset.h"
#include "data/mixture.h"
#include "data/prepare.h"
#include "data/scratch.h"
#include "data/statistics.h"
#include "data/task_testing.h"
#include "data/writer.h"

namespace ttt {
namespace {

class TaskSetTest : public testing::Test {
 protected:
  ScratchFolder scratch_;
};

TEST_F(TaskSetTest, ASetHasItsSamplesAndSaysWhatIsScored) {
  PrepareTask options{.task = "copy", .settings = {"items=5", "vocab_size=9", "min_items=2"}, .samples = 40, .seed = 3};
  options.output = scratch_ / "copy";
  options.shard_tokens = 100;  // several shards, cut within samples
  prepare_task(options);
  const Dataset data(options.output);
  EXPECT_TRUE(data.has_scores());
  EXPECT_EQ(data.num_documents(), 40);
  EXPECT_EQ(data.num_tokens(), 40 * 11);
  EXPECT_EQ(data.vocab_size(), 9);
  EXPECT_TRUE(data.verify().empty());
  const TaskSettings settings("copy", options.settings);
  const std::vector<std::int64_t> offsets = document_offsets(options.output);
  std::int64_t scored = 0;
  for (std::int64_t i = 0; i < 40; ++i) {
    const TaskSample sample = task_sample(settings, 3, i);
    EXPECT_EQ(offsets[static_cast<std::size_t>(i)], i * 11);
    EXPECT_EQ(data.tokens(i * 11, 11), sample.tokens);
    EXPECT_EQ(data.marks(i * 11, 11), sample.marks);
    EXPECT_EQ(data.items(i), sample.items);
    scored += sample.items;
  }
  EXPECT_EQ(data.scored_tokens(), scored);
  const Batch batch = data.batch({0, 7}, 11);
  for (std::int64_t t = 0; t < 11; ++t) {
    const std::int64_t target = 7 * 11 + t + 1;
    EXPECT_EQ(batch.targets_BT[1][t].item<std::int64_t>(), data.tokens(target, 1)[0]);
    EXPECT_EQ(batch.scored_BT[1][t].item<bool>(), (data.marks(target, 1)[0] & kScored) != 0);
  }
  // Another seed, another set of the same kind; the same again, the same bytes.
  PrepareTask again = options, other = options;
  again.output = scratch_ / "again";
  other.output = scratch_ / "other";
  other.seed = 4;
  prepare_task(again);
  prepare_task(other);
  EXPECT_EQ(Dataset(again.output).fingerprint(), data.fingerprint());
  EXPECT_NE(Dataset(other.output).fingerprint(), data.fingerprint());
  // A set in place is not replaced unasked, and damage is found.
  EXPECT_THROW(prepare_task(options), UserError);
  std::string marks = read_file(options.output / "scored-00000.bin");
  marks[12] = static_cast<char>(marks[12] ^ 1);
  write_file_atomically(options.output / "scored-00000.bin", marks);
  ASSERT_EQ(data.verify().size(), 1u);
  EXPECT_NE(data.verify()[0].find("scored-00000.bin"), std::string::npos);
  fs::resize_file(options.output / "scored-00000.bin", 50);
  EXPECT_THROW(Dataset{options.output}, UserError);
  fs::remove(options.output / "scored-00000.bin");
  EXPECT_THROW(Dataset{options.output}, UserError);
}

// A set that says what is scored beside one that does not: the latter's targets all count.
TEST_F(TaskSetTest, MixturesKeepWhatIsScored) {
  PrepareTask options{.task = "copy", .settings = {"items=5", "vocab_size=9"}, .samples = 20};
  options.output = scratch_ / "task";
  prepare_task(options);
  DatasetWriterOptions plain;
  plain.directory = scratch_ / "plain";
  plain.vocab_size = 9;
  DatasetWriter writer(plain);
  writer.begin_document();
  writer.append(std::vector<std::int32_t>(23, 4));
  writer.commit();
  std::vector<MixtureSource> sources;
  sources.push_back({"task", 1, Dataset(options.output)});
  sources.push_back({"plain", 1, Dataset(plain.directory)});
  const Batch batch = mixture_batch(sources, {{1, 0}, {0, 2}}, 11);
  EXPECT_EQ(batch.scored_BT[0].sum().item<std::int64_t>(), 11);
  EXPECT_EQ(batch.scored_BT[1].sum().item<std::int64_t>(), 5);
  std::vector<MixtureSource> alone;
  alone.push_back({"plain", 1, Dataset(plain.directory)});
  EXPECT_FALSE(mixture_batch(alone, {{0, 0}}, 11).scored_BT.defined());
}

}  // namespace
}  // namespace ttt
