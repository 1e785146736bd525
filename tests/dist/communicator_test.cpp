// Collectives between real processes over loopback, and what the ranks say when one of them is lost.
#include "dist/communicator.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <csignal>
#include <fstream>
#include <map>
#include <thread>

#include "base/timer.h"
#include "support/ranks.h"

namespace ttt {
namespace {

constexpr std::chrono::seconds kLong{60}, kShort{2};

// The addresses on which this process listens, from /proc/net: "0100007F" is 127.0.0.1.
std::vector<std::string> listening_addresses() {
  std::vector<std::string> inodes, addresses;
  for (int fd = 0; fd < 256; ++fd) {
    char target[128];
    const ssize_t n = readlink(cat("/proc/self/fd/", fd).c_str(), target, sizeof target);
    const std::string text(target, n > 0 ? static_cast<std::size_t>(n) : 0);
    if (text.starts_with("socket:[")) inodes.push_back(text.substr(8, text.size() - 9));
  }
  for (const char* table : {"/proc/net/tcp", "/proc/net/tcp6"}) {
    std::ifstream file(table);
    std::string line;
    std::getline(file, line);
    while (std::getline(file, line)) {
      std::istringstream fields(line);
      std::string number, local, remote, state, skip, inode;
      fields >> number >> local >> remote >> state >> skip >> skip >> skip >> skip >> skip >> inode;
      constexpr const char* kListening = "0A";
      if (state == kListening && std::find(inodes.begin(), inodes.end(), inode) != inodes.end())
        addresses.push_back(local.substr(0, local.find(':')));
    }
  }
  return addresses;
}

TEST(Communicator, CollectivesOfFourRanks) {
  expect_all_ok(run_ranks(4, [](const World& world) {
    Communicator ranks(world, at::kCPU, kLong);
    const int rank = world.rank;
    EXPECT_EQ(ranks.sum({1.0, rank + 0.5}), (std::vector<double>{4.0, 8.0}));
    EXPECT_TRUE(ranks.any(rank == 2));
    EXPECT_FALSE(ranks.any(false));
    EXPECT_EQ(ranks.all_gather(std::string(static_cast<std::size_t>(rank), 'x')),
              (std::vector<std::string>{"", "x", "xx", "xxx"}));
    EXPECT_EQ(ranks.broadcast(rank == 0 ? "from rank 0" : "not this"), "from rank 0");
    at::Tensor tensor = at::full({3}, static_cast<float>(rank));
    ranks.broadcast(tensor, 2);
    EXPECT_TRUE(at::equal(tensor, at::full({3}, 2.0f)));
    ranks.barrier();

    at::Tensor all = at::arange(8, at::kFloat) + static_cast<float>(rank), sums = all.clone();
    ranks.all_reduce(sums);
    EXPECT_TRUE(at::equal(sums, 4 * at::arange(8, at::kFloat) + 6));
    at::Tensor own = all.slice(0, 2 * rank, 2 * rank + 2);  // in place
    ranks.reduce_scatter(own, all);
    EXPECT_TRUE(at::equal(own, sums.slice(0, 2 * rank, 2 * rank + 2)));
    at::Tensor joined = at::zeros({8});
    ranks.all_gather(joined, own);
    EXPECT_TRUE(at::equal(joined, sums));
  }));
}

TEST(Communicator, SumsHaveTheSameBitsOnEveryRankAndInEveryRun) {
  expect_all_ok(run_ranks(3, [](const World& world) {
    Communicator ranks(world, at::kCPU, kLong);
    at::Tensor tensor = at::sin(at::arange(10007, at::kFloat) * static_cast<float>(world.rank + 1));
    at::Tensor first = tensor.clone(), second = tensor.clone(), padded = at::cat({tensor, at::zeros({1})});
    ranks.all_reduce(first);
    ranks.all_reduce(second);
    EXPECT_TRUE(at::equal(first, second));
    const std::string bytes(static_cast<const char*>(first.const_data_ptr()), first.nbytes());
    for (const std::string& other : ranks.all_gather(bytes)) EXPECT_TRUE(other == bytes);
    at::Tensor own = at::empty({3336});
    ranks.reduce_scatter(own, padded);
    ranks.all_reduce(padded);
    EXPECT_TRUE(at::equal(own, padded.slice(0, world.rank * 3336, (world.rank + 1) * 3336)));
  }));
}

TEST(Communicator, ListensOnLoopbackAlone) {
  expect_all_ok(run_ranks(2, [](const World& world) {
    const Communicator ranks(world, at::kCPU, kLong);
    const std::vector<std::string> addresses = listening_addresses();
    EXPECT_EQ(addresses.size(), world.rank == 0 ? 2u : 1u);  // the store, Gloo
    for (const std::string& address : addresses) EXPECT_EQ(address, "0100007F");
  }));
}

TEST(Communicator, ThreadsExchangeValuesWhileCollectivesRun) {
  expect_all_ok(run_ranks(2, [](const World& world) {
    Communicator ranks(world, at::kCPU, kLong);
    const auto exchange = ranks.open_exchange();
    const std::string binary("\0\xff bytes", 8);
    std::thread background([&] {
      if (world.rank == 0) {
        EXPECT_EQ(exchange->wait("manifest/1"), binary);
        exchange->post("done", "yes");
      } else {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        exchange->post("manifest/1", binary);
        EXPECT_EQ(exchange->wait("done"), "yes");
      }
    });
    for (int i = 0; i < 100; ++i) EXPECT_EQ(ranks.sum({1.0}).front(), 2.0);
    background.join();
    ranks.barrier();  // rank 0 keeps the values: it goes when they have been read
  }));
}

TEST(Communicator, AKilledRankIsNamed) {
  for (const int victim : {2, 0}) {
    const auto ends = run_ranks(3, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kLong);
      ranks.set_step(12);
      ranks.barrier();
      if (world.rank == victim) raise(SIGKILL);
      ranks.sum({1.0});
    });
    for (int rank = 0; rank < 3; ++rank) {
      const RankEnd& end = ends[static_cast<std::size_t>(rank)];
      if (rank == victim) {
        EXPECT_EQ(end.signal, SIGKILL);
        continue;
      }
      EXPECT_EQ(end.code, 1) << end.message;
      EXPECT_TRUE(end.message.starts_with(cat("rank ", rank, ", step 12: all-reduce failed, and rank ", victim)))
          << end.message;
    }
  }
}

TEST(Communicator, AStoppedRankIsNamedAfterTheTimeout) {
  for (const int victim : {1, 0}) {
    const auto ends = run_ranks(3, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kShort);
      const std::vector<std::string> pids = ranks.all_gather(std::to_string(getpid()));
      if (world.rank == victim) raise(SIGSTOP);
      try {
        ranks.sum({1.0});
      } catch (const std::exception&) {
        if (world.rank == 2) kill(std::stoi(pids[static_cast<std::size_t>(victim)]), SIGKILL);  // ends the test
        throw;
      }
    });
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == victim) continue;
      const RankEnd& end = ends[static_cast<std::size_t>(rank)];
      EXPECT_EQ(end.code, 1) << end.message;
      EXPECT_NE(end.message.find(cat("rank ", victim)), std::string::npos) << end.message;
    }
  }
}

// As it is with a machine that is gone: connections stay open, and nothing comes. The timeout is far away.
TEST(Communicator, ASilentRankIsNamedLongBeforeTheTimeout) {
  for (const int victim : {1, 0}) {
    const Timer timer;
    const auto ends = run_ranks(3, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kLong, "", /*silence=*/std::chrono::seconds(2));
      const std::vector<std::string> pids = ranks.all_gather(std::to_string(getpid()));
      if (world.rank == victim) raise(SIGSTOP);
      try {
        // One waits as for its GPU, one in Gloo.
        world.rank == 2 ? ranks.wait_until("the sum of gradients", [] { return false; }) : ranks.barrier();
      } catch (const std::exception&) {
        if (world.rank == 2) kill(std::stoi(pids[static_cast<std::size_t>(victim)]), SIGKILL);  // ends the test
        throw;
      }
    });
    EXPECT_LT(timer.seconds(), 40);
    for (int rank = 0; rank < 3; ++rank) {
      if (rank == victim) continue;
      const RankEnd& end = ends[static_cast<std::size_t>(rank)];
      EXPECT_EQ(end.code, 1) << end.message;
      EXPECT_NE(end.message.find(cat("rank ", victim)), std::string::npos) << end.message;
    }
    if (victim == 1) {  // whoever notices it first says so, and the others may hear of that
      const std::string said = ends[0].message + "\n" + ends[2].message;
      EXPECT_NE(said.find("rank 1 has not been heard of for 2 s"), std::string::npos) << said;
    }
  }
}

// A suspended job, a frozen container: all are stopped for longer than a rank may be silent, and go on.
TEST(Communicator, AJobThatIsStoppedAsAWholeGoesOn) {
  expect_all_ok(run_ranks(2, [](const World& world) {
    Communicator ranks(world, at::kCPU, kLong, "", /*silence=*/std::chrono::seconds(2));
    ranks.barrier();
    const pid_t self = getpid(), helper = fork();
    if (helper == 0) {
      kill(self, SIGSTOP);
      sleep(4);
      kill(self, SIGCONT);
      _exit(0);
    }
    int status = 0;
    waitpid(helper, &status, 0);
    ranks.wait_until("a second", [timer = Timer()] { return timer.seconds() > 1; });
    EXPECT_EQ(ranks.sum({1.0}).front(), 2.0);
    ranks.finish();
  }));
}

TEST(Communicator, AnExchangeWithAStoppedRankEnds) {
  const auto ends = run_ranks(2, [](const World& world) {
    Communicator ranks(world, at::kCPU, kShort);
    const auto exchange = ranks.open_exchange();
    const std::vector<std::string> pids = ranks.all_gather(std::to_string(getpid()));
    if (world.rank == 0) raise(SIGSTOP);
    const auto end_of = [](const auto& call) -> std::string {
      try {
        call();
      } catch (const std::exception& error) {
        return error.what();
      }
      return "no exception";
    };
    EXPECT_EQ(end_of([&] { exchange->wait("what nobody posts"); }),
              "exchanging 'what nobody posts' between ranks failed: no answer in 2 s");
    EXPECT_EQ(end_of([&] { exchange->post("a", "b"); }), "exchanging 'a' between ranks failed: no answer in 2 s");
    kill(std::stoi(pids[0]), SIGKILL);  // ends the test
  });
  EXPECT_EQ(ends[0].signal, SIGKILL);
  EXPECT_EQ(ends[1].code, 0) << ends[1].message;
}

TEST(Communicator, WhatOneRankFailedForIsWhatAllSay) {
  // Several times: what the others are writing when the connections close differs.
  for (const int culprit : {1, 0, 1, 1, 1, 1, 1, 1}) {
    const auto ends = run_ranks(3, [&](const World& world) {
      Communicator ranks(world, at::kCPU, kLong);
      ranks.guarded([&] {
        if (world.rank == culprit) user_error("the disk is full; free some space");
        ranks.sum({1.0});
      });
    });
    for (int rank = 0; rank < 3; ++rank) {
      const RankEnd& end = ends[static_cast<std::size_t>(rank)];
      EXPECT_EQ(end.code, 2) << "signal " << end.signal << end.message;
      const std::string told = cat("rank ", culprit, " stopped: the disk is full; free some space");
      EXPECT_EQ(end.message, rank == culprit ? "the disk is full; free some space" : told);
    }
  }
}

// As a rank waits for its GPU, in which a collective hangs: what no collective of this process would tell it.
TEST(Communicator, WhoWaitsForADeviceHearsOfTheRankThatFailed) {
  const auto ends = run_ranks(2, [&](const World& world) {
    Communicator ranks(world, at::kCPU, kLong);
    ranks.guarded([&] {
      if (world.rank == 1) fail("the GPU has fallen off the bus");
      int polls = 0;
      ranks.wait_until("a sum", [&] { return ++polls == 3; });
      EXPECT_EQ(polls, 3);
      ranks.set_step(7);
      ranks.wait_until("the sum of gradients", [] { return false; });
    });
  });
  EXPECT_EQ(ends[1].message, "the GPU has fallen off the bus");
  EXPECT_EQ(ends[0].message,
            "rank 0, step 7: the sum of gradients failed, since rank 1 stopped: the GPU has fallen off the bus");
}

TEST(Communicator, WhoWaitsForADeviceWaitsNoLongerThanTheTimeout) {
  const auto ends = run_ranks(2, [&](const World& world) {
    Communicator ranks(world, at::kCPU, std::chrono::seconds(1));
    const std::vector<std::string> pids = ranks.all_gather(std::to_string(getpid()));
    if (world.rank == 1) raise(SIGSTOP);
    try {
      ranks.wait_until("the sum of gradients", [] { return false; });
    } catch (const std::exception&) {
      kill(std::stoi(pids[1]), SIGKILL);  // ends the test
      throw;
    }
  });
  EXPECT_EQ(ends[0].message,
            "rank 0, before the first step: the sum of gradients failed, and rank 1 does not answer: killed, stuck or "
            "cut off (not through in 1 s)");
}

TEST(Communicator, WhoDoesNotComeIsNamed) {
  const auto ends = run_ranks(3, [](const World& world) {
    if (world.rank == 1) return;
    const Communicator ranks(world, at::kCPU, kShort);
  });
  EXPECT_EQ(ends[0].message, "rank 0 waited 2 s for the others, and rank 1 of 3 did not come");
  EXPECT_EQ(ends[2].code, 1) << ends[2].message;
  const auto without_first = run_ranks(2, [](const World& world) {
    if (world.rank == 0) return;
    const Communicator ranks(world, at::kCPU, kShort);
  });
  EXPECT_TRUE(without_first[1].message.starts_with("rank 1 could not reach rank 0 at 127.0.0.1:"))
      << without_first[1].message;
}

TEST(Communicator, APortThatIsTakenIsNamed) {
  const auto ends = run_ranks(2, [](const World& world) {
    if (world.rank == 1) return;
    World alone;
    alone.master_address = world.master_address;
    alone.master_port = world.master_port;
    const Communicator first(alone, at::kCPU, kLong);
    const Communicator second(world, at::kCPU, kShort);
  });
  EXPECT_EQ(ends[0].code, 2);
  EXPECT_NE(ends[0].message.find("is taken"), std::string::npos) << ends[0].message;
}

}  // namespace
}  // namespace ttt
