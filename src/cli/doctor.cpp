// ttt doctor: what this machine has, and how fast it is.
#include <ATen/Parallel.h>
#include <sys/wait.h>
#include <torch/cuda.h>
#include <unistd.h>

#include <algorithm>
#include <iomanip>
#include <iostream>

#include "base/build_info.h"
#include "base/files.h"
#include "base/machine.h"
#include "base/process.h"
#include "base/timer.h"
#include "bench/collectives.h"
#include "bench/timing.h"
#include "bench/yardstick.h"
#include "cli/command.h"
#include "cli/inspect.h"
#include "cli/parse.h"
#include "dist/world.h"
#include "model/device.h"
#include "model/self_check.h"
#include "ops/kernel_table.h"
#include "ops/products.h"

namespace ttt {
namespace {

constexpr int kSpeedRepeats = 5;
constexpr double kDiskSeconds = 10;                      // of writing, at most
constexpr std::int64_t kHeadSize = 64, kMiniBatch = 16;  // of the paper's models

constexpr const char* kCollectivesAlone = "--collectives-alone";
constexpr std::string_view kCollectivesMark = "\ncollectives: ";

struct RemovedAtEnd {
  const fs::path& path;
  ~RemovedAtEnd() {
    std::error_code ignored;
    fs::remove(path, ignored);
  }
};

Json processor(const Machine& machine) {
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

// Each row of every op's kernel table, for models in either type on the device that they would train on: whether it is
// taken, can run, or why it cannot.
Json kernel_rows(at::Device device) {
  Json ops;
  for (const KernelTable* table : kernel_tables()) {
    Json rows = Json::array();
    for (std::size_t i = 0; i < table->size(); ++i) {
      Json entry = {{"row", table->row(i).name}};
      for (const bool bf16 : {false, true}) {
        const KernelCall call = table->call_in_model(device, bf16, kHeadSize, kMiniBatch);
        std::string state = table->why_not(i, call);
        if (state.empty()) state = table->would_choose(call) == i ? "is taken" : "can run";
        if (table->forced() == i) state += cat(" (set by ", table->forced_by(), ")");
        entry[bf16 ? "bf16" : "fp32"] = state;
      }
      rows.push_back(std::move(entry));
    }
    ops[table->op()] = std::move(rows);
  }
  return ops;
}

// Of the rows on that device, which are then distrusted where they failed; null where there is nothing to check.
Json self_check_report(at::Device device, bool wanted) {
  if (!wanted || !needs_self_check(device)) return {};
  const SelfCheckVerdict verdict = obtain_verdict(device);
  apply_verdict(verdict);
  Json report = to_json(verdict);
  report["kept_in"] = verdict.file.empty() ? Json() : Json(verdict.file.string());
  return report;
}

Json gpus(const Machine& machine) {
  return {{"found", machine.gpus},
          {"build", build_info().cuda.empty() ? Json() : Json("CUDA " + build_info().cuda)},
          {"usable", torch::cuda::is_available() ? static_cast<int>(torch::cuda::device_count()) : 0}};
}

Json links(const Machine& machine) {
  Json links = Json::array();
  for (const NetworkLink& link : machine.links) {
    links.push_back({{"name", link.name},
                     {"gigabits_per_second", link.gigabits_per_second > 0 ? Json(link.gigabits_per_second) : Json()},
                     {"rdma", link.rdma}});
  }
  return links;
}

// Every rank calls it.
Json collectives(const World& world) {
  Communicator ranks(world, select_device(DeviceKind::kAuto), std::chrono::seconds(60), "ttt doctor");
  Json times = Json::array();
  for (const CollectiveTime& time : time_collectives(ranks)) {
    times.push_back({{"collective", time.collective},
                     {"bytes", time.bytes},
                     {"seconds", to_json(time.seconds)},
                     {"sent_gb_per_second", time.sent_bytes / time.seconds.median / 1e9}});
  }
  return {{"ranks", world.size},
          {"ranks_here", world.local_size},
          {"backend", ranks.device().is_cuda() ? "NCCL" : "Gloo"},
          {"times", times}};
}

// The same between processes of this program that are started for it.
Json collectives_between(int processes, const fs::path& folder) {
  make_writable_directory(folder);
  const fs::path log = folder / cat(".ttt_doctor_", getpid(), ".log");
  const RemovedAtEnd removal{log};
  const pid_t pid =
      start_process({own_program().string(), "launch", "-n", cat(processes), "--", "doctor", kCollectivesAlone}, log);
  int status = 0;
  waitpid(pid, &status, 0);
  Json result;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
    const std::string said = read_file(log);  // among what the ranks logged
    const std::size_t at = said.find(kCollectivesMark);
    if (at != std::string::npos) {
      const std::string_view line = std::string_view(said).substr(at + kCollectivesMark.size());
      result = Json::parse(line.substr(0, line.find('\n')), nullptr, /*allow_exceptions=*/false);
    }
  }
  if (!result.is_object()) result = {{"ranks", processes}, {"failed", last_words(log, WEXITSTATUS(status))}};
  return result;
}

Json speed(Bound bound, at::ScalarType dtype) {
  Yardstick yardstick(bound, dtype);
  yardstick.run();
  std::vector<double> rates;
  for (int i = 0; i < kSpeedRepeats; ++i) rates.push_back(yardstick.run());
  Json json = to_json(spread_of(rates));
  json["of"] = yardstick.text();
  return json;
}

// Of training in bf16 on this CPU, as at its start.
Json bf16_products_report() {
  const Bf16ProductSpeed speed = measure_bf16_products();
  return {
      {"native_gflops", speed.native}, {"fp32_panels_gflops", speed.fp32_panels}, {"taken", to_string(speed.faster())}};
}

// Free space, and how fast a file of so many MiB is written there and fsynced, as a checkpoint is. A slow disk is left
// after kDiskSeconds.
Json disk(const fs::path& folder, std::int64_t mebibytes) {
  make_writable_directory(folder);
  Json report = {{"folder", folder.string()}, {"free_bytes", free_disk_bytes(folder)}};
  if (mebibytes == 0) return report;
  if (free_disk_bytes(folder) < static_cast<std::uint64_t>(mebibytes + 64) << 20)
    user_error("'", folder.string(), "' has no room for a test file of ", mebibytes, " MiB; see --disk-mb");
  const fs::path path = folder / cat(".ttt_doctor_", getpid(), ".tmp");
  const RemovedAtEnd removal{path};
  std::string block(1 << 20, '\0');
  for (std::size_t i = 0; i < block.size(); ++i) block[i] = static_cast<char>(i * 2654435761u >> 13);
  const Timer timer;
  FileWriter writer(path);
  constexpr std::int64_t kSyncedMiB = 16;
  std::int64_t written = 0;
  while (written < mebibytes && timer.seconds() < kDiskSeconds) {
    for (std::int64_t i = 0; i < kSyncedMiB && written < mebibytes; ++i, ++written)
      writer.write(block.data(), block.size());
    writer.sync();
  }
  writer.finish();
  report["written_mib"] = written;
  report["asked_mib"] = mebibytes;
  report["mib_per_second"] = static_cast<double>(written) / timer.seconds();
  return report;
}

std::string gigabytes(const Json& bytes) {
  std::ostringstream text;
  text << std::fixed << std::setprecision(1) << bytes.get<double>() / 1e9 << " GB";
  return text.str();
}

std::ostream& row(const std::string& name) {
  return std::cout << "  " << std::left << std::setw(12) << name;
}

void print_collectives(const Json& collectives) {
  row("ranks") << collectives["ranks"];
  if (collectives.contains("failed")) {
    std::cout << " could not talk to one another: " << plain(collectives["failed"]) << "\n";
    return;
  }
  std::cout << ", " << (collectives["ranks"] == collectives["ranks_here"] ? "all" : cat(collectives["ranks_here"]))
            << " on this machine, over " << plain(collectives["backend"]) << ":\n";
  for (const Json& time : collectives["times"]) {
    const auto bytes = time["bytes"].get<std::int64_t>();
    row("") << std::setw(16) << plain(time["collective"]) << std::setw(8)
            << (bytes < 1 << 20 ? cat(bytes, " B") : cat(bytes >> 20, " MiB")) << std::right << std::setprecision(3)
            << std::setw(9) << time["seconds"]["median"].get<double>() * 1e3 << " ms";
    if (bytes >= 1 << 20) {
      std::cout << ", " << std::setprecision(2) << time["sent_gb_per_second"].get<double>()
                << " GB/s sent by each rank";
    }
    std::cout << "\n";
  }
}

void print_kernel(const std::string& op, const Json& entry) {
  const std::string fp32 = plain(entry["fp32"]), bf16 = plain(entry["bf16"]);
  std::cout << "  " << std::left << std::setw(17) << op << std::setw(19) << plain(entry["row"])
            << (fp32 == bf16 ? fp32 : "fp32: " + fp32 + "; bf16: " + bf16) << "\n";
}

void print_self_check(const Json& check) {
  std::size_t agree = 0;
  for (const Json& entry : check["rows"]) agree += entry["state"] == "agrees" ? 1 : 0;
  row("self-check") << agree << " of " << check["rows"].size() << " fused rows agree with fp64 on "
                    << plain(check["device"]);
  if (check["kept_in"].is_null()) {
    std::cout << "; not kept\n";
  } else {
    std::cout << "; kept in '" << plain(check["kept_in"]) << "'\n";
  }
  if (const std::string why = plain(check["incomplete"]); !why.empty())
    row("") << "not all were checked: " << why << "\n";
  for (const Json& entry : check["rows"]) {
    const std::string text = plain(entry["text"]);
    if (entry["state"] == "fails") row("") << "NOT used: " << plain(entry["row"]) << " " << text << "\n";
    if (entry["state"] == "unchecked") row("") << "unchecked: " << plain(entry["row"]) << "\n";
  }
}

void print(const Json& report) {
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
  std::cout << "  kernels, the best first; set others by train.kernels or TTT_KERNELS:\n";
  for (const KernelTable* table : kernel_tables()) {
    for (const Json& entry : report["kernels"][table->op()]) print_kernel(table->op(), entry);
  }
  if (report.contains("self_check")) print_self_check(report["self_check"]);
  const Json& gpu = report["gpus"];
  for (const Json& found : gpu["found"]) row("GPU") << plain(found) << "\n";
  row("GPUs") << gpu["usable"] << " that LibTorch can use; built with "
              << (gpu["build"].is_null() ? "no CUDA" : plain(gpu["build"])) << "\n";
  for (const char* type : {"fp32", "bf16"}) {
    const Json& products = report["gemm_gflops"][type];
    row("products") << std::setprecision(products["median"].get<double>() < 10 ? 1 : 0)
                    << products["median"].get<double>() << " GFLOP/s, " << plain(products["of"]) << " ("
                    << report["threads"] << " threads)\n";
  }
  const Json& bf16 = report["bf16_products"];
  if (bf16["taken"] != "native") {
    row("") << "bf16 is multiplied through fp32 here (train.bf16_products: auto): " << std::setprecision(1)
            << bf16["fp32_panels_gflops"].get<double>() << " GFLOP/s a core instead of "
            << bf16["native_gflops"].get<double>() << " at a small layer's size\n";
  }
  row("copies") << std::setprecision(1) << report["copy_gb_per_second"]["median"].get<double>()
                << " GB/s, read and written together\n";
  const Json& folder = report["disk"];
  row("disk") << gigabytes(folder["free_bytes"]) << " free in '" << plain(folder["folder"]) << "'";
  if (folder.contains("mib_per_second"))
    std::cout << std::setprecision(0) << ", written and fsynced at " << folder["mib_per_second"].get<double>()
              << " MiB/s";
  if (folder.contains("written_mib") && folder["written_mib"] != folder["asked_mib"])
    std::cout << " (left after " << kDiskSeconds << " s and " << folder["written_mib"] << " of " << folder["asked_mib"]
              << " MiB)";
  std::cout << "\n";
  for (const Json& link : report["links"]) {
    row(link["rdma"].get<bool>() ? "RDMA" : "network") << plain(link["name"]);
    if (!link["gigabits_per_second"].is_null()) std::cout << ", " << link["gigabits_per_second"] << " Gbit/s";
    std::cout << "\n";
  }
  if (report.contains("collectives")) print_collectives(report["collectives"]);
}

}  // namespace

ExitCode run_doctor(const std::vector<std::string>& args) {
  CLI::App app(
      "What this machine has, as ttt sees it: processor features and the kernels they choose, cores, memory, NUMA "
      "nodes,\n"
      "GPUs, network links; and how fast it multiplies, copies, writes and sums up between processes. Takes some\n"
      "seconds. As a rank of `ttt launch`, srun or torchrun it times the collectives of all these ranks instead of\n"
      "starting some: srun ttt doctor",
      "ttt doctor");
  std::string folder = ".";
  std::int64_t mebibytes = 256;
  int ranks = 2;
  bool json = false, collectives_alone = false, unchecked = false;
  app.add_option("--folder", folder, "where to measure the disk, such as a run's output_dir")->capture_default_str();
  app.add_option("--disk-mb", mebibytes, "MiB of the file that is written there (and removed); 0: none")
      ->check(CLI::Range(0, 1 << 20))
      ->capture_default_str();
  app.add_option("--ranks", ranks, "processes that are started here to time collectives between them; 1: none")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app.add_flag("--no-self-check", unchecked, "do not hold a GPU's kernels against fp64, nor ask what a check found");
  app.add_flag("--json", json, "print one JSON object");
  app.add_flag(kCollectivesAlone, collectives_alone)->group("");  // hidden: what those processes are asked
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  if (!fs::is_directory(folder))
    user_error("there is no folder '", folder, "' to measure the disk in; name one that exists (--folder)");
  const World world = world_from_environment();
  if (collectives_alone || world.rank > 0) {
    const Json result = collectives(world);
    if (world.rank == 0) std::cout << kCollectivesMark << to_line(result);
    return ExitCode::kOk;
  }
  read_kernel_environment();
  const Machine machine = this_machine();
  Json between;
  if (!world.alone()) {
    between = collectives(world);
  } else if (ranks > 1) {
    between = collectives_between(ranks, folder);
  }
  prepare_cpu(0);
  const at::Device device = torch::cuda::is_available() ? at::Device(at::kCUDA, 0) : at::Device(at::kCPU);
  const Json checked = self_check_report(device, !unchecked);
  Json report = {{"version", build_info().version},
                 {"revision", build_info().revision()},
                 {"cpu", processor(machine)},
                 {"threads", at::get_num_threads()},
                 {"kernels", kernel_rows(device)},
                 {"gpus", gpus(machine)},
                 {"links", links(machine)},
                 {"gemm_gflops",
                  {{"fp32", speed(Bound::kProducts, at::kFloat)}, {"bf16", speed(Bound::kProducts, at::kBFloat16)}}},
                 {"bf16_products", bf16_products_report()},
                 {"copy_gb_per_second", speed(Bound::kMemory, at::kFloat)},
                 {"disk", disk(folder, mebibytes)}};
  if (!checked.is_null()) report["self_check"] = checked;
  if (!between.is_null()) report["collectives"] = between;
  if (json) {
    std::cout << to_line(report);
  } else {
    print(report);
  }
  return ExitCode::kOk;
}

}  // namespace ttt
