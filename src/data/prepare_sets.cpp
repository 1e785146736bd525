#include "data/prepare_sets.h"

#include <set>
#include <utility>

#include "base/error.h"
#include "base/log.h"
#include "data/domains.h"
#include "tokenizer/tokenizer.h"

namespace ttt {
namespace {

constexpr std::size_t kMaxDomains = 64;  // each holds files open, with a buffer each

}  // namespace

void check_prepare_output(const PrepareText& options) {
  check_output_directory(options.output, options.force);
  check_output_directory(options.output / "train", options.force);
  check_output_directory(options.output / "valid", options.force);
  if (has_domains(options.output) && !options.force) {
    user_error("'", options.output.string(),
               "' already holds data sets by domain; choose another output folder, or pass --force to replace them");
  }
}

PrepareSets::PrepareSets(const PrepareText& options, const Tokenizer& tokenizer, const PrepareFolder& folder)
    : options_(options), tokenizer_(tokenizer), folder_(folder) {}

std::string PrepareSets::set_name(const std::string& domain, bool valid) const {
  const std::string folder = options_.by_domain() ? domain_folder(domain) : "";
  if (options_.valid_fraction == 0) return folder;
  return folder + (folder.empty() ? "" : "/") + (valid ? "valid" : "train");
}

DatasetWriterOptions PrepareSets::writer_options(const std::string& name, const std::string& domain) const {
  return {.directory = options_.output / name,
          .vocab_size = tokenizer_.vocab_size(),
          .bos_id = tokenizer_.bos_id(),
          .eos_id = tokenizer_.eos_id(),
          .tokenizer = &tokenizer_,
          .shard_tokens = options_.shard_tokens,
          .force = options_.force,
          .domain = domain,
          .staging = folder_.staging(name)};
}

void PrepareSets::restore(const std::vector<PreparedSet>& sets) {
  for (const PreparedSet& set : sets) {
    if (options_.by_domain()) domain_of_[domain_folder(set.domain)] = set.domain;
    numbers_[{set.domain, set.valid}] = sets_.size();
    sets_.push_back({set.name, set.domain, set.valid,
                     std::make_unique<DatasetWriter>(writer_options(set.name, set.domain), set.state)});
  }
}

std::size_t PrepareSets::number(const std::string& domain, bool valid) {
  const auto [place, is_new] = numbers_.try_emplace({domain, valid}, sets_.size());
  if (!is_new) return place->second;
  if (options_.by_domain()) {
    const auto [other, is_first] = domain_of_.try_emplace(domain_folder(domain), domain);
    if (other->second != domain) {
      user_error("the domains '", other->second, "' and '", domain, "' would both be written to the folder '",
                 other->first, "'; rename one of them in the input");
    }
    if (domain_of_.size() > kMaxDomains) {
      user_error("there are more than ", kMaxDomains, " domains ('", domain_of_.begin()->second, "', '", domain,
                 "', ...); name a field or folders that part the documents into fewer");
    }
  }
  const std::string name = set_name(domain, valid);
  sets_.push_back({name, domain, valid, std::make_unique<DatasetWriter>(writer_options(name, domain))});
  return sets_.size() - 1;
}

std::vector<PreparedSet> PrepareSets::sync() {
  std::vector<PreparedSet> states;
  for (Set& set : sets_) states.push_back({set.name, set.domain, set.valid, set.writer->sync()});
  return states;
}

std::int64_t PrepareSets::num_tokens(bool valid) const {
  std::int64_t tokens = 0;
  for (const Set& set : sets_) tokens += set.valid == valid ? set.writer->manifest().num_tokens : 0;
  return tokens;
}

void PrepareSets::finish() {
  for (const bool valid : {false, true}) {
    if (num_tokens(valid) > 0 || (valid && options_.valid_fraction == 0)) continue;
    user_error("a valid fraction of ", options_.valid_fraction, " left ", valid ? "validation" : "training",
               " without a document; give another --valid-fraction or more text");
  }
  for (Set& set : sets_) {
    if (options_.by_domain() && options_.valid_fraction > 0 && !numbers_.contains({set.domain, !set.valid})) {
      log_warn(cat("the domain '", set.domain, "' has no ", set.valid ? "training" : "validation", " document"));
    }
    set.writer->finish();
  }
}

void PrepareSets::place(const std::vector<PreparedSet>& sets) const {
  const fs::path& output = options_.output;
  if (has_domains(output)) {  // of a replaced preparation: its sets that the new one does not have go
    std::set<std::string> names;
    for (const PreparedSet& set : sets) names.insert(set.name);
    for (const DomainIndex::Domain& domain : read_domains(output).domains) {
      for (const std::optional<DomainIndex::Set>& old : {domain.train, domain.valid}) {
        if (old && !names.contains(old->path)) remove_dataset(output / old->path);
      }
    }
    fs::remove(output / "domains.json");
  }
  std::map<std::string, DomainIndex::Domain> domains;
  for (const PreparedSet& set : sets) {
    place_dataset(folder_.staging(set.name), output / set.name);
    const DatasetManifest manifest = read_manifest(output / set.name);
    DomainIndex::Domain& domain = domains[set.domain];
    domain.name = set.domain;
    (set.valid ? domain.valid : domain.train) =
        DomainIndex::Set{set.name, manifest.num_documents, manifest.num_tokens, manifest.text_bytes};
  }
  if (!options_.by_domain()) return;
  DomainIndex index;
  for (const auto& [name, domain] : domains) index.domains.push_back(domain);
  write_domains(output, index);
}

}  // namespace ttt
