// Ranks that come together at one port: their own, a torchrun's, another job's, or one of something that is no store.
#include "dist/meeting.h"

#include <ATen/ATen.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <csignal>
#include <thread>

#include "base/timer.h"
#include "dist/communicator.h"
#include "dist/sockets.h"
#include "support/ranks.h"

namespace ttt {
namespace {

constexpr std::chrono::seconds kAmple{60}, kScarce{2};

// Of the processes that run_ranks() starts, those after the first `size` are not ranks of that job.
World among(const World& world, int size) {
  World result = world;
  result.size = result.local_size = size;
  result.rank = result.local_rank = world.rank % size;
  return result;
}

// What torchrun's agent does beside starting ranks: it keeps a store until the last of them is done with it.
void be_agent(const World& world, int clients) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(world.master_port);
  options.isServer = true;
  options.waitWorkers = false;
  c10d::TCPStore store(world.master_address, options);
  const Timer timer;
  while (store.add("test/done", 0) < clients && timer.seconds() < 60)
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_EQ(store.add("test/done", 0), clients);
}

void tell_agent(const World& world) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(world.master_port);
  options.waitWorkers = false;
  c10d::TCPStore(world.master_address, options).add("test/done", 1);
}

TEST(Meeting, UnderAnAgentThatKeepsTheStore) {
  expect_all_ok(run_ranks(3, [](const World& world) {
    if (world.rank == 2) return be_agent(world, 2);
    World rank = among(world, 2);
    rank.agent_store = true;
    // Started again and again, with the agent counting and, after a change of its nodes, without.
    for (const int restart : {0, 0, 1, 1, 2}) {
      rank.restart = restart;
      Communicator ranks(rank, at::kCPU, kAmple, "run");
      EXPECT_EQ(ranks.sum({1.0 + rank.rank}), std::vector<double>{3.0});
      const auto exchange = ranks.open_exchange();
      if (rank.rank == 0) {
        exchange->post("key", cat("start ", restart));
      } else {
        EXPECT_EQ(exchange->wait("key"), cat("start ", restart));
      }
      ranks.barrier();
    }
    tell_agent(rank);
  }));
}

TEST(Meeting, WhoWaitsForTheAgentsStoreNamesIt) {
  const auto ends = run_ranks(1, [](const World& world) {
    World rank = world;
    rank.size = 2;
    rank.agent_store = true;
    rank.launcher = "torchrun";
    Communicator(rank, at::kCPU, kScarce, "run");
  });
  EXPECT_NE(ends[0].message.find("(2 processes by torchrun; "), std::string::npos) << ends[0].message;
  EXPECT_TRUE(ends[0].message.starts_with("rank 0 could not reach the store of torchrun's agent at 127.0.0.1:"))
      << ends[0].message;
}

// Rank 1 of job b comes to the port of job a, before a's own ranks are there or when they train already.
TEST(Meeting, ARankOfAnotherJobIsTurnedAwayByName) {
  for (const bool late : {false, true}) {
    const auto ends = run_ranks(3, [&](const World& world) {
      if (world.rank == 2) {  // the stranger
        World stranger = among(world, 2);
        stranger.rank = stranger.local_rank = 1;
        if (late) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        Communicator(stranger, at::kCPU, kAmple, "runs/b");
        return;
      }
      if (world.rank == 1 && !late) std::this_thread::sleep_for(std::chrono::milliseconds(1500));
      Communicator ranks(among(world, 2), at::kCPU, kAmple, "runs/a");
      std::this_thread::sleep_for(std::chrono::milliseconds(late ? 3000 : 0));
      int looks = 0;
      ranks.wait_until("a look for failures",
                       [&] { return ++looks > 20000; });  // a second: the stranger has left no word
      EXPECT_EQ(ranks.sum({1.0}).front(), 2.0);
    });
    EXPECT_EQ(ends[0].code, 0) << ends[0].message;
    EXPECT_EQ(ends[1].code, 0) << ends[1].message;
    EXPECT_EQ(ends[2].code, 2) << ends[2].message;
    EXPECT_NE(ends[2].message.find("the ranks of another job meet, 'runs/a' with 2 processes, and this is rank 1 of "
                                   "'runs/b' with 2 processes; give each job a MASTER_PORT of its own"),
              std::string::npos)
        << ends[2].message;
  }
}

TEST(Meeting, AnotherNumberOfProcessesIsAnotherJob) {
  const auto ends = run_ranks(4, [&](const World& world) {
    if (world.rank == 3) {
      World stranger = among(world, 4);
      Communicator(stranger, at::kCPU, kAmple, "runs/a");
      return;
    }
    Communicator ranks(among(world, 3), at::kCPU, kAmple, "runs/a");
    EXPECT_EQ(ranks.sum({1.0}).front(), 3.0);
  });
  EXPECT_EQ(ends[3].code, 2) << ends[3].message;
  for (int rank = 0; rank < 3; ++rank) EXPECT_EQ(ends[static_cast<std::size_t>(rank)].code, 0);
}

TEST(Meeting, TheLaunchersNameOfTheJobCountsMore) {
  const Introduction own{1, 2, "Slurm step 7.0", "runs/a", ""};
  Introduction other = own;
  other.output = "runs/b";  // a mistake of this job: said later, with the key
  EXPECT_TRUE(own.same_job(other));
  other = own;
  other.job = "Slurm step 8.0";
  EXPECT_FALSE(own.same_job(other));
  other.job = "";
  EXPECT_TRUE(own.same_job(other));
  other.output = "runs/b";
  EXPECT_FALSE(own.same_job(other));
  other = own;
  other.size = 4;
  EXPECT_FALSE(own.same_job(other));
}

TEST(Meeting, IntroductionsAreReadAsTheyWereWritten) {
  const Introduction own{3, 8, "", "runs/with space", "process 12 on node1"};
  const auto read = Introduction::from_text(own.to_text());
  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->to_text(), own.to_text());
  EXPECT_EQ(read->job_text(), "'runs/with space' with 8 processes");
  for (const char* text : {"", "1", "1\n2", "x\n2\n\na\nb", "1\n2x\n\na\nb"})
    EXPECT_FALSE(Introduction::from_text(text).has_value()) << text;
}

// The rank of the same job that comes a second time waits for its turn, and says what it found.
TEST(Meeting, ARankThatIsThereAlreadyIsNamed) {
  const auto ends = run_ranks(3, [&](const World& world) {
    if (world.rank == 2) {
      World again = among(world, 2);
      again.rank = again.local_rank = 1;
      std::this_thread::sleep_for(std::chrono::milliseconds(1000));
      Communicator(again, at::kCPU, kScarce, "runs/a");
      return;
    }
    Communicator ranks(among(world, 2), at::kCPU, kAmple, "runs/a");
    std::this_thread::sleep_for(std::chrono::seconds(5));
    EXPECT_EQ(ranks.sum({1.0}).front(), 2.0);
  });
  EXPECT_EQ(ends[0].code, 0) << ends[0].message;
  EXPECT_EQ(ends[1].code, 0) << ends[1].message;
  EXPECT_EQ(ends[2].code, 1) << ends[2].message;
  EXPECT_NE(ends[2].message.find("rank 1 of this job, 'runs/a' with 2 processes, has been there before"),
            std::string::npos)
      << ends[2].message;
}

// A job that starts again while its last start is still ending: rank 1 finds the old rank 0 and waits for the new one.
TEST(Meeting, ARankThatIsEarlyAfterARestartWaits) {
  const auto ends = run_ranks(3, [&](const World& world) {
    if (world.rank == 2) {  // the new rank 1
      World again = among(world, 2);
      again.rank = again.local_rank = 1;
      std::this_thread::sleep_for(std::chrono::milliseconds(1000));
      EXPECT_EQ(Communicator(again, at::kCPU, kAmple, "runs/a").sum({1.0}).front(), 2.0);
      return;
    }
    {
      Communicator ranks(among(world, 2), at::kCPU, kAmple, "runs/a");
      std::this_thread::sleep_for(std::chrono::seconds(3));
    }
    if (world.rank == 1) return;
    EXPECT_EQ(Communicator(among(world, 2), at::kCPU, kAmple, "runs/a").sum({1.0}).front(), 2.0);
  });
  expect_all_ok(ends);
}

// Something that takes connections and never answers, and something that answers and is no store.
TEST(Meeting, AServerThatIsNoStoreEndsTheWait) {
  for (const bool talks : {false, true}) {
    const auto ends = run_ranks(2, [&](const World& world) {
      if (world.rank == 0) {
        const int fd = bind_master_socket(world);
        fcntl(fd, F_SETFL, O_NONBLOCK);
        const Timer timer;
        while (timer.seconds() < 8) {
          std::this_thread::sleep_for(std::chrono::milliseconds(10));
          const int connection = accept(fd, nullptr, nullptr);
          constexpr std::string_view kGreeting = "SSH-2.0-OpenSSH_9.2 and some more words\r\n";
          if (talks && connection >= 0) {
            EXPECT_GT(send(connection, kGreeting.data(), kGreeting.size(), MSG_NOSIGNAL), 0);
          }
        }
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(500));
      const Timer timer;
      try {
        Communicator(world, at::kCPU, kScarce, "runs/a");
      } catch (const std::exception&) {
        EXPECT_LT(timer.seconds(), 7);
        throw;
      }
    });
    EXPECT_EQ(ends[1].code, 1) << ends[1].message;
    EXPECT_TRUE(ends[1].message.starts_with("rank 1 could not reach rank 0 at 127.0.0.1:")) << ends[1].message;
    EXPECT_NE(ends[1].message.find("what listens there does not answer as rank 0 does"), std::string::npos)
        << ends[1].message;
  }
}

// Rank 0 has opened its store and is stopped before it hears anybody.
TEST(Meeting, AStoppedRankZeroEndsTheWait) {
  const auto ends = run_ranks(2, [&](const World& world) {
    if (world.rank == 0) {
      c10d::TCPStoreOptions options;
      options.port = static_cast<std::uint16_t>(world.master_port);
      options.isServer = true;
      options.waitWorkers = false;
      c10d::TCPStore store(world.master_address, options);
      static_cast<c10d::Store&>(store).set("pid", std::to_string(getpid()));
      store.wait({"stop"});
      raise(SIGSTOP);
      return;
    }
    c10d::TCPStoreOptions options;
    options.port = static_cast<std::uint16_t>(world.master_port);
    options.waitWorkers = false;
    c10d::TCPStore store(world.master_address, options);
    const std::vector<std::uint8_t> bytes = store.get("pid");
    const int first = std::stoi(std::string(bytes.begin(), bytes.end()));
    std::thread([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(700));
      static_cast<c10d::Store&>(store).set("stop", "");
    }).detach();
    try {
      Communicator(world, at::kCPU, kScarce, "runs/a");
    } catch (const std::exception&) {
      kill(first, SIGKILL);  // ends the test
      throw;
    }
    kill(first, SIGKILL);
  });
  EXPECT_EQ(ends[1].code, 1) << ends[1].message;
  EXPECT_NE(ends[1].message.find("stopped answering"), std::string::npos) << ends[1].message;
}

TEST(Meeting, AllHearWhoDidNotCome) {
  const auto ends = run_ranks(4, [](const World& world) {
    if (world.rank == 2) return;
    Communicator(world, at::kCPU, kScarce, "runs/a");
  });
  for (const int rank : {0, 1, 3})
    EXPECT_EQ(ends[static_cast<std::size_t>(rank)].message,
              "rank 0 waited 2 s for the others, and rank 2 of 4 did not come");
}

}  // namespace
}  // namespace ttt
