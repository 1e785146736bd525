// ttt report: runs as one HTML page.
#include <iostream>

#include "cli/command.h"
#include "cli/parse.h"
#include "report/page.h"

namespace ttt {

ExitCode run_report(const std::vector<std::string>& args) {
  std::vector<std::string> folders;
  std::string output, title;
  CLI::App app(
      "One HTML page about a run, several or a sweep, that needs nothing outside it: summary, differences of configs,\n"
      "loss by tokens, FLOPs and time, learning rate, throughput, skipped steps, and the files that all of it comes "
      "from.",
      "ttt report");
  app.add_option("folders", folders, "output folders of trainings or of sweeps")->required()->option_text("DIR ...");
  app.add_option("--output", output, "the page")->required()->type_name("FILE.html");
  app.add_option("--title", title, "its heading; by default the folders' names")->type_name("TEXT");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  std::vector<RunLog> runs;
  for (const std::string& folder : folders) {
    for (const fs::path& run : run_folders(folder)) runs.push_back(read_run_log(run));
  }
  if (title.empty()) {
    for (const std::string& folder : folders) title += (title.empty() ? "" : ", ") + folder;
  }
  write_file_atomically(output, report_page(title, runs));
  std::cout << output << ": " << runs.size() << (runs.size() == 1 ? " run\n" : " runs\n");
  return ExitCode::kOk;
}

}  // namespace ttt
