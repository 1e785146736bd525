// CLI11 set up the way every command wants it.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "base/error.h"
#include "tokenizer/document_reader.h"

namespace ttt {

// Parses `args` with `app`. --help prints the help and returns false (the command then returns kOk); bad usage throws
// UserError with CLI11's sentence and a pointer to --help.
bool parse_arguments(CLI::App& app, const std::vector<std::string>& args);

// Checks of an option's number. (CLI11's own name the largest double in their sentence.)
CLI::Validator positive_number();
CLI::Validator non_negative_number();

// Throws UserError where the folder that `path`, the value of `option`, would be written to is not there: before the
// work, not behind it. An empty path is none.
void check_output_file(const std::string& option, const std::string& path);

// CONFIG.yaml [key=value ...]. partial: the command makes do with a file that has a section `model:` alone.
void add_config_arguments(CLI::App& app, std::string& file, std::vector<std::string>& overrides, bool partial);

// Whether "KEY=..." is among them.
bool sets(const std::vector<std::string>& overrides, const std::string& key);

// All of standard input. Throws UserError where it cannot be read: it is closed, or a folder.
std::string read_stdin();

// --format auto | plain | jsonl: how files of text are read; and what that means.
CLI::Option* add_format_option(CLI::App& app, std::string& kind);
DocumentKind document_kind(const std::string& kind);

}  // namespace ttt
