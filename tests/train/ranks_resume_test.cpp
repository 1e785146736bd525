// What the ranks of a resumed training read of its checkpoint: each its own part of the moments, and one of a machine
// every hash.
#include <gtest/gtest.h>
#include <torch/types.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <sstream>
#include <utility>

#include "train/rank_trainer.h"
#include "train/tiny_run.h"

namespace ttt {
namespace {

class RanksResume : public TinyRunTest {
 protected:
  RunConfig ranks_config() const {
    RunConfig c = config(MixerPattern({MixerKind::kTttMlp, MixerKind::kAttention}));
    c.train.micro_batch = 1;
    c.train.steps = 2;
    c.checkpoint.every = 1;
    c.checkpoint.keep_last = 0;
    c.dist.zero = 1;
    c.dist.timeout_seconds = 60;
    return c;
  }
  void train(const RunConfig& c, int size) const {
    expect_all_ok(run_ranks(size, [&](const World& world) {
      with_trainer(c, world, [](Trainer& trainer, Communicator*) { EXPECT_EQ(trainer.run(), ExitCode::kOk); });
    }));
  }
  fs::path folder(const RunConfig& c, std::int64_t step) const {
    return checkpoint_path(fs::path(c.output_dir) / "checkpoints", step);
  }
};

// A rank's reads, as lines "TENSOR FIRST LAST".
class Reads {
 public:
  std::string text;
  std::vector<std::string> files;

 private:
  OptimizerReadWatch watch_{[this](const std::string& path, const std::string& tensor, ElementRange elements) {
    text += cat(tensor, " ", elements.first, " ", elements.last, "\n");
    files.push_back(fs::path(path).filename().string());
  }};
};

// Moments that were not read by exactly one rank: "exp_avg/NAME: element 5 by ranks 0, 1".
std::vector<std::string> problems_of(const std::vector<std::string>& reads_by_rank, Trainer& trainer) {
  std::map<std::string, std::vector<std::string>> readers;  // of each element
  for (const auto& parameter : trainer.model().named_parameters()) {
    for (const char* moment : {"exp_avg/", "exp_avg_sq/"})
      readers[moment + parameter.key()].resize(static_cast<std::size_t>(parameter.value().numel()));
  }
  for (std::size_t rank = 0; rank < reads_by_rank.size(); ++rank) {
    std::istringstream lines(reads_by_rank[rank]);
    std::string tensor;
    for (std::size_t first = 0, last = 0; lines >> tensor >> first >> last;) {
      for (std::size_t i = first; i < last; ++i) {
        std::string& ranks = readers.at(tensor).at(i);
        ranks += cat(ranks.empty() ? "" : ", ", rank);
      }
    }
  }
  std::vector<std::string> problems;
  for (const auto& [tensor, ranks] : readers) {
    for (std::size_t i = 0; i < ranks.size(); ++i) {
      if (ranks[i].size() == 1) continue;
      problems.push_back(cat(tensor, ": element ", i, " by ranks ", ranks[i].empty() ? "none" : ranks[i]));
      break;
    }
  }
  return problems;
}

TEST_F(RanksResume, ReadTheirOwnMomentsAndNoOthers) {
  const std::vector<std::pair<int, int>> numbers = {{2, 2}, {4, 2}, {1, 4}, {2, 4}};
  for (const auto& [saved_by, resumed_by] : numbers) {
    RunConfig c = ranks_config();
    c.output_dir += cat("-", saved_by, "-", resumed_by);
    train(c, saved_by);
    ++c.train.steps;
    expect_all_ok(run_ranks(resumed_by, [&, equal = saved_by == resumed_by](const World& world) {
      Reads reads;
      with_trainer(c, world, [&](Trainer& trainer, Communicator* ranks) {
        EXPECT_EQ(trainer.state().step, 2);
        const std::vector<std::string> problems = problems_of(ranks->all_gather(reads.text), trainer);
        EXPECT_TRUE(problems.empty()) << problems.front();
        const std::string own = optimizer_file_name(world.rank, world.size);
        EXPECT_TRUE(!equal || std::count(reads.files.begin(), reads.files.end(), own) == std::ssize(reads.files));
        EXPECT_EQ(trainer.run(), ExitCode::kOk);
      });
    }));
  }
}

TEST_F(RanksResume, ARankThatReadsAnothersMomentsIsNamed) {
  RunConfig c = ranks_config();
  train(c, 2);
  expect_all_ok(run_ranks(2, [&](const World& world) {
    Reads reads;
    with_trainer(c, world, [&](Trainer& trainer, Communicator* ranks) {
      const auto parameter = trainer.model().named_parameters().front();
      const std::string moment = "exp_avg/" + parameter.key();
      if (world.rank == 1) {
        const Checkpoint all = read_checkpoint(folder(c, 2), CheckpointParts::kAll);
        all.stored_optimizer.read(moment, {0, parameter.value().numel()}, torch::empty({parameter.value().numel()}));
      }
      const std::vector<std::string> problems = problems_of(ranks->all_gather(reads.text), trainer);
      ASSERT_EQ(problems.size(), 1u);
      EXPECT_TRUE(problems.front().starts_with(moment + ": element 0 by ranks ")) << problems.front();
    });
  }));
}

// Without ZeRO-1 every rank owns all of the moments.
TEST_F(RanksResume, WithoutZero1EveryRankReadsAll) {
  RunConfig c = ranks_config();
  c.dist.zero = 0;
  train(c, 2);
  expect_all_ok(run_ranks(2, [&](const World& world) {
    Reads reads;
    with_trainer(c, world,
                 [&](Trainer& trainer, Communicator*) { EXPECT_TRUE(problems_of({reads.text}, trainer).empty()); });
  }));
}

void flip_the_last_byte(const fs::path& file) {
  std::string bytes = read_file(file);
  bytes.back() = static_cast<char>(bytes.back() ^ 4);
  std::ofstream(file, std::ios::binary) << bytes;
}

TEST_F(RanksResume, DamageIsFoundByOneAndAllFallBackOrStop) {
  RunConfig c = ranks_config();
  train(c, 2);
  flip_the_last_byte(folder(c, 2) / optimizer_file_name(1, 2));  // what rank 1 would read, and rank 0 checks
  ++c.train.steps;
  expect_all_ok(run_ranks(2, [&](const World& world) {
    with_trainer(c, world, [](Trainer& trainer, Communicator*) { EXPECT_EQ(trainer.state().step, 1); });
  }));
  EXPECT_TRUE(fs::exists(folder(c, 2).string() + ".damaged"));
  flip_the_last_byte(folder(c, 1) / "model.safetensors");
  const auto ends = run_ranks(2, [&](const World& world) { with_trainer(c, world, [](Trainer&, Communicator*) {}); });
  for (const RankEnd& end : ends) EXPECT_EQ(end.code, 2);
  EXPECT_NE(ends[0].message.find("model.safetensors (tensor '"), std::string::npos) << ends[0].message;
  EXPECT_EQ(ends[1].message, "rank 0 stopped: " + ends[0].message);
}

// Rank 1 has a damaged copy: as a process of rank 0's machine it takes rank 0's word, on a machine of its own it checks.
TEST_F(RanksResume, OneProcessOfAMachineChecksTheHashes) {
  RunConfig c = ranks_config();
  c.output_dir = "run";
  c.dist.zero = 0;
  const fs::path there = scratch_ / "there";
  fs::create_directories(there);
  const auto in_its_place = [&](const World& world) { fs::current_path(world.rank == 0 ? scratch_ : there); };
  expect_all_ok(run_ranks(2, [&](const World& world) {
    in_its_place(world);
    with_trainer(c, world, [](Trainer& trainer, Communicator*) { EXPECT_EQ(trainer.run(), ExitCode::kOk); });
  }));
  fs::copy(scratch_ / "run", there / "run", fs::copy_options::recursive);
  flip_the_last_byte(checkpoint_path(there / "run" / "checkpoints", 2) / "model.safetensors");
  expect_all_ok(run_ranks(2, [&](const World& world) {
    in_its_place(world);
    with_trainer(c, world, [](Trainer& trainer, Communicator*) { EXPECT_EQ(trainer.state().step, 2); });
  }));
  const auto ends = run_ranks(2, [&](World world) {
    in_its_place(world);
    world.local_rank = 0;
    world.local_size = 1;
    with_trainer(c, world, [](Trainer&, Communicator*) {});
  });
  for (const RankEnd& end : ends) EXPECT_EQ(end.code, 2);
  EXPECT_NE(ends[1].message.find("does not have the checksum"), std::string::npos) << ends[1].message;
  EXPECT_EQ(ends[0].message, "rank 1 stopped: " + ends[1].message);
}

}  // namespace
}  // namespace ttt
