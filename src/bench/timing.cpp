#include "bench/timing.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "base/build_info.h"
#include "base/error.h"

namespace ttt {
namespace {

// What stands behind the first "NAME ... :" of a /proc file of such lines, or "".
std::string value_of_line(const char* file, const std::string& name) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    const std::size_t colon = line.find(':');
    if (!line.starts_with(name) || colon == std::string::npos) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

}  // namespace

Spread spread_of(std::vector<double> values) {
  TTT_CHECK(!values.empty(), "no measurement");
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  const double median = values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
  return {median, values.front(), values.back()};
}

Json to_json(const Spread& spread) {
  return {{"median", spread.median}, {"min", spread.min}, {"max", spread.max}};
}

std::string cpu_name() {
  const std::string name = value_of_line("/proc/cpuinfo", "model name");
  return name.empty() ? "unknown" : name;
}

std::int64_t peak_resident_bytes() {
  std::int64_t kibibytes = 0;
  std::istringstream(value_of_line("/proc/self/status", "VmHWM")) >> kibibytes;  // "123456 kB"
  return kibibytes * 1024;
}

Json machine_json(const std::string& gpu) {
  const BuildInfo& build = build_info();
  Json machine = {{"cpu", cpu_name()},          {"cpu_features", cpu_features()},
                  {"version", build.version},   {"revision", build.revision()},
                  {"compiler", build.compiler}, {"build_type", build.build_type},
                  {"libtorch", build.libtorch}};
  if (!gpu.empty()) machine["gpu"] = gpu;
  return machine;
}

std::string machine_text(const std::string& gpu) {
  const BuildInfo& build = build_info();
  return cat(gpu, gpu.empty() ? "" : "; ", cpu_name(), "; ttt ", build.version, " ", build.revision().substr(0, 12),
             build.git_dirty ? "-dirty" : "", ", ", build.compiler, " ", build.build_type, ", LibTorch ",
             build.libtorch);
}

}  // namespace ttt
