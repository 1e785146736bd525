#include "model/self_check_verdict.h"

#include <cstdlib>
#include <sstream>
#include <utility>

#include "base/error.h"
#include "base/hash.h"

namespace ttt {
namespace {

constexpr int kVerdictFormat = 1;

constexpr std::pair<RowState, const char*> kStates[] = {{RowState::kAgrees, "agrees"},
                                                        {RowState::kFails, "fails"},
                                                        {RowState::kTakesNone, "takes_none"},
                                                        {RowState::kUnchecked, "unchecked"}};

// The verdict of a JSON object of the right form; throws Json::exception for any other.
SelfCheckVerdict verdict_of_object(const Json& json) {
  SelfCheckVerdict verdict;
  const auto text = [&](const char* key) { return json.at(key).get<std::string>(); };
  verdict.subject = {text("device"), text("driver"), text("cuda"), text("program"), text("planted")};
  verdict.seconds = json.at("seconds").get<double>();
  verdict.incomplete = text("incomplete");
  for (const Json& row : json.at("rows")) {
    RowVerdict& own = verdict.rows.emplace_back();
    own.row = row.at("row").get<std::string>();
    own.state = row_state_of(row.at("state").get<std::string>()).value_or(RowState::kUnchecked);
    own.text = row.at("text").get<std::string>();
  }
  return verdict;
}

}  // namespace

std::string SelfCheckSubject::text() const {
  return cat(device, driver.empty() ? "" : ", driver " + driver, cuda.empty() ? "" : ", CUDA " + cuda);
}

std::vector<const RowVerdict*> SelfCheckVerdict::in_state(RowState state) const {
  std::vector<const RowVerdict*> found;
  for (const RowVerdict& row : rows)
    if (row.state == state) found.push_back(&row);
  return found;
}

const char* to_string(RowState state) {
  for (const auto& [known, word] : kStates)
    if (known == state) return word;
  fail("no such state of a row");
}

std::optional<RowState> row_state_of(const std::string& text) {
  for (const auto& [state, word] : kStates)
    if (text == word) return state;
  return std::nullopt;
}

Json to_json(const SelfCheckVerdict& verdict) {
  Json rows = Json::array();
  for (const RowVerdict& row : verdict.rows)
    rows.push_back({{"row", row.row}, {"state", to_string(row.state)}, {"text", row.text}});
  const SelfCheckSubject& of = verdict.subject;
  return {{"format", kVerdictFormat},
          {"device", of.device},
          {"driver", of.driver},
          {"cuda", of.cuda},
          {"program", of.program},
          {"planted", of.planted},
          {"seconds", verdict.seconds},
          {"incomplete", verdict.incomplete},
          {"rows", rows}};
}

std::optional<SelfCheckVerdict> verdict_of(const std::string& text) {
  const Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != kVerdictFormat) return std::nullopt;
  try {
    return verdict_of_object(json);
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

fs::path user_cache_folder() {
  const auto folder_in = [](const char* variable) {
    const char* value = std::getenv(variable);
    return fs::path(value == nullptr ? "" : value);
  };
  if (const fs::path cache = folder_in("XDG_CACHE_HOME"); cache.is_absolute()) return cache / "ttt.cpp";
  if (const fs::path home = folder_in("HOME"); home.is_absolute()) return home / ".cache" / "ttt.cpp";
  return {};
}

fs::path verdict_file(const fs::path& folder, const SelfCheckSubject& of) {
  const std::string name = cat(of.device, "\n", of.driver, "\n", of.cuda, "\n", of.planted);
  return folder / cat("self_check_", hex64(xxh3(name)), ".json");
}

std::optional<SelfCheckVerdict> read_verdict(const fs::path& file, const SelfCheckSubject& subject) {
  std::error_code unknown;
  if (!fs::is_regular_file(file, unknown)) return std::nullopt;
  std::optional<SelfCheckVerdict> verdict;
  try {
    verdict = verdict_of(read_file(file));
  } catch (const UserError&) {  // it cannot be read
    return std::nullopt;
  }
  if (!verdict || verdict->subject != subject || !verdict->is_final() || verdict->rows.empty()) return std::nullopt;
  verdict->file = file;
  verdict->kept = true;
  return verdict;
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.133.20  Fri ...", or "... Open Kernel Module for x86_64  570...".
std::string driver_version(const std::string& text) {
  std::istringstream words(text.substr(0, text.find('\n')));
  for (std::string word; words >> word;) {
    const bool number = word.find_first_not_of("0123456789.") == std::string::npos;
    if (number && word.find('.') != std::string::npos) return word;
  }
  return "";
}

}  // namespace ttt
