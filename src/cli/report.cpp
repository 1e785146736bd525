// ttt report: runs as one HTML page.
#include <iostream>

#include "cli/command.h"
#include "cli/parse.h"
#include "report/page.h"

namespace ttt {

ExitCode run_report(const std::vector<std::string>& args) {
  std::vector<std::string> folders;
  std::string output, title, figures;
  CLI::App app(
      "One HTML page about a run, several or a sweep, that needs nothing outside it: summary, differences of configs,\n"
      "loss by tokens, FLOPs and time, learning rate, throughput, skipped steps, and the files that all of it comes "
      "from.",
      "ttt report");
  app.add_option("folders", folders, "output folders of trainings or of sweeps; a sweep's runs.jsonl by itself")
      ->required()
      ->option_text("DIR ...");
  app.add_option("--output", output, "the page")->required()->type_name("FILE.html");
  app.add_option("--title", title, "its heading; by default the folders' names")->type_name("TEXT");
  app.add_option("--figures", figures, "write each figure to this folder, too: NAME.svg, and its numbers as NAME.csv")
      ->type_name("DIR");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  check_output_file("--output", output);
  std::vector<RunLog> runs;
  std::vector<ResultsFile> results;
  for (const std::string& folder : folders) {
    if (fs::is_regular_file(folder)) {
      results.push_back(read_results_file(folder));
      continue;
    }
    for (const fs::path& run : run_folders(folder)) runs.push_back(read_run_log(run));
  }
  if (title.empty()) {
    for (const std::string& folder : folders) title += (title.empty() ? "" : ", ") + folder;
  }
  const Report report = report_page(title, runs, results);
  write_file_atomically(output, report.page);
  if (!figures.empty()) {
    make_writable_directory(figures);
    for (const Figure& figure : report.figures) {
      write_file_atomically(fs::path(figures) / (figure.name + ".svg"), to_svg(figure.chart));
      write_file_atomically(fs::path(figures) / (figure.name + ".csv"), to_csv(figure.chart));
    }
  }
  std::size_t count = runs.size();
  for (const ResultsFile& file : results) count += file.lines.size();
  std::cout << output << ": " << count << (count == 1 ? " run\n" : " runs\n");
  return ExitCode::kOk;
}

}  // namespace ttt
