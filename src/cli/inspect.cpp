// ttt inspect: what a data set, a checkpoint or a run folder holds, and whether every byte of it is as it was written.
#include <iomanip>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "checkpoint/checkpoint.h"
#include "cli/command.h"
#include "cli/parse.h"
#include "data/dataset.h"
#include "data/manifest.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::int64_t kSampleTokens = 64;

// A report is a JSON object whose "problems" lists what is damaged; the plain output is made from it.
using Report = Json;

bool is_checkpoint(const fs::path& path) {
  return fs::exists(path / "model.safetensors") || fs::exists(path / "COMPLETE") ||
         path.filename().string().starts_with("step_");
}

bool is_run(const fs::path& path) {
  return fs::is_directory(path / "checkpoints") || fs::exists(path / "metrics.jsonl");
}

Report inspect_dataset(const fs::path& path) {
  const DatasetManifest manifest = read_manifest(path);
  Report report = {{"kind", "data set"},
                   {"path", path.string()},
                   {"tokens", manifest.num_tokens},
                   {"documents", manifest.num_documents},
                   {"text_bytes", manifest.text_bytes > 0 ? Json(manifest.text_bytes) : Json()},
                   {"vocab_size", manifest.vocab_size},
                   {"dtype", manifest.dtype()},
                   {"bos_id", manifest.bos_id ? Json(*manifest.bos_id) : Json()},
                   {"eos_id", manifest.eos_id ? Json(*manifest.eos_id) : Json()},
                   {"tokenizer_xxh3", manifest.tokenizer_xxh3 ? Json(hex64(*manifest.tokenizer_xxh3)) : Json()},
                   {"sources", manifest.sources.size()},
                   {"shards", Json::array()},
                   {"sample", nullptr}};
  for (const DatasetManifest::Shard& shard : manifest.shards) {
    report["shards"].push_back({{"file", shard.tokens_file},
                                {"tokens", shard.num_tokens},
                                {"documents", shard.num_documents},
                                {"xxh3", hex64(shard.tokens_xxh3)}});
  }
  try {
    const Dataset data(path);
    report["problems"] = data.verify();
    if (report["problems"].empty() && !data.tokenizer_path().empty()) {
      const std::int64_t begin = data.num_tokens() / 2;
      const std::vector<std::int32_t> ids = data.tokens(begin, std::min(kSampleTokens, data.num_tokens() - begin));
      report["sample"] = {
          {"first_token", begin}, {"tokens", ids.size()}, {"text", Tokenizer(data.tokenizer_path()).decode(ids)}};
    }
  } catch (const UserError& error) {
    report["problems"] = {error.what()};
  }
  return report;
}

// Tensors of a safetensors file: name, shape, type.
Json list_tensors(const fs::path& path, std::int64_t& values) {
  Json tensors = Json::array();
  for (const auto& [name, tensor] : read_safetensors(path).tensors) {
    std::ostringstream type;
    type << tensor.dtype();
    tensors.push_back({{"name", name}, {"shape", tensor.sizes().vec()}, {"dtype", type.str()}});
    values += tensor.numel();
  }
  return tensors;
}

Report inspect_checkpoint(const fs::path& path, bool tensors) {
  const CheckpointReport check = verify_checkpoint(path);
  Report report = {{"kind", "checkpoint"}, {"path", path.string()}, {"step", nullptr}, {"files", Json::array()}};
  for (const auto& [name, bytes] : check.files) report["files"].push_back({{"name", name}, {"bytes", bytes}});
  report["problems"] = check.problems;
  if (!check.problems.empty()) return report;
  if (fs::exists(path / "state.json"))
    report["step"] = Json::parse(read_file(path / "state.json")).value("step", Json());
  if (tensors) {
    std::int64_t parameters = 0;
    report["tensors"] = list_tensors(path / "model.safetensors", parameters);
    report["parameters"] = parameters;
  }
  return report;
}

// The last whole line of metrics.jsonl, or null.
Json newest_metrics(const fs::path& path) {
  if (!fs::exists(path)) return nullptr;
  std::istringstream lines(read_file(path));
  Json newest;
  for (std::string line; std::getline(lines, line);) {
    Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (json.is_object() && json.value("kind", "") == "train") newest = std::move(json);
  }
  return newest;
}

Report inspect_run(const fs::path& path) {
  Report report = {{"kind", "run"}, {"path", path.string()}, {"metrics", newest_metrics(path / "metrics.jsonl")}};
  report["checkpoints"] = Json::array();
  report["problems"] = Json::array();
  for (const auto& [step, folder] : list_checkpoints(path / "checkpoints")) {
    const Report checkpoint = inspect_checkpoint(folder, /*tensors=*/false);
    report["checkpoints"].push_back(
        {{"step", step}, {"path", folder.string()}, {"whole", checkpoint["problems"].empty()}});
    for (const Json& problem : checkpoint["problems"]) report["problems"].push_back(problem);
  }
  return report;
}

Report inspect(const fs::path& path) {
  if (!fs::exists(path))
    user_error("there is nothing at '", path.string(), "'; name a data set, a checkpoint or a run folder");
  if (is_dataset(path)) return inspect_dataset(path);
  if (is_checkpoint(path)) return inspect_checkpoint(path, /*tensors=*/true);
  if (is_run(path)) return inspect_run(path);
  if (is_dataset(path / "train")) {  // what `ttt prepare --valid-fraction` wrote
    Report report = {
        {"kind", "data sets"}, {"path", path.string()}, {"sets", Json::array()}, {"problems", Json::array()}};
    for (const char* name : {"train", "valid"}) {
      if (!is_dataset(path / name)) continue;
      report["sets"].push_back(inspect_dataset(path / name));
      for (const Json& problem : report["sets"].back()["problems"]) report["problems"].push_back(problem);
    }
    return report;
  }
  if (fs::exists(path / "manifest.json")) read_manifest(path);  // damaged: says how
  user_error("'", path.string(),
             "' is neither a data set, a checkpoint nor a run folder; name a folder that ttt wrote");
}

std::string plain(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.is_null() ? "none" : value.dump();
}

void print_dataset(const Report& report) {
  for (const char* key :
       {"tokens", "documents", "text_bytes", "vocab_size", "dtype", "bos_id", "eos_id", "tokenizer_xxh3", "sources"}) {
    std::cout << "  " << std::left << std::setw(16) << key << plain(report[key]) << "\n";
  }
  for (const Json& shard : report["shards"]) {
    std::cout << "  " << plain(shard["file"]) << "  " << shard["tokens"] << " tokens, " << shard["documents"]
              << " documents, xxh3 " << plain(shard["xxh3"]) << "\n";
  }
  if (!report["sample"].is_null()) {
    std::cout << "  tokens " << report["sample"]["first_token"] << " and on:\n"
              << plain(report["sample"]["text"]) << "\n";
  }
}

void print_checkpoint(const Report& report) {
  std::cout << "  step        " << plain(report["step"]) << "\n";
  for (const Json& file : report["files"])
    std::cout << "  " << plain(file["name"]) << "  " << file["bytes"] << " bytes\n";
  if (!report.contains("tensors")) return;
  std::cout << "  parameters  " << report["parameters"] << " in " << report["tensors"].size() << " tensors\n";
  for (const Json& tensor : report["tensors"]) {
    std::cout << "    " << plain(tensor["name"]) << "  " << tensor["shape"].dump() << "  " << plain(tensor["dtype"])
              << "\n";
  }
}

void print(const Report& report) {
  const std::string kind = plain(report["kind"]);
  std::cout << kind << " " << plain(report["path"]) << "\n";
  if (kind == "data set") {
    print_dataset(report);
  } else if (kind == "checkpoint") {
    print_checkpoint(report);
  } else if (kind == "run") {
    if (!report["metrics"].is_null()) std::cout << "  newest metrics  " << report["metrics"].dump() << "\n";
    for (const Json& checkpoint : report["checkpoints"])
      std::cout << "  step " << checkpoint["step"] << "  " << plain(checkpoint["path"]) << "\n";
    if (report["checkpoints"].empty()) std::cout << "  no complete checkpoint\n";
  } else {
    for (const Json& set : report["sets"]) print(set);
    return;
  }
  for (const Json& problem : report["problems"]) std::cout << "  DAMAGED: " << plain(problem) << "\n";
  if (report["problems"].empty()) std::cout << "  whole: every checksum agrees\n";
}

}  // namespace

ExitCode run_inspect(const std::vector<std::string>& args) {
  std::string path;
  bool json = false;
  CLI::App app(
      "What a data set, a checkpoint or a run folder holds, and whether it is whole (exit code 2 when it is damaged).",
      "ttt inspect");
  app.add_option("path", path, "the folder")->required()->type_name("PATH");
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const Report report = inspect(path);
  if (json) {  // a sample may begin or end inside a character
    std::cout << report.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  } else {
    print(report);
  }
  return report["problems"].empty() ? ExitCode::kOk : ExitCode::kUsage;
}

}  // namespace ttt
