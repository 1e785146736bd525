// What the machine offers to this process, as Linux tells it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace ttt {

struct NumaNode {
  int number = 0;
  std::string cpus;  // "0-31,64-95"
  std::int64_t memory_bytes = 0;
};

struct NetworkLink {
  std::string name;                // "eth0", "mlx5_0 port 1"
  double gigabits_per_second = 0;  // 0: the driver does not tell
  bool rdma = false;               // InfiniBand or RoCE
};

struct Machine {
  int cores = 0;            // that this process may run on (taskset, Slurm, containers)
  double cgroup_cores = 0;  // the share of them that its control group allows; 0: no limit
  std::int64_t memory_bytes = 0, available_bytes = 0;
  std::int64_t cgroup_bytes = 0;  // memory that its control group allows; 0: no limit
  std::vector<NumaNode> nodes;
  std::vector<double> mhz;         // of each core, now; empty where the system does not tell
  std::string clock_source;        // "tsc"; "" where the system does not tell
  std::vector<NetworkLink> links;  // that are up, but for the loopback
  std::vector<std::string> gpus;   // "NVIDIA H100 80GB HBM3 (0000:1b:00.0)", as NVIDIA's driver lists them
};

Machine this_machine();

// What this process's control groups allow it, those around its own included: a container's or a job's share of the
// machine.
struct ControlGroupLimits {
  double cores = 0;               // 0: no limit
  std::int64_t memory_bytes = 0;  // 0: no limit
  std::int64_t free_bytes = 0;    // of the memory, what is not in use in the tightest of them; 0: no limit
};
// Version 2 and version 1, as Linux tells it below `root`.
ControlGroupLimits control_group_limits(const std::filesystem::path& root = "/");

// The cores that this process can keep busy, at least 1: those that it may run on, but no more than its control groups
// allow (a part of a core does not count). Threads by default.
int usable_cores();
// Those that the control groups allow `processes` of them each, whatever it may run on; 0: no limit.
int control_group_cores(int processes = 1, const std::filesystem::path& root = "/");
// The machine's memory, or what the control groups allow of it; 0 where the system does not tell.
std::int64_t usable_memory_bytes();

// "0-3,8" -> 0, 1, 2, 3, 8, as Linux writes sets of processors; what cannot be read is left out.
std::vector<int> processors_of(const std::string& list);

// The numbers of the processors that this process may run on.
std::vector<int> allowed_processors();

}  // namespace ttt
