// ttt inspect data: counts, documents, duplicates, domains, and decoded windows of a data set.
#include <algorithm>
#include <cstdio>
#include <iomanip>
#include <iostream>

#include "base/error.h"
#include "base/files.h"
#include "base/hash.h"
#include "base/rng.h"
#include "cli/inspect.h"
#include "data/dataset.h"
#include "data/domains.h"
#include "data/manifest.h"
#include "data/statistics.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::int64_t kExcerpt = 24;  // tokens of a duplicate that are shown

Json decoded(const Dataset& data, const Tokenizer& tokenizer, std::int64_t begin, std::int64_t tokens) {
  const std::vector<std::int32_t> ids = data.tokens(begin, std::min(tokens, data.num_tokens() - begin));
  return {{"first_token", begin}, {"tokens", ids.size()}, {"text", tokenizer.decode(ids)}};
}

Json report_documents(const Dataset& data, const std::vector<std::int64_t>& offsets, const Tokenizer* tokenizer) {
  const DatasetStatistics statistics = dataset_statistics(data, offsets);
  Json json = {{"mean_tokens", statistics.mean_length},     {"shortest", statistics.shortest},
               {"percentile_10", statistics.percentile_10}, {"median", statistics.median},
               {"percentile_90", statistics.percentile_90}, {"longest", statistics.longest}};
  json["bos"] = {{"tokens", statistics.bos_tokens}, {"documents_without", statistics.without_bos}};
  json["eos"] = {{"tokens", statistics.eos_tokens}, {"documents_without", statistics.without_eos}};
  json["duplicates"] = {{"documents", statistics.duplicates},
                        {"share", static_cast<double>(statistics.duplicates) /
                                      static_cast<double>(std::max<std::int64_t>(1, data.num_documents()))},
                        {"tokens", statistics.duplicate_tokens},
                        {"example", nullptr}};
  if (!statistics.example) return json;
  const auto [repeated, first] = *statistics.example;
  Json& example = json["duplicates"]["example"] = {{"document", repeated}, {"same_as", first}, {"text", nullptr}};
  const auto place = static_cast<std::size_t>(repeated);
  const std::int64_t tokens = std::min(kExcerpt, offsets[place + 1] - offsets[place]);
  if (tokenizer != nullptr) example["text"] = decoded(data, *tokenizer, offsets[place], tokens)["text"];
  return json;
}

Json report_windows(const Dataset& data, const Tokenizer& tokenizer, const InspectWindows& windows) {
  Json list = Json::array();
  CounterRng rng(stream_seed(windows.seed, "windows"));
  const std::int64_t places = std::max<std::int64_t>(1, data.num_tokens() - windows.tokens + 1);
  for (std::int64_t i = 0; i < windows.count; ++i) {
    const auto begin = static_cast<std::int64_t>(rng.next() % static_cast<std::uint64_t>(places));
    list.push_back(decoded(data, tokenizer, begin, windows.tokens));
  }
  return list;
}

Json report_set(const fs::path& path, const InspectWindows& windows) {
  const DatasetManifest manifest = read_manifest(path);
  Json report = {{"kind", "data set"},
                 {"path", path.string()},
                 {"domain", manifest.domain.empty() ? Json() : Json(manifest.domain)},
                 {"tokens", manifest.num_tokens},
                 {"documents", manifest.num_documents},
                 {"text_bytes", manifest.text_bytes > 0 ? Json(manifest.text_bytes) : Json()},
                 {"vocab_size", manifest.vocab_size},
                 {"dtype", manifest.dtype()},
                 {"bos_id", manifest.bos_id ? Json(*manifest.bos_id) : Json()},
                 {"eos_id", manifest.eos_id ? Json(*manifest.eos_id) : Json()},
                 {"tokenizer_xxh3", manifest.tokenizer_xxh3 ? Json(hex64(*manifest.tokenizer_xxh3)) : Json()},
                 {"sources", manifest.sources.size()},
                 {"samples", manifest.has_scores() ? Json(manifest.num_documents) : Json()},
                 {"scored_tokens", manifest.has_scores() ? Json(*manifest.scored_tokens) : Json()},
                 {"task", manifest.task},
                 {"shards", Json::array()},
                 {"document_tokens", nullptr},
                 {"windows", Json::array()}};
  for (const DatasetManifest::Shard& shard : manifest.shards) {
    report["shards"].push_back({{"file", shard.tokens_file},
                                {"tokens", shard.num_tokens},
                                {"documents", shard.num_documents},
                                {"xxh3", hex64(shard.tokens_xxh3)}});
  }
  try {
    const Dataset data(path);
    report["problems"] = data.verify();
    if (!report["problems"].empty() || data.num_tokens() == 0) return report;
    std::optional<Tokenizer> tokenizer;
    if (!data.tokenizer_path().empty()) tokenizer.emplace(data.tokenizer_path());
    report["document_tokens"] = report_documents(data, document_offsets(path), tokenizer ? &*tokenizer : nullptr);
    if (tokenizer) report["windows"] = report_windows(data, *tokenizer, windows);
  } catch (const UserError& error) {
    report["problems"] = {error.what()};
  }
  return report;
}

// Several sets: those of a folder with train/ and valid/, or of its domains.
Json report_sets(const fs::path& path, const std::vector<fs::path>& folders, const InspectWindows& windows) {
  Json report = {{"kind", "data sets"}, {"path", path.string()}, {"sets", Json::array()}, {"problems", Json::array()}};
  for (const fs::path& folder : folders) {
    report["sets"].push_back(report_set(folder, windows));
    for (const Json& problem : report["sets"].back()["problems"]) report["problems"].push_back(problem);
  }
  return report;
}

Json report_domains(const fs::path& path, const InspectWindows& windows) {
  const DomainIndex index = read_domains(path);
  std::vector<fs::path> folders;
  Json domains = Json::array();
  std::int64_t all = 0;
  for (const DomainIndex::Domain& domain : index.domains) all += domain.train ? domain.train->tokens : 0;
  for (const DomainIndex::Domain& domain : index.domains) {
    Json entry = {{"name", domain.name}};
    for (const auto& [key, set] : {std::pair("train", domain.train), std::pair("valid", domain.valid)}) {
      if (!set) continue;
      folders.push_back(path / set->path);
      entry[key] = {{"documents", set->documents}, {"tokens", set->tokens}, {"text_bytes", set->text_bytes}};
    }
    const double share =
        domain.train && all > 0 ? static_cast<double>(domain.train->tokens) / static_cast<double>(all) : 0;
    entry["share_of_training_tokens"] = share;
    domains.push_back(entry);
  }
  Json report = report_sets(path, folders, windows);
  report["domains"] = domains;
  return report;
}

void print_documents(const Json& report) {
  const Json& of = report["document_tokens"];
  std::cout << std::fixed << std::setprecision(1);
  std::cout << "  document length " << of["mean_tokens"].get<double>() << " tokens on average; shortest "
            << of["shortest"] << ", 10 % " << of["percentile_10"] << ", median " << of["median"] << ", 90 % "
            << of["percentile_90"] << ", longest " << of["longest"] << "\n";
  for (const char* name : {"bos", "eos"}) {
    if (report[std::string(name) + "_id"].is_null()) continue;
    std::cout << "  " << (name[0] == 'b' ? "BOS" : "EOS") << " tokens      " << of[name]["tokens"] << ", "
              << (of[name]["documents_without"] == 0 ? "every document "
                                                     : plain(of[name]["documents_without"]) + " documents do not ")
              << (name[0] == 'b' ? "begin" : "end") << (of[name]["documents_without"] == 0 ? "s" : "") << " with it\n";
  }
  const Json& duplicates = of["duplicates"];
  std::cout << "  duplicates      " << duplicates["documents"] << " documents (" << std::setprecision(2)
            << 100 * duplicates["share"].get<double>() << " %, " << duplicates["tokens"]
            << " tokens) repeat an earlier one\n";
  if (duplicates["example"].is_null()) return;
  std::cout << "    document " << duplicates["example"]["document"] << " is document "
            << duplicates["example"]["same_as"]
            << " again: " << duplicates["example"]["text"].dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
}

void print_set(const Json& report) {
  for (const char* key : {"domain", "tokens", "documents", "text_bytes", "vocab_size", "dtype", "bos_id", "eos_id",
                          "tokenizer_xxh3", "sources"}) {
    std::cout << "  " << std::left << std::setw(16) << key << plain(report[key]) << "\n";
  }
  for (const char* key : {"samples", "scored_tokens", "task"}) {
    if (!report[key].is_null()) std::cout << "  " << std::left << std::setw(16) << key << plain(report[key]) << "\n";
  }
  if (!report["document_tokens"].is_null()) print_documents(report);
  for (const Json& shard : report["shards"]) {
    std::cout << "  " << plain(shard["file"]) << "  " << shard["tokens"] << " tokens, " << shard["documents"]
              << " documents, xxh3 " << plain(shard["xxh3"]) << "\n";
  }
  for (const Json& window : report["windows"]) {
    std::cout << "  tokens " << window["first_token"] << " and on:\n" << plain(window["text"]) << "\n";
  }
}

void print_domains(const Json& domains) {
  std::cout << "  " << std::left << std::setw(32) << "domain" << std::right << std::setw(12) << "documents"
            << std::setw(16) << "tokens" << std::setw(9) << "share" << std::setw(16) << "valid tokens"
            << "\n";
  for (const Json& domain : domains) {
    const Json train = domain.value("train", Json()), valid = domain.value("valid", Json());
    std::cout << "  " << std::left << std::setw(32) << plain(domain["name"]) << std::right << std::setw(12)
              << (train.is_null() ? "0" : train["documents"].dump()) << std::setw(16)
              << (train.is_null() ? "0" : train["tokens"].dump()) << std::setw(7) << std::fixed << std::setprecision(2)
              << 100 * domain["share_of_training_tokens"].get<double>() << " %" << std::setw(16)
              << (valid.is_null() ? "0" : valid["tokens"].dump()) << "\n";
  }
}

}  // namespace

bool is_data(const fs::path& path) {
  return is_dataset(path) || has_domains(path) || is_dataset(path / "train");
}

Json inspect_data(const fs::path& path, const InspectWindows& windows) {
  if (is_dataset(path)) return report_set(path, windows);
  if (has_domains(path)) return report_domains(path, windows);
  std::vector<fs::path> folders;  // what `ttt prepare --valid-fraction` wrote
  for (const char* name : {"train", "valid"}) {
    if (is_dataset(path / name)) folders.push_back(path / name);
  }
  if (folders.empty()) read_manifest(path);  // says what is wrong
  return report_sets(path, folders, windows);
}

void print_data(const Json& report) {
  std::cout << plain(report["kind"]) << " " << plain(report["path"]) << "\n";
  if (report["kind"] == "data sets") {
    if (report.contains("domains")) print_domains(report["domains"]);
    for (const Json& set : report["sets"]) print_data(set);
    return;
  }
  print_set(report);
  for (const Json& problem : report["problems"]) std::cout << "  DAMAGED: " << plain(problem) << "\n";
  if (report["problems"].empty()) std::cout << "  whole: every checksum agrees\n";
}

}  // namespace ttt
