// How the ranks of a job come together before they say anything else, over a TCPStore at MASTER_ADDR:MASTER_PORT.
//
// A port can be another job's: of one that runs already, or of one whose rank 0 came first. So every process first says
// whose it is, and rank 0 lets in the ranks of its own job alone:
//
//     rank r                                       rank 0
//     add "hellos" -> n                            opens the store, or is a client of an agent's (World::agent_store)
//     "hello/n" = size, rank, job, output_dir
//                                                  "answer/n" = "come NONCE", "later" or "no" and who is here
//     "seated/n" = NONCE
//                                                  "all/NONCE" = "here" and the n of every rank, or "failed" and why
//                                                  "closed" = who is here, in a store of its own
//
// From then on the job's keys are below its NONCE, which nobody else was told. In an agent's store keys of earlier
// starts are left; they hold other nonces, or numbers n that were given out before, and mean nothing to this one.
#pragma once

#include <c10/util/intrusive_ptr.h>

#include <chrono>
#include <optional>
#include <string>
#include <torch/csrc/distributed/c10d/Store.hpp>
#include <vector>

#include "dist/world.h"

namespace ttt {

using Store = c10::intrusive_ptr<c10d::Store>;

// The store of this job, when all ranks are there. `output`: what tells its ranks from those of another job where the
// launcher gives the job no name, such as output_dir. Throws UserError when MASTER_PORT is taken, or is another job's,
// or MASTER_ADDR unknown; CollectiveError when the ranks do not come together: each wait ends with the timeout.
Store meet(const World& world, const std::string& output, std::chrono::seconds timeout);

// Whether two processes belong to the same job.
struct Introduction {
  int rank = 0, size = 1;
  std::string job;      // World::job
  std::string output;   // one line
  std::string process;  // "process 12 on node1"

  // "'runs/a' with 2 processes (Slurm step 12.0)"
  std::string job_text() const;
  bool same_job(const Introduction& other) const;
  std::string to_text() const;
  static std::optional<Introduction> from_text(const std::string& text);
};

// LibTorch's errors carry a C++ stack trace after the first line.
std::string first_line(const std::string& text);

// "rank 3", "ranks 1, 2"
std::string list_of(const std::vector<int>& ranks);

}  // namespace ttt
