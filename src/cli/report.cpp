// ttt report: runs as one HTML page.
#include <algorithm>
#include <chrono>
#include <exception>
#include <iostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/signals.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "report/inputs.h"
#include "report/page.h"

namespace ttt {
namespace {

constexpr const char* kWatchSeconds = "30";

struct ReportArguments {
  std::vector<std::string> paths;
  std::string output, title, figures;
  double watch = 0;  // seconds; 0: the page is written once
};

// `--watch` without a number behind it is `--watch=30`, also where a folder comes next.
std::vector<std::string> with_watch_seconds(std::vector<std::string> args) {
  const auto is_number = [](const std::string& text) {
    return !text.empty() && text.find_first_not_of("0123456789.") == std::string::npos &&
           text.find_first_of("0123456789") != std::string::npos;
  };
  for (std::size_t i = 0; i < args.size(); ++i) {
    if (args[i] == "--watch" && (i + 1 == args.size() || !is_number(args[i + 1])))
      args[i] = std::string("--watch=") + kWatchSeconds;
  }
  return args;
}

bool parse(const std::vector<std::string>& args, ReportArguments& options) {
  CLI::App app(
      "One HTML page about a run, several or a sweep, that needs nothing outside it: summary, differences of configs,\n"
      "loss by tokens, FLOPs, time and position, of sweeps against FLOPs and parameters with the scaling law and the\n"
      "spread over seeds, learning rate, throughput, inner losses, failures and resumes, and the files that all of it\n"
      "comes from.",
      "ttt report");
  app.add_option("folders", options.paths, "output folders of trainings or of sweeps; a sweep's runs.jsonl by itself")
      ->required()
      ->option_text("DIR ...");
  app.add_option("--output", options.output, "the page")->required()->type_name("FILE.html");
  app.add_option("--title", options.title, "its heading; by default the folders' names")->type_name("TEXT");
  app.add_option("--figures", options.figures,
                 "write each figure to this folder, too: NAME.svg, and its numbers as NAME.csv")
      ->type_name("DIR");
  app.add_option("--watch", options.watch,
                 "write the page again whenever a file that it is from has changed, until all runs are finished (or, "
                 "by their sweep, failed), or a signal; without a number every 30 s")
      ->check(positive_number())
      ->type_name("[SECONDS]");
  if (!parse_arguments(app, with_watch_seconds(args))) return false;
  check_output_file("--output", options.output);
  if (!options.title.empty()) return true;
  for (const std::string& path : options.paths) options.title += (options.title.empty() ? "" : ", ") + path;
  return true;
}

// Whether all runs have ended.
bool write_report(const ReportArguments& options, LawMemory& memory) {
  const ReportInput input = read_report_input(options.paths);
  const Report report = report_page(options.title, input.runs, input.results, memory);
  write_file_atomically(options.output, report.page);
  if (!options.figures.empty()) {
    make_writable_directory(options.figures);
    for (const Figure& figure : report.figures) {
      write_file_atomically(fs::path(options.figures) / (figure.name + ".svg"), to_svg(figure.chart));
      write_file_atomically(fs::path(options.figures) / (figure.name + ".csv"), to_csv(figure.chart));
    }
  }
  std::size_t count = input.runs.size();
  for (const ResultsFile& file : input.results)
    if (!file.of_folder) count += file.lines.size();
  std::cout << options.output << ": " << count << (count == 1 ? " run" : " runs") << std::endl;
  return all_ended(input);
}

// False where a signal came first.
bool wait_for(double seconds, const SignalGuard& signals) {
  const Timer timer;
  while (!signals.stop_requested() && timer.seconds() < seconds)
    std::this_thread::sleep_for(std::chrono::duration<double>(std::min(0.1, seconds)));
  return !signals.stop_requested();
}

void watch_report(const ReportArguments& options) {
  outlive_readers();
  const SignalGuard signals;
  LawMemory memory;
  std::string written = input_stamp(options.paths);  // before it is read: what changes meanwhile is read again
  bool ended = write_report(options, memory);
  while (!ended && wait_for(options.watch, signals)) {
    std::string stamp = input_stamp(options.paths);
    if (stamp == written) continue;
    try {
      ended = write_report(options, memory);
      written = std::move(stamp);
    } catch (const std::exception& error) {  // a file that is being written; the page stays what it was
      log_warn(cat(error.what(), "; the page is tried again"));
    }
  }
  std::cout << (ended ? "all runs have ended" : "stopped by " + signals.name()) << std::endl;
}

}  // namespace

ExitCode run_report(const std::vector<std::string>& args) {
  ReportArguments options;
  if (!parse(args, options)) return ExitCode::kOk;
  if (options.watch > 0) {
    watch_report(options);
  } else {
    LawMemory memory;
    write_report(options, memory);
  }
  return ExitCode::kOk;
}

}  // namespace ttt
