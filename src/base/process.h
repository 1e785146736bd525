// Child processes of this program that write to a log file.
#pragma once

#include <sys/types.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/files.h"

namespace ttt {

// The file of the program that runs.
fs::path own_program();

// Starts a program (its path and arguments), both outputs to `log`, which is emptied first. The child gets
// `when_orphaned` when this process dies. Throws UserError when the log cannot be written, Error when no process can be
// started.
pid_t start_process(const std::vector<std::string>& command, const fs::path& log, int when_orphaned = SIGTERM);

// What a process said last: the last line "error: ..." of its log without these words, else the last line.
std::string last_words(const fs::path& log, int exit_code);

}  // namespace ttt
