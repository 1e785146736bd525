// Log lines to stderr and, once set, to a file. Behind this header because spdlog's fmt and torch's clash in one file.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ttt {

// One line each, with the time; a warning is marked as one. Colours only on a terminal, and there only without
// NO_COLOR.
void log_info(std::string_view message);
void log_warn(std::string_view message);
void log_error(std::string_view message);

// Also appends every line to `path` from now on (train.log). Throws UserError when it cannot be opened.
void log_to_file(const std::string& path);
// To that file alone.
void log_file_only(std::string_view message);

// Stands before "warning:" and "error:" from now on, "rank 3: ", also where print_error() writes them.
void set_log_prefix(std::string_view prefix);

// Lines below warnings are dropped from stderr when false (a file still gets them).
void set_log_verbose(bool verbose);

// The one line of a running job: on a terminal it is redrawn in place, cut to the terminal's width; elsewhere it is
// printed as a line, at most every 10 s. A log line in between moves it down. An empty text ends it.
void show_progress(std::string_view text);

// "error: MESSAGE" on stderr, and in the log file where there is one: what a command ends with when it fails.
void print_error(std::string_view message);

// stderr is a terminal that can redraw a line (TERM is not dumb).
bool stderr_is_terminal();
// Its width now; 80 where that is unknown.
std::size_t terminal_columns();
// The first `columns` characters of UTF-8 text.
std::string_view cut_to_columns(std::string_view text, std::size_t columns);

}  // namespace ttt
