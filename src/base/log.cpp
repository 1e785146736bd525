#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>

#include "base/error.h"
#include "base/timer.h"

namespace ttt {
namespace {

// Of progress, where lines stay: ten, and some slack for callers that keep the time themselves.
constexpr double kSecondsBetweenLines = 9.5;
constexpr const char* kRed = "\033[1;31m";
constexpr const char* kYellow = "\033[33m";
constexpr const char* kDim = "\033[2m";
constexpr const char* kPlain = "\033[0m";

struct LogState {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> file;
  bool verbose = true;
  std::string prefix;
  std::size_t drawn = 0;  // characters of the progress line that the cursor stands behind; 0: none
  std::optional<Timer> since_line;
};

LogState& state() {
  static LogState instance;
  return instance;
}

std::string time_of_day() {
  std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  char text[16];
  std::strftime(text, sizeof text, "%H:%M:%S", &local);
  return text;
}

bool is_set(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr && *value != '\0';
}

// https://no-color.org
std::string coloured(const char* colour, std::string_view text) {
  static const bool wanted = stderr_is_terminal() && !is_set("NO_COLOR");
  return wanted ? cat(colour, text, kPlain) : std::string(text);
}

bool is_continuation(char byte) {
  return (static_cast<unsigned char>(byte) & 0xc0) == 0x80;
}

std::size_t count_characters(std::string_view text) {
  return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return !is_continuation(c); }));
}

// To the start of the progress line, which is wiped. It fills several rows when the terminal became narrower since.
std::string wipe(const LogState& log) {
  if (log.drawn == 0) return "";
  const std::size_t rows_above = (log.drawn - 1) / terminal_columns();
  return cat("\r", rows_above > 0 ? cat("\033[", rows_above, "A") : "", "\033[J");
}

void write_to_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

void write_line(spdlog::level::level_enum level, std::string_view message) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  if (log.file) log.file->log(level, spdlog::string_view_t(message.data(), message.size()));
  if (level < spdlog::level::warn && !log.verbose) return;
  std::string line = wipe(log) + coloured(kDim, time_of_day());
  log.drawn = 0;
  if (level >= spdlog::level::warn && !log.prefix.empty()) line += " " + log.prefix.substr(0, log.prefix.size() - 1);
  if (level >= spdlog::level::err) {
    line += coloured(kRed, " error:");
  } else if (level >= spdlog::level::warn) {
    line += coloured(kYellow, " warning:");
  }
  write_to_stderr(cat(line, " ", message, "\n"));
}

}  // namespace

bool stderr_is_terminal() {
  const char* terminal = std::getenv("TERM");
  return isatty(STDERR_FILENO) == 1 && terminal != nullptr && std::string_view(terminal) != "dumb";
}

std::size_t terminal_columns() {
  winsize size{};
  return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

std::string_view cut_to_columns(std::string_view text, std::size_t columns) {
  std::size_t end = 0;
  for (std::size_t characters = 0; end < text.size(); ++end) {
    if (!is_continuation(text[end]) && ++characters > columns) break;
  }
  return text.substr(0, end);
}

void log_info(std::string_view message) {
  write_line(spdlog::level::info, message);
}
void log_warn(std::string_view message) {
  write_line(spdlog::level::warn, message);
}
void log_error(std::string_view message) {
  write_line(spdlog::level::err, message);
}

void log_file_only(std::string_view message) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  if (log.file) log.file->log(spdlog::level::info, spdlog::string_view_t(message.data(), message.size()));
}

void set_log_prefix(std::string_view prefix) {
  state().prefix = prefix;
}

void set_log_verbose(bool verbose) {
  state().verbose = verbose;
}

void log_to_file(const std::string& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path);
    auto logger = std::make_shared<spdlog::logger>("file", sink);
    logger->set_pattern("%Y-%m-%d %H:%M:%S.%e %l %v");
    logger->flush_on(spdlog::level::info);
    std::lock_guard lock(state().mutex);
    state().file = logger;
  } catch (const spdlog::spdlog_ex& error) {
    user_error("cannot open the log file '", path, "': ", error.what());
  }
}

void show_progress(std::string_view text) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  if (text.empty()) {
    if (log.drawn > 0) write_to_stderr("\n");
    log.drawn = 0;
  } else if (stderr_is_terminal()) {
    // The last column stays free: a character there makes some terminals go on to the next row.
    const std::string_view line = cut_to_columns(text, terminal_columns() - 1);
    write_to_stderr(cat(log.drawn > 0 ? wipe(log) : "\r\033[J", line));
    log.drawn = count_characters(line);
  } else if (!log.since_line || log.since_line->seconds() >= kSecondsBetweenLines) {
    log.since_line.emplace();
    write_to_stderr(cat(time_of_day(), " ", text, "\n"));
  }
}

void print_error(std::string_view message) {
  show_progress("");
  {
    LogState& log = state();
    const std::lock_guard lock(log.mutex);
    if (log.file) log.file->log(spdlog::level::err, spdlog::string_view_t(message.data(), message.size()));
  }
  write_to_stderr(cat(state().prefix, coloured(kRed, "error:"), " ", message, "\n"));
}

}  // namespace ttt
