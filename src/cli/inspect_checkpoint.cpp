// ttt inspect checkpoint: the model, the training state, the tensors and the files of a checkpoint.
#include <algorithm>
#include <iomanip>
#include <iostream>
#include <map>
#include <sstream>

#include "base/error.h"
#include "base/files.h"
#include "checkpoint/checkpoint.h"
#include "cli/inspect.h"
#include "infer/load_model.h"
#include "model/layout.h"

namespace ttt {
namespace {

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

Json describe_model(const fs::path& path) {
  const ModelConfig model = model_config_from_hugging_face(Json::parse(read_file(path)), path.string());
  Json json = {{"mixer", to_string(model.mixer)}};
  if (model.has_ttt()) json["backbone"] = to_string(model.backbone);
  json.update({{"layers", model.num_layers},
               {"hidden_size", model.hidden_size},
               {"heads", model.num_heads},
               {"vocab_size", model.vocab_size}});
  return json;
}

// "model.layers.3.mlp.up_proj.weight" -> "model.layers.*.mlp.up_proj.weight"
std::string without_numbers(const std::string& name) {
  std::string pattern;
  std::istringstream parts(name);
  for (std::string part; std::getline(parts, part, '.');) {
    const bool number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    pattern += (pattern.empty() ? "" : ".") + (number ? "*" : part);
  }
  return pattern;
}

void print_tensors(const Json& tensors, bool every_tensor) {
  // Those that differ by a layer's number alone are one line, at the place of the first.
  std::vector<std::string> order;
  std::map<std::string, int> counts;
  for (const Json& tensor : tensors) {
    const std::string name = every_tensor ? plain(tensor["name"]) : without_numbers(plain(tensor["name"]));
    const std::string line = name + "  " + tensor["shape"].dump() + "  " + plain(tensor["dtype"]);
    if (counts[line]++ == 0) order.push_back(line);
  }
  for (const std::string& line : order) {
    std::cout << "    " << line;
    if (counts[line] > 1) std::cout << "  x " << counts[line];
    std::cout << "\n";
  }
}

}  // namespace

bool is_checkpoint(const fs::path& path) {
  return fs::exists(path / "model.safetensors") || fs::exists(path / "COMPLETE") ||
         path.filename().string().starts_with("step_");
}

Json inspect_checkpoint(const fs::path& given) {
  fs::path path = given;
  if (!is_checkpoint(path) && is_run(path)) {
    const auto complete = list_checkpoints(path / "checkpoints");
    if (complete.empty()) user_error("the run in '", path.string(), "' has no complete checkpoint yet");
    path = complete.back().second;
  }
  if (!is_checkpoint(path)) {
    user_error("'", path.string(),
               "' is not a checkpoint; name a folder such as RUN/checkpoints/step_00001000, or a run");
  }
  check_no_hugging_face_folder(path);
  const CheckpointReport check = verify_checkpoint(path);
  Json report = {{"kind", "checkpoint"}, {"path", path.string()}, {"step", nullptr},      {"tokens", nullptr},
                 {"samples", nullptr},   {"model", nullptr},      {"optimizer", nullptr}, {"files", Json::array()}};
  for (const auto& [name, bytes] : check.files) report["files"].push_back({{"name", name}, {"bytes", bytes}});
  report["problems"] = check.problems;
  if (!check.problems.empty()) return report;
  if (fs::exists(path / "state.json")) {
    const Json state = Json::parse(read_file(path / "state.json"));
    report["step"] = state.value("step", Json());
    report["tokens"] = state.value("tokens", Json());
    report["samples"] = state.value("cursor", Json());
  }
  report["model"] = describe_model(path / "config.json");
  report["optimizer"] = std::any_of(check.files.begin(), check.files.end(),
                                    [](const auto& file) { return parse_optimizer_file_name(file.first).has_value(); });
  std::int64_t parameters = 0;
  report["tensors"] = list_tensors(path / "model.safetensors", parameters);
  report["parameters"] = parameters;
  return report;
}

void print_checkpoint(const Json& report, bool every_tensor) {
  std::cout << "checkpoint " << plain(report["path"]) << "\n";
  std::cout << "  step        " << plain(report["step"]) << "\n";
  if (!report["tokens"].is_null()) {
    std::cout << "  trained on  " << report["tokens"] << " tokens in " << report["samples"] << " samples\n";
  }
  if (!report["model"].is_null()) {
    std::cout << "  model       ";
    const char* separator = "";
    for (const auto& [key, value] : report["model"].items()) {
      std::cout << separator << (key == "mixer" ? "" : key + " ") << plain(value);
      separator = ", ";
    }
    std::cout << "\n  optimizer   " << (report["optimizer"].get<bool>() ? "AdamW's moments" : "none: the model alone")
              << "\n";
  }
  if (report.contains("tensors")) {
    std::cout << "  parameters  " << report["parameters"] << " in " << report["tensors"].size() << " tensors\n";
    print_tensors(report["tensors"], every_tensor);
  }
  std::cout << "  files\n";
  for (const Json& file : report["files"]) {
    std::cout << "    " << std::left << std::setw(40) << plain(file["name"]) << file["bytes"] << " bytes\n";
  }
  for (const Json& problem : report["problems"]) std::cout << "  DAMAGED: " << plain(problem) << "\n";
  if (report["problems"].empty()) std::cout << "  whole: every checksum agrees\n";
}

}  // namespace ttt
