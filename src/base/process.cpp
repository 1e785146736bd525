#include "base/process.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <sstream>

#include "base/error.h"

namespace ttt {

fs::path own_program() {
  return fs::read_symlink("/proc/self/exe");
}

pid_t start_process(const std::vector<std::string>& command, const fs::path& log, int when_orphaned) {
  const int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) user_error("cannot write '", log.string(), "'");
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid < 0) {
    close(fd);
    fail("cannot start another process; run fewer at a time");
  }
  if (pid == 0) {  // nothing but system calls from here to exec
    prctl(PR_SET_PDEATHSIG, when_orphaned);
    if (getppid() != parent) _exit(1);  // it died in between
    dup2(fd, STDOUT_FILENO);
    dup2(fd, STDERR_FILENO);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(fd);
  return pid;
}

std::string last_words(const fs::path& log, int exit_code) {
  std::istringstream lines(read_file(log));
  std::string last, error;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    last = line;
    if (line.starts_with("error: ")) error = line.substr(7);
  }
  if (last.empty()) {
    std::error_code unknown;
    const fs::space_info room = fs::space(log, unknown);  // of memory that no file system limits all is 0
    const bool full = !unknown && room.capacity > 0 && room.available == 0;
    return cat("exit code ", exit_code, " and not a word",
               exit_code == 127 ? "; the program could not be started"
               : full           ? "; the disk is full, so that it could not write any"
                                : "");
  }
  return error.empty() ? last : error;
}

}  // namespace ttt
