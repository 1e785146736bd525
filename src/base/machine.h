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

// "0-3,8" -> 0, 1, 2, 3, 8, as Linux writes sets of processors; what cannot be read is left out.
std::vector<int> processors_of(const std::string& list);

// The numbers of the processors that this process may run on.
std::vector<int> allowed_processors();

}  // namespace ttt
