// ttt self-check: what the self-check starts (model/self_check.h).
#include <ATen/Parallel.h>

#include <cstdlib>
#include <iostream>

#include "bench/row_checks.h"
#include "cli/command.h"
#include "cli/parse.h"

namespace ttt {

ExitCode run_self_check(const std::vector<std::string>& args) {
  CLI::App app(
      "Holds each fused row of a device against fp64 and says so in lines of JSON, for the process that starts it.\n"
      "`ttt bench op NAME --check` is for people.",
      "ttt self-check");
  std::string device = "cpu";
  std::size_t from = 0;
  app.add_option("--device", device, "cpu, or a GPU as cuda:0")->required();
  app.add_option("--from", from, "the number of the first row");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  if (device != "cpu" && !device.starts_with("cuda:")) user_error("--device must be cpu or cuda:N, not '", device, "'");
  const char* faults = std::getenv("TTT_SELF_CHECK_FAULT");
  at::set_num_threads(1);  // the shapes are small, and other processes may be at work
  check_rows(at::Device(device), from, PlantedFaults(faults == nullptr ? "" : faults),
             [](const Json& line) { std::cout << to_line(line) << std::flush; });
  return ExitCode::kOk;
}

}  // namespace ttt
