// ttt inspect: what a data set, a checkpoint or a run folder holds, and whether every byte of it is as it was written.
#include "cli/inspect.h"

#include <iostream>
#include <sstream>
#include <vector>

#include "base/error.h"
#include "base/files.h"
#include "base/metrics_kind.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "data/domains.h"
#include "data/manifest.h"

namespace ttt {
namespace {

// The last whole line of metrics.jsonl, or null.
Json newest_metrics(const fs::path& path) {
  if (!fs::exists(path)) return nullptr;
  std::istringstream lines(read_file(path));
  Json newest;
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (kind_of(json) == "train") newest = std::move(json);
  }
  return newest;
}

void print_run(const Json& report) {
  std::cout << "run " << plain(report["path"]) << "\n";
  if (!report["metrics"].is_null()) std::cout << "  newest metrics  " << to_line(report["metrics"]);
  for (const Json& checkpoint : report["checkpoints"])
    std::cout << "  step " << checkpoint["step"] << "  " << plain(checkpoint["path"]) << "\n";
  if (report["checkpoints"].empty()) std::cout << "  no complete checkpoint\n";
  for (const Json& folder : report["set_aside"]) std::cout << "  set aside as damaged  " << plain(folder) << "\n";
  for (const Json& problem : report["problems"]) std::cout << "  DAMAGED: " << plain(problem) << "\n";
  if (report["problems"].empty()) std::cout << "  whole: every checksum agrees\n";
}

// `kind`: "data", "checkpoint", "run", or "" for whatever the folder is.
Json inspect(const std::string& kind, const fs::path& path, const InspectWindows& windows) {
  if (!fs::exists(path))
    user_error("there is nothing at '", path.string(), "'; name a data set, a checkpoint or a run folder");
  if (kind == "data") return inspect_data(path, windows);
  if (kind == "checkpoint") return inspect_checkpoint(path);
  if (kind == "run") return inspect_run(path);
  if (is_dataset(path)) return inspect_data(path, windows);
  if (is_checkpoint(path)) return inspect_checkpoint(path);
  if (is_run(path)) return inspect_run(path);
  if (is_data(path)) return inspect_data(path, windows);
  if (fs::exists(path / "manifest.json")) read_manifest(path);  // damaged: says how
  fs::path above = fs::absolute(path).lexically_normal();
  for (int levels = 0; levels < 2; ++levels) {  // RUN/config.yaml; RUN/checkpoints/ with its slash
    above = above.parent_path();
    if (is_data(above) || is_checkpoint(above) || is_run(above)) {
      const fs::path shown = path.is_absolute() ? above : above.lexically_relative(fs::current_path());
      user_error("'", path.string(), "' is a part of what is in '", shown.string(), "'; inspect that");
    }
  }
  user_error("'", path.string(),
             "' is neither a data set, a checkpoint nor a run folder; name a folder that ttt wrote");
}

}  // namespace

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "none" : value.dump();
}

bool is_run(const fs::path& path) {
  return fs::is_directory(path / "checkpoints") || fs::exists(path / "metrics.jsonl");
}

Json inspect_run(const fs::path& path) {
  if (!is_run(path)) user_error("'", path.string(), "' is not the output_dir of a run; name one");
  Json report = {{"kind", "run"}, {"path", path.string()}, {"metrics", newest_metrics(path / "metrics.jsonl")}};
  report["checkpoints"] = Json::array();
  report["problems"] = Json::array();
  for (const auto& [step, folder] : list_step_folders(path / "checkpoints")) {
    std::vector<std::string> problems;
    try {
      problems = verify_checkpoint(folder).problems;
    } catch (const UserError& error) {
      problems = {error.what()};
    }
    if (!problems.empty() && !fs::exists(folder)) continue;  // the run goes on, and has removed its oldest
    report["checkpoints"].push_back({{"step", step}, {"path", folder.string()}, {"whole", problems.empty()}});
    for (const std::string& problem : problems) {
      report["problems"].push_back(cat(folder.filename().string(), ": ", problem));
    }
  }
  report["set_aside"] = Json::array();
  if (fs::is_directory(path / "checkpoints")) {
    for (const auto& entry : fs::directory_iterator(path / "checkpoints")) {
      if (entry.path().filename().string().find(".damaged") != std::string::npos)
        report["set_aside"].push_back(entry.path().string());
    }
  }
  return report;
}

ExitCode run_inspect(const std::vector<std::string>& args) {
  std::vector<std::string> words;
  InspectWindows windows;
  bool json = false, every_tensor = false;
  CLI::App app(
      "What a data set, a checkpoint or a run folder holds, and whether it is whole (exit code 2 when it is damaged).",
      "ttt inspect");
  app.add_option("path", words, "the folder; a word before it says what it must be")
      ->required()
      ->expected(1, 2)
      ->type_name("[data|checkpoint|run] PATH");
  app.add_option("--windows", windows.count, "of data: stretches that are decoded, at random places")
      ->check(non_negative_number())
      ->capture_default_str();
  app.add_option("--context", windows.tokens, "tokens of such a stretch")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--seed", windows.seed, "of their places")->capture_default_str();
  app.add_flag("--tensors", every_tensor, "of a checkpoint: list every tensor, not one line for all layers");
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const std::string kind = words.size() == 2 ? words.front() : "";
  if (!kind.empty() && kind != "data" && kind != "checkpoint" && kind != "run") {
    user_error("'", kind,
               "' is not something to inspect; write `ttt inspect data PATH`, `checkpoint PATH`, `run PATH`, or the "
               "path alone");
  }
  const Json report = inspect(kind, words.back(), windows);
  if (json) {  // a window may begin or end inside a character
    std::cout << to_line(report);
  } else if (report["kind"] == "run") {
    print_run(report);
  } else if (report["kind"] == "checkpoint") {
    print_checkpoint(report, every_tensor);
  } else {
    print_data(report);
  }
  return report["problems"].empty() ? ExitCode::kOk : ExitCode::kUsage;
}

}  // namespace ttt
