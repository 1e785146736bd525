#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
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

// The names in a folder, sorted; none where there is no such folder.
std::vector<std::string> entries_of(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code missing;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, missing))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<NetworkLink> network_links() {
  std::vector<NetworkLink> links;
  const fs::path net = "/sys/class/net", rdma = "/sys/class/infiniband";
  for (const std::string& name : entries_of(net)) {
    const std::string state = line_of(net / name / "operstate");
    if (name == "lo" || state == "down") continue;
    const double megabits = std::strtod(line_of(net / name / "speed").c_str(), nullptr);  // -1 or nothing: unknown
    links.push_back({name, std::max(0.0, megabits / 1e3), false});
  }
  for (const std::string& name : entries_of(rdma)) {
    for (const std::string& port : entries_of(rdma / name / "ports")) {
      const std::string rate = line_of(rdma / name / "ports" / port / "rate");  // "400 Gb/sec (4X NDR)"
      if (line_of(rdma / name / "ports" / port / "state").find("ACTIVE") != std::string::npos)
        links.push_back({name + " port " + port, std::strtod(rate.c_str(), nullptr), true});
    }
  }
  return links;
}

std::vector<std::string> nvidia_gpus() {
  std::vector<std::string> gpus;
  const fs::path root = "/proc/driver/nvidia/gpus";
  for (const std::string& bus : entries_of(root)) {
    std::ifstream in(root / bus / "information");
    std::string model = "NVIDIA GPU";
    for (std::string line; std::getline(in, line);) {
      if (!line.starts_with("Model:")) continue;
      const std::size_t name = line.find_first_not_of(" \t", line.find(':') + 1);
      if (name != std::string::npos) model = line.substr(name);
    }
    gpus.push_back(model + " (" + bus + ")");
  }
  return gpus;
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

std::vector<int> processors_of(const std::string& list) {
  std::vector<int> processors;
  std::istringstream ranges(list);
  for (std::string range; std::getline(ranges, range, ',');) {
    int first = 0, last = 0;
    const int read = std::sscanf(range.c_str(), "%d-%d", &first, &last);
    if (read < 1 || first < 0) continue;
    for (int i = first; i <= (read == 2 ? std::min(last, CPU_SETSIZE - 1) : first); ++i) processors.push_back(i);
  }
  return processors;
}

std::vector<int> allowed_processors() {
  std::vector<int> processors;
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (int i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &allowed)) processors.push_back(i);
  } else {  // more processors than a set holds
    for (unsigned i = 0; i < std::max(1u, std::thread::hardware_concurrency()); ++i)
      processors.push_back(static_cast<int>(i));
  }
  return processors;
}

Machine this_machine() {
  Machine machine;
  machine.cores = static_cast<int>(allowed_processors().size());
  machine.memory_bytes = memory_line("/proc/meminfo", "MemTotal");
  machine.available_bytes = memory_line("/proc/meminfo", "MemAvailable");
  machine.nodes = numa_nodes();
  machine.mhz = clock_rates();
  machine.links = network_links();
  machine.gpus = nvidia_gpus();
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
