#include "base/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/spdlog.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <mutex>

#include "base/error.h"

namespace ttt {
namespace {

struct LogState {
  std::mutex mutex;
  std::shared_ptr<spdlog::logger> file;
  bool verbose = true;
  bool progress_open = false;  // the cursor stands behind a progress line
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

void write_line(spdlog::level::level_enum level, std::string_view message) {
  LogState& log = state();
  std::lock_guard lock(log.mutex);
  if (log.file) log.file->log(level, spdlog::string_view_t(message.data(), message.size()));
  if (level < spdlog::level::warn && !log.verbose) return;
  std::string line = log.progress_open && stderr_is_terminal() ? "\r\033[K" : "";
  log.progress_open = false;
  line += time_of_day();
  line += level >= spdlog::level::err ? " error: " : level >= spdlog::level::warn ? " warning: " : " ";
  line += message;
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace

bool stderr_is_terminal() {
  return isatty(STDERR_FILENO) == 1;
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
  const bool terminal = stderr_is_terminal();
  std::string line;
  if (text.empty()) {
    if (log.progress_open && terminal) line = "\n";
    log.progress_open = false;
  } else if (terminal) {
    winsize size{};
    std::size_t columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    line = "\r\033[K" + std::string(text.substr(0, columns - 1));
    log.progress_open = true;
  } else {
    line = time_of_day() + " " + std::string(text) + "\n";
  }
  std::fwrite(line.data(), 1, line.size(), stderr);
  std::fflush(stderr);
}

}  // namespace ttt
