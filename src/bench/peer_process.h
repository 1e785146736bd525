// A child process that is asked in lines and answers each with one line of JSON: the peer of `ttt bench peer`.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "base/files.h"
#include "base/json.h"

namespace ttt {

// The file of a program that `option` names by its path or, without a slash, as PATH has it. Throws UserError.
fs::path find_program(const std::string& option, const std::string& name);

// Its stdin and stdout are one socket, which closes with this object or this process; its stderr is kept. It gets
// SIGTERM when this process dies, also in the middle of its work.
class PeerProcess {
 public:
  // patience: seconds that each answer may take. Throws Error.
  PeerProcess(const fs::path& program, const std::vector<std::string>& arguments, double patience);
  // Closes its stdin, at which it is to end; else SIGTERM and SIGKILL.
  ~PeerProcess();
  PeerProcess(const PeerProcess&) = delete;
  PeerProcess& operator=(const PeerProcess&) = delete;

  void ask(const std::string& line);
  // Its next line, a JSON object. Throws Error where it dies, says something else or takes too long; `doing`: what it is
  // at, "starting".
  Json answer(const std::string& doing);

 private:
  std::string next_line(const std::string& doing);
  bool has_ended();
  bool ends_within(double seconds);
  [[noreturn]] void fail_as_dead(const std::string& doing);

  fs::path program_;
  double patience_;
  pid_t pid_ = -1;
  int status_ = 0;  // as waitpid() gives it, once it has ended
  bool ended_ = false;
  int socket_ = -1, words_ = -1;  // words_: memory that holds its stderr
  std::string unread_;
};

}  // namespace ttt
