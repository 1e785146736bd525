// ttt: looks up the subcommand, runs it, turns exceptions into exit codes, sees that what it printed was written.
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <filesystem>
#include <iostream>
#include <new>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "base/signals.h"
#include "cli/command.h"

namespace {

// LibTorch's errors carry a C++ stack trace after the first line, and where the memory of the CPU ends the first line
// says so in terms of its allocator.
std::string explained(const std::string& text) {
  const std::string line = text.substr(0, text.find('\n'));
  constexpr std::string_view kAllocator = "can't allocate memory: you tried to allocate ";
  const std::size_t place = line.find(kAllocator);
  if (place == std::string::npos) return line;
  const std::string wanted = line.substr(place + kAllocator.size());
  return "out of memory: " + wanted.substr(0, wanted.find('.')) + " could not be had; take a smaller size";
}

// A standard stream that is closed would be the next file that is opened, and what is printed would go into it.
void hold_standard_streams() {
  for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
    // Opened the wrong way round: reading or writing still fails.
    if (fcntl(fd, F_GETFD) == -1 && errno == EBADF) open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
  }
}

int report(const char* message, ttt::ExitCode code) {
  std::fflush(stdout);
  ttt::print_error(message);
  return static_cast<int>(code);
}

// A path that cannot be looked at. That is the path's fault, unless the disk fails.
int report_path(const std::filesystem::filesystem_error& error) {
  const std::error_code code = error.code();
  std::string message = "cannot use '" + error.path1().string() + "'";
  if (!error.path2().empty()) message += " and '" + error.path2().string() + "'";
  message += ": " + code.message();
  for (const std::errc of_the_path :
       {std::errc::filename_too_long, std::errc::permission_denied, std::errc::too_many_symbolic_link_levels,
        std::errc::not_a_directory, std::errc::no_such_file_or_directory, std::errc::operation_not_permitted}) {
    if (code == of_the_path) return report((message + "; check the path").c_str(), ttt::ExitCode::kUsage);
  }
  return report(message.c_str(), ttt::ExitCode::kFailed);
}

int run(int argc, char** argv) {
  try {
    return static_cast<int>(ttt::run_command_line({argv + 1, argv + argc}));
  } catch (const ttt::UserError& error) {
    return report(error.what(), ttt::ExitCode::kUsage);
  } catch (const ttt::Error& error) {
    return report(error.what(), ttt::ExitCode::kFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory; take a smaller batch or model", ttt::ExitCode::kFailed);
  } catch (const std::filesystem::filesystem_error& error) {
    return report_path(error);
  } catch (const std::exception& error) {
    return report(explained(error.what()).c_str(), ttt::ExitCode::kFailed);
  }
}

// A command that could not print its result has failed, whatever else it did. (After SIGTERM, 75 stays 75: run it
// again.)
int check_output(int code) {
  errno = 0;
  std::cout.flush();
  std::fflush(stdout);
  if (std::cout.good() && std::ferror(stdout) == 0) return code;
  const std::string reason = errno != 0 ? std::strerror(errno) : "an earlier write failed";  // its reason is gone
  ttt::print_error("cannot write to standard output: " + reason +
                   "; see that what it goes to can take it (is a disk full?)");
  return code == static_cast<int>(ttt::ExitCode::kOk) ? static_cast<int>(ttt::ExitCode::kFailed) : code;
}

// Without a working directory MKL ends the program while it is loaded, with words about something else. So this runs
// before the libraries' own beginnings, and does nothing but system calls.
[[gnu::no_sanitize("address,undefined")]] void check_working_directory() {
  char path[PATH_MAX];
  if (syscall(SYS_getcwd, path, sizeof path) > 0 || errno != ENOENT) return;
  constexpr std::string_view kMessage =
      "error: the working directory does not exist any more; change to one that does\n";
  [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, kMessage.data(), kMessage.size());
  _exit(static_cast<int>(ttt::ExitCode::kUsage));
}
[[gnu::section(".preinit_array"), gnu::used]] void (*const before_libraries)() = check_working_directory;

}  // namespace

int main(int argc, char** argv) {
  hold_standard_streams();
  ttt::report_file_size_limit();
  const int code = check_output(run(argc, argv));
  std::fflush(nullptr);
  // Everything of ours is destroyed and written. LibTorch would take a tenth of a second to take its registry of
  // operators down.
  std::_Exit(code);
}
