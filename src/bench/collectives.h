// How fast the processes of one training reduce and gather what they share in every step.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bench/timing.h"
#include "dist/communicator.h"

namespace ttt {

struct CollectiveTime {
  std::string collective;  // "all-reduce"
  std::int64_t bytes = 0;  // of the whole tensor, fp32, on each rank
  Spread seconds;          // of several calls, each of which the slowest rank ends
  // Bytes that each rank must send: 2 (n - 1) / n of the tensor for an all-reduce of n ranks, half of that for the
  // others; nccl-tests calls the rate of them bus bandwidth.
  double sent_bytes = 0;
};

// An all-reduce of one number (its latency) and of a bucket of gradients of 64 MiB, the reduce-scatter and the
// all-gather of ZeRO-1 of the same size. Every rank calls it. Throws CollectiveError.
std::vector<CollectiveTime> time_collectives(Communicator& ranks);

}  // namespace ttt
