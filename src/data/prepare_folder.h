// OUTPUT/.prepare: where data sets grow until they are whole, and from where a preparation that was killed goes on.
//
//     .prepare/lock           held while a preparation runs
//     .prepare/journal.json   how far it came (see PrepareJournal), replaced atomically
//     .prepare/sets/NAME/     a data set that grows (see data/writer.h)
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"
#include "data/encode_queue.h"

namespace ttt {

// A data set of a preparation: OUTPUT/name (name may be empty), its documents' domain, its writer's state.
struct PreparedSet {
  std::string name, domain;
  bool valid = false;
  Json state;
};

struct PrepareJournal {
  InputPosition position;
  std::uint64_t input_bytes = 0;
  DocumentCounts counts;  // before the document at `position`; when `placing`, of all
  std::vector<PreparedSet> sets;
  bool placing = false;  // every set is whole and on its way to its folder
};

class PrepareFolder {
 public:
  // `command`: a hash of all that the result depends on. Makes the folder and locks it. Throws UserError when another
  // preparation runs there, or when one by another command was left unfinished and `force` is not set.
  PrepareFolder(const std::filesystem::path& output, const std::string& command, bool force);
  ~PrepareFolder();

  bool resumes() const { return resumes_; }  // the same command was begun here before
  bool forced() const { return forced_; }    // it, now or then, was to replace what stands in the output
  PrepareJournal read_journal() const;
  void write_journal(const PrepareJournal& journal) const;
  std::filesystem::path staging(const std::string& set) const;

  void remove();   // everything is in place
  void discard();  // gives up, and removes the output folder when this preparation made it and it is empty

 private:
  std::filesystem::path output_, folder_;
  std::string command_;
  std::vector<std::string> made_;  // folders that were not there before, outermost first
  bool resumes_ = false, forced_ = false;
  std::unique_ptr<FileLock> lock_;
};

// Says of a canonical path whether a preparation with this output writes it: OUTPUT/.prepare, and the files of data
// sets in the output and below it.
std::function<bool(const std::filesystem::path&)> files_of_preparation(const std::filesystem::path& output);

}  // namespace ttt
