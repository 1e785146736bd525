// CLI11 set up the way every command wants it.
#include "cli/parse.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <iostream>
#include <iterator>
#include <sstream>

#include "config/load.h"

namespace ttt {
namespace {

// "--chekpoint" -> "; did you mean '--checkpoint'?", or "" when nothing is near.
std::string suggest_option(const CLI::App& app, const std::vector<std::string>& args) {
  std::vector<std::string> known;
  for (const CLI::Option* option : app.get_options()) {
    for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
  }
  for (const std::string& arg : args) {
    const std::string word = arg.substr(0, arg.find('='));
    if (word.rfind("--", 0) != 0 || std::find(known.begin(), known.end(), word) != known.end()) continue;
    if (const std::string near = nearest(word, known); !near.empty())
      return cat(": '", word, "' is unknown; did you mean '", near, "'?");
  }
  return "";
}

// CLI11 takes a value in brackets, "[draft] notes, [2024]", for a list and splits it. Behind this mark it leaves it
// alone.
constexpr char kMark = '\x01';

std::string marked(const std::string& arg) {
  const std::size_t equals = arg.starts_with("--") ? arg.find('=') : std::string::npos;
  const std::size_t begin = equals == std::string::npos ? 0 : equals + 1;
  if (begin == arg.size() || arg[begin] != '[' || arg.back() != ']') return arg;
  return arg.substr(0, begin) + kMark + arg.substr(begin);
}

std::string unmarked(std::string value) {
  return value.starts_with(kMark) ? value.substr(1) : value;
}

constexpr std::size_t kOptionColumn = 34, kHelpColumns = 120;

// Help, its long lines broken between words: what is said of an option goes on below its column, and text at the left
// edge below that. Indented lines are commands, and stay as they are.
std::string wrapped_help(const std::string& help) {
  std::istringstream lines(help);
  std::string text;
  for (std::string line; std::getline(lines, line);) {
    const bool option = line.starts_with("  ") && line.size() > kOptionColumn && line[kOptionColumn - 1] == ' ' &&
                        (line.starts_with("  -") || line.find_first_not_of(' ') == kOptionColumn);
    const std::size_t indent = option ? kOptionColumn : 0;
    while (line.size() > kHelpColumns && (option || !line.starts_with(' '))) {
      const std::size_t space = line.rfind(' ', kHelpColumns);
      if (space == std::string::npos || space <= indent) break;
      text += line.substr(0, space) + "\n";
      line = std::string(indent, ' ') + line.substr(space + 1);
    }
    text += line + "\n";
  }
  return text;
}

CLI::Validator number_check(const char* name, const char* words, bool (*fits)(double)) {
  const auto check = [words, fits](const std::string& text) -> std::string {
    double value = 0;
    if (CLI::detail::lexical_cast(text, value) && std::isfinite(value) && fits(value)) return "";
    return cat("must be ", words, ", not '", text, "'");
  };
  return {check, name};
}

}  // namespace

CLI::Validator positive_number() {
  return number_check("POSITIVE", "a number above 0", [](double value) { return value > 0; });
}

CLI::Validator non_negative_number() {
  return number_check("NONNEGATIVE", "0 or a number above it", [](double value) { return value >= 0; });
}

bool parse_arguments(CLI::App& app, const std::vector<std::string>& args) {
  if (app.get_name().empty()) app.name("ttt");
  app.get_formatter()->column_width(kOptionColumn);
  for (CLI::Option* option : app.get_options()) {
    if (option->get_items_expected_max() > 0) option->transform(unmarked, "");
  }
  try {
    std::vector<std::string> from_the_back;  // as CLI11 takes them
    std::transform(args.rbegin(), args.rend(), std::back_inserter(from_the_back), marked);
    app.parse(std::move(from_the_back));
    return true;
  } catch (const CLI::Success& request) {  // --help and the like
    std::ostringstream help;
    app.exit(request, help, std::cerr);
    std::cout << wrapped_help(help.str()) << std::flush;
    return false;
  } catch (const CLI::ParseError& error) {
    std::string message = error.what();
    std::replace(message.begin(), message.end(), '\n', ' ');
    std::erase(message, kMark);
    user_error(message, suggest_option(app, args), "; `", app.get_name(), " --help` explains the arguments");
  }
}

void add_config_arguments(CLI::App& app, std::string& file, std::vector<std::string>& overrides, bool partial) {
  app.add_option("config", file,
                 cat("the config file (YAML)", partial ? "; one with a section model: alone will do" : ""))
      ->required()
      ->option_text("CONFIG.yaml");
  app.add_option("overrides", overrides, "keys set on the command line, e.g. train.steps=100")
      ->option_text("[key=value ...]");
}

bool sets(const std::vector<std::string>& overrides, const std::string& key) {
  return std::any_of(overrides.begin(), overrides.end(), [&](const auto& item) { return item.starts_with(key + "="); });
}

void check_output_file(const std::string& option, const std::string& path) {
  if (path.empty()) return;
  if (std::filesystem::is_directory(path))
    user_error("'", path, "', which ", option, " is to write, is a folder; name a file, such as '",
               (std::filesystem::path(path) / "FILE").string(), "'");
  if (std::filesystem::is_directory(std::filesystem::absolute(path).parent_path())) return;
  user_error("there is no folder '", std::filesystem::absolute(path).parent_path().string(), "' for ", option,
             "; make it, or name another");
}

std::string read_stdin() {
  std::string text;
  char block[1 << 16];
  errno = 0;
  while (const std::size_t count = std::fread(block, 1, sizeof block, stdin)) text.append(block, count);
  if (std::ferror(stdin) != 0)
    user_error("cannot read standard input: ", std::strerror(errno), "; give what it would say as an argument");
  return text;
}

CLI::Option* add_format_option(CLI::App& app, std::string& kind) {
  return app
      .add_option(
          "--format", kind,
          "how files are read: auto (JSON Lines by the names .jsonl .ndjson .jsonlines .json.gz .json.zst or by a "
          "look at the content; else plain text; what is no text is refused), plain or jsonl")
      ->check(CLI::IsMember({"auto", "plain", "jsonl"}))
      ->type_name("KIND")
      ->capture_default_str();
}

DocumentKind document_kind(const std::string& kind) {
  return kind == "plain" ? DocumentKind::kPlain : kind == "jsonl" ? DocumentKind::kJsonLines : DocumentKind::kAuto;
}

}  // namespace ttt
