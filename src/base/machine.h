// What the machine offers to this process, as Linux tells it.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace ttt {

struct NumaNode {
  int number = 0;
  std::string cpus;  // "0-31,64-95"
  std::int64_t memory_bytes = 0;
};

struct Machine {
  int cores = 0;            // that this process may run on (taskset, Slurm, containers)
  double cgroup_cores = 0;  // the share of them that its control group allows; 0: no limit
  std::int64_t memory_bytes = 0, available_bytes = 0;
  std::int64_t cgroup_bytes = 0;  // memory that its control group allows; 0: no limit
  std::vector<NumaNode> nodes;
  std::vector<double> mhz;   // of each core, now; empty where the system does not tell
  std::string clock_source;  // "tsc"; "" where the system does not tell
};

Machine this_machine();

}  // namespace ttt
