// ttt doctor: what this machine has, and how fast it is.
#include <ATen/Parallel.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <iostream>

#include "base/build_info.h"
#include "base/files.h"
#include "base/machine.h"
#include "base/timer.h"
#include "bench/timing.h"
#include "bench/yardstick.h"
#include "cli/command.h"
#include "cli/inspect.h"
#include "cli/parse.h"
#include "model/device.h"
#include "ops/ttt.h"

namespace ttt {
namespace {

constexpr int kRepeats = 5;
constexpr std::int64_t kHeadSize = 64, kMiniBatch = 16;  // of the paper's models

Json processor() {
  const Machine machine = this_machine();
  Json nodes = Json::array();
  for (const NumaNode& node : machine.nodes)
    nodes.push_back({{"node", node.number}, {"cpus", node.cpus}, {"memory_bytes", node.memory_bytes}});
  Json mhz;
  if (!machine.mhz.empty()) {
    const auto [slowest, fastest] = std::minmax_element(machine.mhz.begin(), machine.mhz.end());
    mhz = {{"slowest", *slowest}, {"fastest", *fastest}};
  }
  return {{"name", cpu_name()},
          {"features", cpu_features()},
          {"cores", machine.cores},
          {"cores_of_control_group", machine.cgroup_cores > 0 ? Json(machine.cgroup_cores) : Json()},
          {"memory_bytes", machine.memory_bytes},
          {"memory_available_bytes", machine.available_bytes},
          {"memory_of_control_group_bytes", machine.cgroup_bytes > 0 ? Json(machine.cgroup_bytes) : Json()},
          {"numa_nodes", nodes},
          {"mhz", mhz},
          {"clock_source", machine.clock_source}};
}

// Each row of the TTT kernel table: "chosen", "can", or why it cannot.
Json kernel_rows() {
  Json rows;
  for (const auto& [name, kind] : {std::pair{"ttt_linear", TttKind::kLinear}, std::pair{"ttt_mlp", TttKind::kMlp}}) {
    const TttShape shape{1, 12, 2048, kHeadSize, kMiniBatch, at::kFloat, at::kCPU};
    bool chosen = false;
    for (const TttKernel& row : ttt_kernels()) {
      const std::string reason = row.unsupported(kind, shape);
      rows[name].push_back({{"row", row.name}, {"state", !reason.empty() ? reason : chosen ? "can run" : "is taken"}});
      chosen = chosen || reason.empty();
    }
  }
  return rows;
}

Json gpus() {
  return {{"build", build_info().cuda.empty() ? Json() : Json("CUDA " + build_info().cuda)},
          {"usable", torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0}};
}

Json speed(Bound bound, at::ScalarType dtype) {
  Yardstick yardstick(bound, dtype);
  yardstick.run();
  std::vector<double> rates;
  for (int i = 0; i < kRepeats; ++i) rates.push_back(yardstick.run());
  return to_json(spread_of(rates));
}

// Free space, and how fast a file of so many MiB is written there and fsynced, as a checkpoint is.
Json disk(const fs::path& folder, std::int64_t mebibytes) {
  make_writable_directory(folder);
  Json report = {{"folder", folder.string()}, {"free_bytes", free_disk_bytes(folder)}};
  if (mebibytes == 0) return report;
  if (free_disk_bytes(folder) < static_cast<std::uint64_t>(mebibytes + 64) << 20)
    user_error("'", folder.string(), "' has no room for a test file of ", mebibytes, " MiB; see --disk-mb");
  const fs::path path = folder / cat(".ttt_doctor_", getpid(), ".tmp");
  struct Removal {
    const fs::path& path;
    ~Removal() {
      std::error_code ignored;
      fs::remove(path, ignored);
    }
  } const removal{path};
  std::string block(1 << 20, '\0');
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 2654435761u >> 13);
  const Timer timer;
  FileWriter writer(path);
  for (std::int64_t i = 0; i < mebibytes; ++i) writer.write(block.data(), block.size());
  writer.finish();
  report["written_mib"] = mebibytes;
  report["mib_per_second"] = static_cast<double>(mebibytes) / timer.seconds();
  return report;
}

std::string gigabytes(const Json& bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << bytes.get<double>() / 1e9 << " GB";
  return text.str();
}

void print(const Json& report) {
  const auto row = [](const char* name) -> std::ostream& {
    return std::cout << "  " << std::left << std::setw(12) << name;
  };
  const Json& cpu = report["cpu"];
  std::cout << std::fixed << std::setprecision(0) << plain(cpu["name"]) << "\n";
  row("features");
  for (const Json& feature : cpu["features"]) std::cout << plain(feature) << " ";
  std::cout << "\n";
  row("cores") << cpu["cores"] << " for this process";
  if (!cpu["cores_of_control_group"].is_null())
    std::cout << ", of which its control group allows " << cpu["cores_of_control_group"];
  std::cout << "\n";
  if (!cpu["mhz"].is_null()) {
    row("clocks") << cpu["mhz"]["slowest"].get<double>() << " to " << cpu["mhz"]["fastest"].get<double>()
                  << " MHz now; time from " << plain(cpu["clock_source"]) << "\n";
  }
  row("memory") << gigabytes(cpu["memory_bytes"]) << ", " << gigabytes(cpu["memory_available_bytes"]) << " available";
  if (!cpu["memory_of_control_group_bytes"].is_null())
    std::cout << ", " << gigabytes(cpu["memory_of_control_group_bytes"]) << " allowed by its control group";
  std::cout << "\n";
  for (const Json& node : cpu["numa_nodes"])
    row("NUMA node") << node["node"] << ": cores " << plain(node["cpus"]) << ", " << gigabytes(node["memory_bytes"])
                     << "\n";
  for (const auto& [op, rows] : report["kernels"].items()) {
    for (const Json& entry : rows)
      row(op.c_str()) << std::setw(16) << plain(entry["row"]) << plain(entry["state"]) << "\n";
  }
  const Json& gpu = report["gpus"];
  row("GPUs") << gpu["usable"] << " that LibTorch can use; built with "
              << (gpu["build"].is_null() ? "no CUDA" : plain(gpu["build"])) << "\n";
  row("products") << report["gemm_gflops"]["fp32"]["median"].get<double>() << " GFLOP/s in fp32, "
                  << report["gemm_gflops"]["bf16"]["median"].get<double>() << " in bf16 (" << report["threads"]
                  << " threads, 2048 x 2048)\n";
  row("copies") << std::setprecision(1) << report["copy_gb_per_second"]["median"].get<double>()
                << " GB/s, read and written together\n";
  const Json& folder = report["disk"];
  row("disk") << gigabytes(folder["free_bytes"]) << " free in '" << plain(folder["folder"]) << "'";
  if (folder.contains("mib_per_second"))
    std::cout << std::setprecision(0) << ", written and fsynced at " << folder["mib_per_second"].get<double>()
              << " MiB/s";
  std::cout << "\n";
}

}  // namespace

ExitCode run_doctor(const std::vector<std::string>& args) {
  CLI::App app(
      "What this machine has, as ttt sees it: processor features and the kernels they choose, cores, memory, NUMA "
      "nodes,\n"
      "GPUs; and how fast it multiplies, copies and writes. Takes some seconds.",
      "ttt doctor");
  std::string folder = ".";
  std::int64_t mebibytes = 256;
  bool json = false;
  app.add_option("--folder", folder, "where to measure the disk, such as a run's output_dir")->capture_default_str();
  app.add_option("--disk-mb", mebibytes, "MiB of the file that is written there (and removed); 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  set_cpu_threads(0);
  const Json report = {
      {"version", build_info().version},
      {"revision", build_info().revision()},
      {"cpu", processor()},
      {"threads", at::get_num_threads()},
      {"kernels", kernel_rows()},
      {"gpus", gpus()},
      {"gemm_gflops",
       {{"fp32", speed(Bound::kProducts, at::kFloat)}, {"bf16", speed(Bound::kProducts, at::kBFloat16)}}},
      {"copy_gb_per_second", speed(Bound::kMemory, at::kFloat)},
      {"disk", disk(folder, mebibytes)}};
  if (json) {
    std::cout << report.dump() << "\n";
  } else {
    print(report);
  }
  return ExitCode::kOk;
}

}  // namespace ttt
