// Log lines to stderr and, once set, to a file. Behind this header because spdlog's fmt and torch's clash in one file.
#pragma once

#include <string>
#include <string_view>

namespace ttt {

// One line each, with the time; a warning is marked as one.
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

// Also appends every line to `path` from now on (train.log). Throws UserError when it cannot be opened.
void log_to_file(const std::string& path);

// Lines below warnings are dropped from stderr when false (a file still gets them).
void set_log_verbose(bool verbose);

// The one line of a running job: on a terminal it is redrawn in place, elsewhere it is printed as it is. A log line in
// between moves it down. An empty text ends the line.
void show_progress(std::string_view text);

// stderr is a terminal.
bool stderr_is_terminal();

}  // namespace ttt
