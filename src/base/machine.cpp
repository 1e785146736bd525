#include "base/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <optional>
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

// One hierarchy of control groups as /proc/self/mountinfo has it: the folder `mount` shows the group `top` and what is
// below it.
struct GroupMount {
  fs::path mount, top;
};

// The mount of version 2 (`controller` empty), or of version 1 with that controller.
std::optional<GroupMount> group_mount(const fs::path& root, const std::string& controller) {
  std::ifstream in(root / "proc/self/mountinfo");
  for (std::string line; std::getline(in, line);) {
    // 36 35 0:30 /top /mount/point rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct
    std::istringstream words(line);
    std::string number, parent, device, top, mount, word, type, source, options;
    words >> number >> parent >> device >> top >> mount;
    while (words >> word && word != "-") {
    }
    words >> type >> source >> options;
    const bool wanted = controller.empty() ? type == "cgroup2"
                                           : type == "cgroup" && ("," + options + ",").find("," + controller + ",") !=
                                                                     std::string::npos;
    if (wanted) return GroupMount{root / fs::path(mount).relative_path(), top};
  }
  return std::nullopt;
}

// The folders of this process's group and of those around it, its own first; none where there is no such hierarchy.
std::vector<fs::path> group_folders(const fs::path& root, const std::string& controller) {
  const std::optional<GroupMount> mounted = group_mount(root, controller);
  if (!mounted) return {};
  fs::path group = "/";
  std::ifstream in(root / "proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "0::/job/step", "4:cpu,cpuacct:/job/step"
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const bool wanted =
        controller.empty() ? names.empty() : ("," + names + ",").find("," + controller + ",") != std::string::npos;
    if (wanted) group = line.substr(second + 1);
  }
  fs::path below = mounted->top == "/" ? group.relative_path() : group.lexically_relative(mounted->top);
  if (below.empty() || below == "." || *below.begin() == "..") below.clear();  // another container's view
  std::vector<fs::path> folders;
  for (; !below.empty(); below = below.parent_path()) folders.push_back(mounted->mount / below);
  folders.push_back(mounted->mount);
  return folders;
}

// The number in a small system file; nothing where there is none, as for "max".
std::optional<std::int64_t> number_of_file(const fs::path& path) {
  const std::string line = line_of(path);
  char* end = nullptr;
  const long long value = std::strtoll(line.c_str(), &end, 10);
  return end == line.c_str() ? std::nullopt : std::optional<std::int64_t>(value);
}

// "NAME 123" in a file such as memory.stat; 0 where there is no such line.
std::int64_t statistic(const fs::path& path, const std::string& name) {
  std::ifstream in(path);
  std::string word;
  for (std::int64_t value = 0; in >> word >> value;)
    if (word == name) return value;
  return 0;
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
  const ControlGroupLimits limits = control_group_limits();
  machine.cgroup_cores = limits.cores;
  machine.cgroup_bytes = limits.memory_bytes;
  if (limits.memory_bytes > 0) machine.available_bytes = std::min(machine.available_bytes, limits.free_bytes);
  return machine;
}

ControlGroupLimits control_group_limits(const std::filesystem::path& root) {
  ControlGroupLimits limits;
  const auto limit_cores = [&](double used, double period) {  // microseconds in each period
    if (used > 0 && period > 0)
      limits.cores = limits.cores == 0 ? used / period : std::min(limits.cores, used / period);
  };
  const auto limit_memory = [&](std::int64_t bytes, std::int64_t in_use) {
    if (bytes <= 0 || bytes >= std::int64_t{1} << 60) return;  // version 1 writes "no limit" as a very large number
    const std::int64_t left = std::max<std::int64_t>(bytes - std::max<std::int64_t>(in_use, 0), 0);
    limits.free_bytes = limits.memory_bytes == 0 ? left : std::min(limits.free_bytes, left);
    limits.memory_bytes = limits.memory_bytes == 0 ? bytes : std::min(limits.memory_bytes, bytes);
  };
  for (const fs::path& group : group_folders(root, "")) {
    std::istringstream quota(line_of(group / "cpu.max"));  // "200000 100000", "max 100000"
    double used = 0, period = 0;
    if (quota >> used >> period) limit_cores(used, period);
    // Pages of files that were read can be had back.
    limit_memory(
        number_of_file(group / "memory.max").value_or(0),
        number_of_file(group / "memory.current").value_or(0) - statistic(group / "memory.stat", "inactive_file"));
  }
  for (const fs::path& group : group_folders(root, "cpu")) {
    limit_cores(static_cast<double>(number_of_file(group / "cpu.cfs_quota_us").value_or(-1)),  // -1: no limit
                static_cast<double>(number_of_file(group / "cpu.cfs_period_us").value_or(0)));
  }
  for (const fs::path& group : group_folders(root, "memory")) {
    limit_memory(number_of_file(group / "memory.limit_in_bytes").value_or(0),
                 number_of_file(group / "memory.usage_in_bytes").value_or(0) -
                     statistic(group / "memory.stat", "total_inactive_file"));
  }
  return limits;
}

int control_group_cores(int processes, const std::filesystem::path& root) {
  const double cores = control_group_limits(root).cores;
  return cores > 0 ? std::max(1, static_cast<int>(cores / processes)) : 0;
}

int usable_cores() {
  const int allowed = static_cast<int>(allowed_processors().size()), limit = control_group_cores();
  return std::max(1, limit > 0 ? std::min(allowed, limit) : allowed);
}

std::int64_t usable_memory_bytes() {
  const std::int64_t machine = memory_line("/proc/meminfo", "MemTotal"), limit = control_group_limits().memory_bytes;
  return limit > 0 && (machine == 0 || limit < machine) ? limit : machine;
}

}  // namespace ttt
