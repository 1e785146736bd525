#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/files.h"

namespace ttt {
namespace {

// The first line of a small system file, or "".
std::string line_of(const fs::path& path) {
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  return line;
}

// "MemTotal:   123 kB", also "Node 0 MemTotal: 123 kB", in bytes; 0 where there is no such line.
std::int64_t memory_line(const fs::path& path, const std::string& name) {
  std::ifstream in(path);
  for (std::string line; std::getline(in, line);) {
    const std::size_t found = line.find(name + ":");
    if (found != std::string::npos) return std::strtoll(line.c_str() + found + name.size() + 1, nullptr, 10) * 1024;
  }
  return 0;
}

int allowed_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

std::vector<NumaNode> numa_nodes() {
  const fs::path root = "/sys/devices/system/node";
  std::vector<NumaNode> nodes;
  for (int number = 0; fs::exists(root / ("node" + std::to_string(number))); ++number) {
    const fs::path node = root / ("node" + std::to_string(number));
    nodes.push_back({number, line_of(node / "cpulist"), memory_line(node / "meminfo", "MemTotal")});
  }
  return nodes;
}

std::vector<double> clock_rates() {
  std::vector<double> rates;
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("cpu MHz")) rates.push_back(std::strtod(line.c_str() + line.find(':') + 1, nullptr));
  }
  return rates;
}

}  // namespace

Machine this_machine() {
  Machine machine;
  machine.cores = allowed_cores();
  machine.memory_bytes = memory_line("/proc/meminfo", "MemTotal");
  machine.available_bytes = memory_line("/proc/meminfo", "MemAvailable");
  machine.nodes = numa_nodes();
  machine.mhz = clock_rates();
  machine.clock_source = line_of("/sys/devices/system/clocksource/clocksource0/current_clocksource");
  // Control groups, version 2, as containers see their own: "max" for no limit.
  const fs::path group = "/sys/fs/cgroup";
  machine.cgroup_bytes = std::strtoll(line_of(group / "memory.max").c_str(), nullptr, 10);
  std::istringstream quota(line_of(group / "cpu.max"));  // "200000 100000": microseconds in each period
  double used = 0, period = 0;
  if (quota >> used >> period && period > 0) machine.cgroup_cores = used / period;
  return machine;
}

}  // namespace ttt
