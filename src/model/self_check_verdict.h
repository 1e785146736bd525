// What a self-check (model/self_check.h) found, and the file that keeps it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace ttt {

// What a verdict is about: it holds for nothing else.
struct SelfCheckSubject {
  std::string device;   // a GPU's name; "CPU" in tests
  std::string driver;   // "570.133.20"
  std::string cuda;     // of the runtime, "13.0"
  std::string program;  // its revision and the hash of its file
  std::string planted;  // faults on purpose, in tests

  bool operator==(const SelfCheckSubject&) const = default;
  std::string text() const;  // "NVIDIA H200, driver 570.133.20, CUDA 13.0"
};

enum class RowState {
  kAgrees,
  kFails,      // it is not to be used
  kTakesNone,  // none of the shapes that are checked
  kUnchecked,  // for a reason that is not its own
};

struct RowVerdict {
  std::string row;  // "ttt_linear/cuda"
  RowState state = RowState::kUnchecked;
  std::string text;  // how it failed, "crashed: signal 6, Aborted (...)"; why it was not checked

  bool operator==(const RowVerdict&) const = default;
};

struct SelfCheckVerdict {
  SelfCheckSubject subject;
  std::vector<RowVerdict> rows;
  double seconds = 0;      // that the check took
  std::string incomplete;  // why some rows are unchecked; with no rows: why nothing could be checked; or ""
  fs::path file;           // that keeps it; empty: none
  bool kept = false;       // it was read from there

  std::vector<const RowVerdict*> in_state(RowState state) const;
  // Whether another start is to go by it.
  bool is_final() const { return incomplete.empty() && in_state(RowState::kUnchecked).empty(); }
};

const char* to_string(RowState state);
std::optional<RowState> row_state_of(const std::string& word);

Json to_json(const SelfCheckVerdict& verdict);
// None where the text is no verdict: damaged, or of another version of this format.
std::optional<SelfCheckVerdict> verdict_of(const std::string& text);

// $XDG_CACHE_HOME/ttt.cpp, else $HOME/.cache/ttt.cpp; empty where neither is set to an absolute path.
fs::path user_cache_folder();

// The file for a subject's GPU, driver and CUDA; a verdict about another program there is replaced.
fs::path verdict_file(const fs::path& folder, const SelfCheckSubject& subject);

// The verdict in the file, if it is about that subject.
std::optional<SelfCheckVerdict> read_verdict(const fs::path& file, const SelfCheckSubject& subject);

// The driver's version in what /proc/driver/nvidia/version says; "" where it says none.
std::string driver_version(const std::string& text);

}  // namespace ttt
