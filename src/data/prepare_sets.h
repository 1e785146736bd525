// The data sets that a preparation writes: one, or training and validation, or these for every domain.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "data/prepare.h"
#include "data/prepare_folder.h"
#include "data/writer.h"

namespace ttt {

class PrepareSets {
 public:
  PrepareSets(const PrepareText& options, const Tokenizer& tokenizer, const PrepareFolder& folder);

  // Goes on with the sets of a journal.
  void restore(const std::vector<PreparedSet>& sets);
  // The number of the set for a domain's ("": none) training or validation documents; begins it when it is new. Throws
  // UserError when there are too many domains, and when two of them have one folder name.
  std::size_t number(const std::string& domain, bool valid);
  DatasetWriter& writer(std::size_t set) { return *sets_[set].writer; }

  std::vector<PreparedSet> sync();  // everything so far is on the disk
  // Throws UserError when training or validation got no token.
  void finish();
  // Puts the sets of a journal in place, and domains.json beside them.
  void place(const std::vector<PreparedSet>& sets) const;

 private:
  struct Set {
    std::string name, domain;
    bool valid;
    std::unique_ptr<DatasetWriter> writer;
  };
  DatasetWriterOptions writer_options(const std::string& name, const std::string& domain) const;
  std::string set_name(const std::string& domain, bool valid) const;
  std::int64_t num_tokens(bool valid) const;

  const PrepareText& options_;
  const Tokenizer& tokenizer_;
  const PrepareFolder& folder_;
  std::vector<Set> sets_;
  std::map<std::pair<std::string, bool>, std::size_t> numbers_;  // by domain and valid
  std::map<std::string, std::string> domain_of_;                 // by folder name
};

// Throws UserError when the output holds what a preparation with these options would write, and force is not set.
void check_prepare_output(const PrepareText& options);

}  // namespace ttt
