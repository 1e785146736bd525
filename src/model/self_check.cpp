#include "model/self_check.h"

#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string_view>
#include <thread>

#include "base/build_info.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/timer.h"
#include "model/self_check_child.h"
#include "ops/cuda_target.h"
#include "ops/kernel_table.h"

namespace ttt {
namespace {

constexpr double kLockSeconds = 300;  // another process that holds the lock for longer is not waited for
constexpr const char* kLockIsBusy = "another process checks";
constexpr std::int64_t kUsualHeadSize = 64, kUsualMiniBatch = 16;

fs::path& self_check_program() {
  static fs::path program;
  return program;
}

std::string environment_value(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string installed_driver() {
  constexpr const char* kFile = "/proc/driver/nvidia/version";
  std::error_code unknown;
  return fs::exists(kFile, unknown) ? driver_version(read_file(kFile)) : "";
}

SelfCheckSubject subject_on(at::Device device) {
  SelfCheckSubject subject;
  subject.device = device.is_cuda() ? gpu_name(device) : "CPU";
  if (device.is_cuda()) {
    subject.driver = installed_driver();
    const long cuda = at::detail::getCUDAHooks().versionCUDART();
    subject.cuda = cat(cuda / 1000, ".", cuda % 1000 / 10);
  }
  subject.program = cat(build_info().revision(), " ", hex64(xxh3_file(self_check_program())));
  subject.planted = environment_value("TTT_SELF_CHECK_FAULT");
  return subject;
}

SelfCheckLimits limits_of_environment() {
  SelfCheckLimits limits;
  const std::string text = environment_value("TTT_SELF_CHECK_SECONDS");
  if (text.empty()) return limits;
  char* end = nullptr;
  const double seconds = std::strtod(text.c_str(), &end);
  if (*end != '\0' || !(seconds > 0)) user_error("TTT_SELF_CHECK_SECONDS must be seconds above 0, not \"", text, "\"");
  limits.total *= seconds / limits.silence;
  limits.silence = seconds;
  return limits;
}

// Makes the folder where there is none.
bool can_be_written(const fs::path& folder) {
  if (folder.empty()) return false;
  try {
    make_writable_directory(folder);
    return true;
  } catch (const UserError&) {
    return false;
  }
}

// The lock, after waiting for who holds it; null where it cannot be had.
std::unique_ptr<FileLock> wait_for_lock(const fs::path& path) {
  for (const Timer timer; timer.seconds() < kLockSeconds;) {
    try {
      return std::make_unique<FileLock>(path, kLockIsBusy);
    } catch (const UserError& error) {
      if (std::string_view(error.what()) != kLockIsBusy) return nullptr;  // a file system without locks
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  }
  return nullptr;
}

SelfCheckVerdict new_verdict(at::Device device, const SelfCheckSubject& subject) {
  log_info(cat("self-check: holding the ", device.is_cuda() ? "CUDA" : "fused",
               " rows against fp64 in a process of their own, once for ", subject.text()));
  SelfCheckVerdict verdict = check_in_children(self_check_program(), device.str(), limits_of_environment());
  verdict.subject = subject;
  return verdict;
}

// "3.2"
std::string tenths(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", value);
  return text;
}

struct TableRow {
  const KernelTable* table;
  std::size_t row;
};

// Throws UserError where this program has no such row.
TableRow table_row(const std::string& name) {
  const std::size_t slash = std::min(name.find('/'), name.size());
  const KernelTable& table = find_kernel_table(name.substr(0, slash), "a self-check");
  return {&table, table.find(name.substr(std::min(slash + 1, name.size())), "a self-check")};
}

// A verdict that is kept and names rows of this program alone.
std::optional<SelfCheckVerdict> kept_verdict(const fs::path& file, const SelfCheckSubject& subject) {
  std::optional<SelfCheckVerdict> kept = read_verdict(file, subject);
  try {
    if (kept)
      for (const RowVerdict& row : kept->rows) table_row(row.row);
  } catch (const UserError&) {
    return std::nullopt;
  }
  return kept;
}

std::string distrust_reason(const RowVerdict& verdict) {
  return "in the self-check it " + verdict.text;
}

// The rows that a model would take in its place, in fp32 and bf16.
std::string replacement(const KernelTable& table, at::Device device) {
  std::string names;
  for (const bool bf16 : {false, true}) {
    const auto row = table.would_choose(table.call_in_model(device, bf16, kUsualHeadSize, kUsualMiniBatch));
    const std::string name = row ? table.row(*row).name : "none";
    if (names.empty()) {
      names = name;
    } else if (names != name) {
      names += cat(" (bf16: ", name, ")");
    }
  }
  return names;
}

}  // namespace

void set_self_check_program(const fs::path& program) {
  self_check_program() = program;
}

bool needs_self_check(at::Device device) {
  if (self_check_program().empty()) return false;
  return device.is_cuda() ? cuda_kernels(device) != nullptr : environment_value("TTT_SELF_CHECK_DEVICE") == "cpu";
}

SelfCheckVerdict obtain_verdict(at::Device device) {
  SelfCheckVerdict verdict;
  try {
    const SelfCheckSubject subject = subject_on(device);
    verdict.subject = subject;
    const fs::path folder = user_cache_folder(), file = folder.empty() ? "" : verdict_file(folder, subject);
    if (const auto kept = kept_verdict(file, subject)) return *kept;
    std::unique_ptr<FileLock> lock;
    if (can_be_written(folder)) lock = wait_for_lock(fs::path(file).replace_extension(".lock"));
    if (const auto kept = kept_verdict(file, subject)) return *kept;  // by who held it
    verdict = new_verdict(device, subject);
    if (!can_be_written(folder) || !verdict.is_final() || verdict.rows.empty()) return verdict;
    write_file_atomically(file, to_line(to_json(verdict)));
    verdict.file = file;
  } catch (const std::exception& error) {
    // Once there are rows it is only the keeping that failed.
    if (verdict.rows.empty()) verdict.incomplete = error.what();
  }
  return verdict;
}

SelfCheckVerdict joined_verdict(const SelfCheckVerdict& own, const std::vector<std::string>& by_rank) {
  SelfCheckVerdict joined = own;
  for (std::size_t rank = 0; rank < by_rank.size(); ++rank) {
    const std::optional<SelfCheckVerdict> other = verdict_of(by_rank[rank]);
    if (!other) continue;
    const std::string where = cat(" (on rank ", rank, ", ", other->subject.text(), ")");
    if (joined.incomplete.empty() && !other->incomplete.empty()) joined.incomplete = other->incomplete + where;
    for (const RowVerdict& theirs : other->rows) {
      const auto mine = std::find_if(joined.rows.begin(), joined.rows.end(),
                                     [&](const RowVerdict& row) { return row.row == theirs.row; });
      if (mine == joined.rows.end()) {
        joined.rows.push_back(theirs);
        joined.rows.back().text += theirs.state == RowState::kFails ? where : "";
      } else if (theirs.state == RowState::kFails && mine->state != RowState::kFails) {
        *mine = theirs;
        mine->text += where;
      }
    }
  }
  return joined;
}

void apply_verdict(const SelfCheckVerdict& verdict) {
  for (const KernelTable* table : kernel_tables())
    for (std::size_t i = 0; i < table->size(); ++i) table->distrust(i, "");
  for (const RowVerdict* failed : verdict.in_state(RowState::kFails)) {
    const auto [table, row] = table_row(failed->row);
    table->distrust(row, distrust_reason(*failed));
  }
}

void refuse_forced_rows(const SelfCheckVerdict& verdict) {
  for (const RowVerdict* failed : verdict.in_state(RowState::kFails)) {
    const auto [table, row] = table_row(failed->row);
    if (table->forced() == row)
      user_error("kernel ", table->row(row).name, " of ", table->op(), ", set by ", table->forced_by(),
                 ", is not to be trusted: ", distrust_reason(*failed), "; choose another of ", table->row_names(),
                 ", or take it all the same with --no-self-check (train.self_check: false)");
  }
}

void announce_verdict(const SelfCheckVerdict& verdict, at::Device device) {
  const char* kind = device.is_cuda() ? "CUDA" : "fused";
  const auto failed = verdict.in_state(RowState::kFails), unchecked = verdict.in_state(RowState::kUnchecked);
  for (const RowVerdict* row : failed) {
    const auto [table, index] = table_row(row->row);
    log_warn(cat("self-check: kernel ", table->row(index).name, " of ", table->op(), " is NOT used on ",
                 verdict.subject.text(), ": ", distrust_reason(*row), "; ", table->op(), " runs on ",
                 replacement(*table, device), ". Please report this with what `ttt doctor` prints. ",
                 verdict.file.empty() ? "" : cat("Removing '", verdict.file.string(), "' checks again; "),
                 "--no-self-check uses it all the same"));
  }
  if (verdict.rows.empty() && !verdict.incomplete.empty()) {
    log_warn(cat("self-check: could not be done (", verdict.incomplete, "); the ", kind, " rows are used unchecked"));
  } else if (!unchecked.empty()) {
    std::string names;
    for (const RowVerdict* row : unchecked) names += (names.empty() ? "" : ", ") + row->row;
    log_warn(cat("self-check: not all rows were checked (",
                 verdict.incomplete.empty() ? unchecked.front()->text : verdict.incomplete,
                 "); used unchecked: ", names));
  }
  const std::size_t agree = verdict.in_state(RowState::kAgrees).size();
  if (agree == 0) return;
  const std::string what = cat("self-check: ", agree, " ", kind, " rows agree with fp64 (");
  if (verdict.kept) {
    log_file_only(cat(what, "on ", verdict.subject.text(), ", as '", verdict.file.string(), "' keeps it)"));
  } else {
    log_info(cat(what, tenths(verdict.seconds), " s; ",
                 verdict.file.empty() ? "not kept: the user's cache cannot be written, or not all could be checked"
                                      : "kept for " + verdict.subject.text(),
                 ")"));
  }
}

void self_check(at::Device device, bool wanted) {
  if (!needs_self_check(device)) return;
  if (!wanted) {
    apply_verdict({});
    log_info("self-check: left out; rows are used unchecked");
    return;
  }
  const SelfCheckVerdict verdict = obtain_verdict(device);
  apply_verdict(verdict);
  refuse_forced_rows(verdict);
  announce_verdict(verdict, device);
}

}  // namespace ttt
