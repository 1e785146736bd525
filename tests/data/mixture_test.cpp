// Mixtures: shares, epochs of each source, O(1) seek, and sources that do not fit together.
#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "data/domains.h"
#include "data/prepare.h"
#include "data/scratch.h"
#include "data/writer.h"

namespace ttt {
namespace {

using Sources = std::vector<MixtureOrder::Source>;

TEST(MixtureOrder, SharesAreRightAfterAnyNumberOfSamples) {
  const Sources sources = {{"a", 50, 0.7}, {"b", 1000, 0.2}, {"c", 7, 0.0999}, {"d", 3, 0.0001}};
  for (const std::uint64_t seed : {1u, 2u, 3u}) {
    const MixtureOrder order(sources, /*shuffled=*/true, seed);
    std::vector<std::int64_t> counts(sources.size());
    double worst = 0;
    for (std::int64_t n = 0; n < 20000; ++n) {
      for (std::size_t i = 0; i < sources.size(); ++i) {
        ASSERT_EQ(order.count(i, n), counts[i]) << n;
        worst = std::max(worst, std::abs(static_cast<double>(counts[i]) - sources[i].weight * static_cast<double>(n)));
      }
      ++counts[order(n).source];
    }
    EXPECT_LT(worst, 4.0);
  }
  // Far out, where only O(1) seek comes to.
  const MixtureOrder order(sources, true, 1);
  const std::int64_t far = std::int64_t{1} << 44;
  std::int64_t sum = 0;
  for (std::size_t i = 0; i < sources.size(); ++i) {
    sum += order.count(i, far);
    EXPECT_NEAR(static_cast<double>(order.count(i, far)) / static_cast<double>(far), sources[i].weight, 1e-9);
  }
  EXPECT_EQ(sum, far);
  EXPECT_EQ(order.count(order(far).source, far + 1), order.count(order(far).source, far) + 1);
}

TEST(MixtureOrder, EverySampleOfASourceComesOnceInEachOfItsEpochs) {
  const Sources sources = {{"a", 13, 3}, {"b", 40, 2}};
  const MixtureOrder order(sources, true, 9);
  std::vector<std::vector<std::int64_t>> drawn(2);
  for (std::int64_t n = 0; n < 500; ++n) drawn[order(n).source].push_back(order(n).index);
  for (std::size_t i = 0; i < 2; ++i) {
    const auto epoch_size = static_cast<std::size_t>(sources[i].num_samples);
    std::set<std::vector<std::int64_t>> epochs;
    for (std::size_t first = 0; first + epoch_size <= drawn[i].size(); first += epoch_size) {
      std::vector<std::int64_t> epoch(drawn[i].begin() + static_cast<std::ptrdiff_t>(first),
                                      drawn[i].begin() + static_cast<std::ptrdiff_t>(first + epoch_size));
      epochs.insert(epoch);
      std::sort(epoch.begin(), epoch.end());
      for (std::size_t k = 0; k < epoch_size; ++k) ASSERT_EQ(epoch[k], static_cast<std::int64_t>(k));
    }
    EXPECT_EQ(epochs.size(), drawn[i].size() / epoch_size);  // each in an order of its own
  }
}

TEST(MixtureOrder, IsAPureFunctionOfSeedAndPlace) {
  const Sources sources = {{"a", 100, 1}, {"b", 100, 1}, {"c", 100, 0}};
  const MixtureOrder one(sources, true, 5), same(sources, true, 5), other(sources, true, 6);
  int different = 0;
  for (std::int64_t n = 299; n >= 0; --n) {  // backwards: no state
    const auto [source, index] = one(n);
    EXPECT_EQ(same(n).source, source);
    EXPECT_EQ(same(n).index, index);
    EXPECT_NE(source, 2u);  // of weight 0
    different += other(n).source != source || other(n).index != index;
  }
  EXPECT_GT(different, 200);
  // One source alone is its own order, as without mixtures.
  const MixtureOrder alone({{"a", 37, 0.3}}, true, 5);
  const SampleOrder order(37, true, 5);
  for (std::int64_t n = 0; n < 100; ++n) EXPECT_EQ(alone(n).index, order(n));
  const MixtureOrder sequential({{"a", 3, 1}, {"b", 2, 1}}, false, 5);
  std::map<std::size_t, std::vector<std::int64_t>> drawn;
  for (std::int64_t n = 0; n < 20; ++n) drawn[sequential(n).source].push_back(sequential(n).index);
  for (const auto& [source, indices] : drawn) {
    for (std::size_t k = 0; k < indices.size(); ++k)
      EXPECT_EQ(indices[k], static_cast<std::int64_t>(k % (source == 0 ? 3 : 2)));
  }
}

TEST(MixtureOrder, AShareThatIsNeverDrawnIsNamed) {
  EXPECT_TRUE(mentions(user_error_of([] {
                         MixtureOrder({{"web", 5, 1}, {"tiny", 5, 1e-14}, {"x", 5, 1}}, true, 1);
                       }),
                       {"'tiny'", "too small"}));
}

class SourcesTest : public ::testing::Test {
 protected:
  std::string write(const std::string& name, std::int64_t tokens, std::int64_t vocab_size = 100,
                    std::optional<std::int32_t> bos_id = 1) {
    DatasetWriter writer(
        {.directory = folder_ / name, .vocab_size = vocab_size, .bos_id = bos_id, .eos_id = std::nullopt});
    writer.begin_document();
    std::vector<std::int32_t> ids;
    for (std::int64_t i = 0; i < tokens; ++i) ids.push_back(static_cast<std::int32_t>(i % 50));
    writer.append(ids);
    writer.commit();
    return (folder_ / name).string();
  }

  ScratchFolder folder_;
};

TEST_F(SourcesTest, WeightsNamesAndDomains) {
  const std::string books = write("books", 300), web = write("web", 100);
  auto opened = open_sources("data.train", DataSources(std::vector<DataSource>{{books}, {web + "/"}}), false);
  ASSERT_EQ(opened.size(), 2u);
  EXPECT_EQ(opened[0].name, "books");
  EXPECT_EQ(opened[1].name, "web");
  EXPECT_EQ(open_sources("data.train", write("code/train", 100), false)[0].name, "code");
  EXPECT_EQ(opened[0].weight, 300);  // by tokens
  const std::string by_tokens = mixture_fingerprint(opened);
  opened = open_sources("data.train", DataSources(std::vector<DataSource>{{books, 0.25}, {web, 0.75, "net"}}), false);
  EXPECT_EQ(opened[1].name, "net");
  EXPECT_EQ(opened[1].weight, 0.75);
  EXPECT_NE(mixture_fingerprint(opened), by_tokens);

  // A folder with domains is its domains; a weight is dealt out by tokens.
  write("all/a/train", 300);
  write("all/b", 100);
  write_domains(folder_ / "all",
                {{{"A a", DomainIndex::Set{"a/train"}, std::nullopt}, {"B", DomainIndex::Set{"b"}, std::nullopt}}});
  opened = open_sources("data.train", DataSources(std::vector<DataSource>{{(folder_ / "all").string(), 2}, {web, 1}}),
                        false);
  ASSERT_EQ(opened.size(), 3u);
  EXPECT_EQ(opened[0].name, "A a");
  EXPECT_DOUBLE_EQ(opened[0].weight, 1.5);
  EXPECT_DOUBLE_EQ(opened[1].weight, 0.5);
  EXPECT_TRUE(mentions(user_error_of([&] { open_sources("data.valid", (folder_ / "all").string(), true); }),
                       {"data.valid", "no validation set", "--valid-fraction"}));

  const Batch batch = mixture_batch(opened, {{2, 1}, {0, 3}}, 10);
  EXPECT_EQ(batch.inputs_BT.sizes(), (at::IntArrayRef{2, 10}));
  EXPECT_EQ(batch.inputs_BT[0][0].item<std::int64_t>(), 10);
  EXPECT_EQ(batch.targets_BT[1][0].item<std::int64_t>(), 31);
}

TEST_F(SourcesTest, SetsThatDoNotFitTogetherAreNamed) {
  const std::string one = write("one", 100), wide = write("wide", 100, 200),
                    no_bos = write("no_bos", 100, 100, std::nullopt);
  const auto error = [](const std::vector<DataSource>& sources) {
    return user_error_of([&] { open_sources("data.train", DataSources(sources), false); });
  };
  EXPECT_TRUE(mentions(error({{one}, {wide}}), {"data.train", "one' has a vocabulary of 100", "wide' 200"}));
  EXPECT_TRUE(mentions(error({{one}, {no_bos}}), {"BOS id 1", "none"}));
  EXPECT_TRUE(mentions(error({{one}, {one}}), {"two sources named 'one'", "name: ..."}));
  EXPECT_TRUE(mentions(error({{one}, {one + "/nowhere"}}), {"nowhere"}));
}

}  // namespace
}  // namespace ttt
