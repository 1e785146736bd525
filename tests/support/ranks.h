// Real processes that run as the ranks of one training over loopback.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <exception>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "dist/world.h"

namespace ttt {

// A port of 127.0.0.1 that nobody listens on now.
inline int free_port() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(fd, reinterpret_cast<sockaddr*>(&address), size) != 0 ||
      getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0)
    fail("no free port");
  close(fd);
  return ntohs(address.sin_port);
}

// What became of a rank.
struct RankEnd {
  int code = -1;        // 0: body returned and no EXPECT failed; 1: Error, 2: UserError; 3: EXPECT failed; -1: a signal
  int signal = 0;       // that killed it
  std::string message;  // of its exception
};

// Runs body(world) in `size` forked processes and waits for them all. The calling process must not have started threads
// (that is, computed with torch) before.
inline std::vector<RankEnd> run_ranks(int size, const std::function<void(const World&)>& body) {
  World world;
  world.size = world.local_size = size;
  world.master_address = "127.0.0.1";
  world.master_port = free_port();
  std::vector<pid_t> pids;
  std::vector<int> pipes;
  std::fflush(nullptr);
  for (int rank = 0; rank < size; ++rank) {
    int ends[2];
    if (pipe(ends) != 0) fail("no pipe");
    const pid_t pid = fork();
    if (pid == 0) {
      close(ends[0]);
      world.rank = world.local_rank = rank;
      int code = 0;
      std::string message;
      try {
        body(world);
        if (::testing::Test::HasFailure()) code = 3;
      } catch (const UserError& error) {
        code = 2, message = error.what();
      } catch (const std::exception& error) {
        code = 1, message = error.what();
      }
      if (write(ends[1], message.data(), message.size()) < 0) code = 4;
      std::fflush(nullptr);
      _exit(code);
    }
    close(ends[1]);
    pids.push_back(pid);
    pipes.push_back(ends[0]);
  }
  std::vector<RankEnd> results(pids.size());
  for (std::size_t i = 0; i < pids.size(); ++i) {
    char buffer[4096];
    for (ssize_t n = 0; (n = read(pipes[i], buffer, sizeof buffer)) > 0;)
      results[i].message.append(buffer, static_cast<std::size_t>(n));
    close(pipes[i]);
    int status = 0;
    waitpid(pids[i], &status, 0);
    if (WIFEXITED(status)) results[i].code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) results[i].signal = WTERMSIG(status);
  }
  return results;
}

inline void expect_all_ok(const std::vector<RankEnd>& ends) {
  for (std::size_t rank = 0; rank < ends.size(); ++rank)
    EXPECT_EQ(ends[rank].code, 0) << "rank " << rank << ": " << ends[rank].message;
}

}  // namespace ttt
