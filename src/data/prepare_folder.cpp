#include "data/prepare_folder.h"

#include <algorithm>

#include "base/error.h"
#include "data/writer.h"

namespace ttt {
namespace {

constexpr std::int64_t kVersion = 2;  // 2: long runs without spaces are cut more often, and counts are kept

// The folders that making `path` will make, outermost first.
std::vector<std::string> missing_folders(const fs::path& path) {
  std::vector<std::string> missing;
  for (fs::path at = fs::absolute(path).lexically_normal(); !at.empty() && !fs::exists(at); at = at.parent_path()) {
    if (!at.filename().empty()) missing.push_back(at.string());
    if (at == at.parent_path()) break;
  }
  std::reverse(missing.begin(), missing.end());
  return missing;
}

// The files of sets that a dropped preparation had put, or begun to put, in place.
void remove_placed(const fs::path& output, const Json& journal) {
  std::error_code ignored;
  for (const Json& set : journal.value("sets", Json::array())) {
    const fs::path folder = output / set.value("name", "");
    std::vector<fs::path> files;
    for (fs::directory_iterator it(folder, ignored), end; !ignored && it != end; it.increment(ignored))
      if (is_file_of_dataset(it->path())) files.push_back(it->path());
    for (const fs::path& file : files) fs::remove(file, ignored);
    if (folder != output) fs::remove(folder, ignored);  // when it is empty
  }
}

}  // namespace

PrepareFolder::PrepareFolder(const std::filesystem::path& output, const std::string& command, bool force)
    : output_(output), folder_(output / ".prepare"), command_(command), made_(missing_folders(output)), forced_(force) {
  make_writable_directory(output_);
  make_writable_directory(folder_);
  lock_ = std::make_unique<FileLock>(folder_ / "lock", cat("another `ttt prepare` is writing to '", output_.string(),
                                                           "'; wait for it, or choose another output folder"));
  const fs::path journal = folder_ / "journal.json";
  if (fs::exists(journal)) {
    const Json left = Json::parse(read_file(journal), nullptr, /*allow_exceptions=*/false);
    const bool same =
        left.is_object() && left.value("version", Json()) == kVersion && left.value("command", Json()) == command_;
    if (same) {
      resumes_ = true;
      forced_ = force || left.value("force", false);
      made_ = left.at("made").get<std::vector<std::string>>();
      return;
    }
    if (!force) {
      user_error("'", output_.string(),
                 "' holds an unfinished preparation with other options or of input that has changed since; repeat that "
                 "command to complete it, or pass --force to drop it");
    }
    if (left.is_object() && left.value("placing", Json()) == true) remove_placed(output_, left);
  }
  for (const char* name : {"journal.json", "sets"}) fs::remove_all(folder_ / name);
  write_journal({});
}

PrepareFolder::~PrepareFolder() = default;

PrepareJournal PrepareFolder::read_journal() const {
  const Json json = Json::parse(read_file(folder_ / "journal.json"));
  const Json& position = json.at("position");
  PrepareJournal journal;
  journal.position.file = position.at("file").get<std::size_t>();
  journal.position.place = {position.at("offset").get<std::uint64_t>(), position.at("line").get<std::int64_t>()};
  journal.position.pieces = position.at("pieces").get<std::int64_t>();
  journal.input_bytes = json.at("input_bytes").get<std::uint64_t>();
  journal.placing = json.at("placing").get<bool>();
  const Json& counts = json.at("counts");
  journal.counts = {.empty = counts.at("empty").get<std::int64_t>(),
                    .replaced = counts.at("replaced").get<std::int64_t>(),
                    .separated = counts.at("separated").get<bool>()};
  for (const Json& set : json.at("sets")) {
    journal.sets.push_back({set.at("name").get<std::string>(), set.at("domain").get<std::string>(),
                            set.at("valid").get<bool>(), set.at("state")});
  }
  return journal;
}

void PrepareFolder::write_journal(const PrepareJournal& journal) const {
  Json json = {{"version", kVersion}, {"command", command_}, {"made", made_}, {"force", forced_}};
  json["position"] = {{"file", journal.position.file},
                      {"offset", journal.position.place.offset},
                      {"line", journal.position.place.line},
                      {"pieces", journal.position.pieces}};
  json["input_bytes"] = journal.input_bytes;
  json["placing"] = journal.placing;
  json["counts"] = {
      {"empty", journal.counts.empty}, {"replaced", journal.counts.replaced}, {"separated", journal.counts.separated}};
  json["sets"] = Json::array();
  for (const PreparedSet& set : journal.sets) {
    json["sets"].push_back({{"name", set.name}, {"domain", set.domain}, {"valid", set.valid}, {"state", set.state}});
  }
  write_file_atomically(folder_ / "journal.json", json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n");
}

std::filesystem::path PrepareFolder::staging(const std::string& set) const {
  return set.empty() ? folder_ / "sets" : folder_ / "sets" / set;
}

void PrepareFolder::remove() {
  // The journal goes last: until then, a preparation that was killed here and is called again ends here.
  std::error_code ignored;
  fs::remove_all(folder_ / "sets", ignored);
  fs::remove(folder_ / "lock", ignored);
  fs::remove(folder_ / "journal.json", ignored);
  fs::remove_all(folder_, ignored);
}

void PrepareFolder::discard() {
  // The journal goes first: what is left behind without it counts for nothing.
  std::error_code ignored;
  fs::remove(folder_ / "journal.json", ignored);
  fs::remove_all(folder_, ignored);
  for (auto folder = made_.rbegin(); folder != made_.rend(); ++folder) fs::remove(*folder, ignored);
}

std::function<bool(const fs::path&)> files_of_preparation(const fs::path& output) {
  const fs::path own = fs::weakly_canonical(fs::absolute(output));
  return [own](const fs::path& path) {
    const auto [end, rest] = std::mismatch(own.begin(), own.end(), path.begin(), path.end());
    if (end != own.end() || rest == path.end()) return false;
    const std::string name = path.filename().string();
    if (path.parent_path() == own && (name == ".prepare" || name.starts_with("domains.json"))) return true;
    return is_file_of_dataset(path);
  };
}

}  // namespace ttt
