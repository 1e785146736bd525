// ttt tokenizer train | encode | decode.
#include "tokenizer/tokenizer.h"

#include <charconv>
#include <iostream>
#include <utility>

#include "base/files.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/log.h"
#include "base/signals.h"
#include "base/timer.h"
#include "cli/command.h"
#include "cli/parse.h"

namespace ttt {
namespace {

ExitCode train(const std::vector<std::string>& args) {
  TokenizerTraining options;
  std::vector<std::string> inputs;
  std::string output;
  bool json = false;
  CLI::App app("Train a lossless SentencePiece BPE tokenizer on text files and folders.", "ttt tokenizer train");
  app.add_option("--input", inputs,
                 "plain text, JSON Lines, either compressed, and folders of them, as `ttt prepare` reads")
      ->required()
      ->type_name("PATH...");
  app.add_option("--extension", options.extensions, "of folders, only files that end so, e.g. .h .txt; default: all")
      ->type_name("END...");
  std::string kind = "auto";
  add_format_option(app, kind);
  app.add_option("--text-field", options.format.text_field, "of JSON Lines: where the text is")
      ->type_name("NAME")
      ->capture_default_str();
  app.add_option("--separator", options.format.separator,
                 "of plain text: a line that holds exactly this parts documents")
      ->type_name("LINE");
  app.add_option("--output", output, "the model file to write")->required()->type_name("FILE.model");
  app.add_option("--vocab-size", options.vocab_size, "pieces, the 256 bytes included")->capture_default_str();
  app.add_option("--max-bytes", options.max_bytes, "train on at most so many bytes, spread evenly over the text")
      ->capture_default_str();
  app.add_flag("--json", json, "print one JSON object");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  options.format.kind = document_kind(kind);
  options.inputs.assign(inputs.begin(), inputs.end());
  options.output = output;
  outlive_readers();
  Timer timer;
  log_info(cat("training a tokenizer of ", options.vocab_size, " pieces"));
  train_tokenizer(options);
  const Tokenizer tokenizer(options.output);
  if (json) {
    const Json object = {{"model", output},
                         {"vocab_size", tokenizer.vocab_size()},
                         {"xxh3", hex64(tokenizer.hash())},
                         {"seconds", timer.seconds()}};
    std::cout << to_line(object);
    return ExitCode::kOk;
  }
  std::cout << "wrote " << output << ": " << tokenizer.vocab_size() << " pieces, in "
            << static_cast<std::int64_t>(timer.seconds() + 0.5) << " s\n";
  return ExitCode::kOk;
}

ExitCode encode(const std::vector<std::string>& args) {
  std::string model, text, file;
  bool pieces = false, json = false;
  CLI::App app("Text to token ids, on one line.", "ttt tokenizer encode");
  app.add_option("--model", model, "a model of `ttt tokenizer train`")->required()->type_name("FILE.model");
  app.add_flag("--pieces", pieces, "print the pieces instead of their ids, one a line, as JSON strings");
  app.add_flag("--json", json, "print one JSON object: ids, pieces, bytes");
  CLI::Option* text_option = app.add_option("text", text, "the text; default: standard input");
  app.add_option("--file", file, "take the text from this file")->excludes(text_option)->type_name("FILE");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const Tokenizer tokenizer{fs::path(model)};
  if (!file.empty()) {
    text = read_file(file);
  } else if (text_option->count() == 0) {
    text = read_stdin();
  }
  const std::vector<std::int32_t> ids = tokenizer.encode(text);
  if (json) {
    Json object = {{"ids", ids}, {"pieces", Json::array()}, {"bytes", text.size()}};
    for (const std::int32_t id : ids) object["pieces"].push_back(tokenizer.piece(id));
    std::cout << to_line(object);
    return ExitCode::kOk;
  }
  const char* separator = "";
  for (const std::int32_t id : ids) {
    if (pieces) {
      std::cout << to_line(tokenizer.piece(id));
    } else {
      std::cout << std::exchange(separator, " ") << id;
    }
  }
  if (!pieces) std::cout << "\n";
  return ExitCode::kOk;
}

// Whole numbers parted by white space or commas, in brackets or not: "[1, 2]" is what other programs print.
std::vector<std::int32_t> parse_ids(const std::string& text) {
  std::vector<std::int32_t> ids;
  constexpr const char* kSeparators = " \t\r\n,[]";
  for (std::size_t at = text.find_first_not_of(kSeparators); at != std::string::npos;
       at = text.find_first_not_of(kSeparators, at)) {
    const std::size_t end = std::min(text.find_first_of(kSeparators, at), text.size());
    std::int32_t id = 0;
    const auto [stop, error] = std::from_chars(text.data() + at, text.data() + end, id);
    if (error != std::errc() || stop != text.data() + end) {
      user_error("'", text.substr(at, end - at), "' is not a token id; give whole numbers parted by spaces");
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

ExitCode decode(const std::vector<std::string>& args) {
  std::string model;
  std::vector<std::string> ids;
  CLI::App app("Token ids to text, without an added line end.", "ttt tokenizer decode");
  app.add_option("--model", model, "a model of `ttt tokenizer train`")->required()->type_name("FILE.model");
  CLI::Option* ids_option = app.add_option("ids", ids, "the ids; default: standard input");
  if (!parse_arguments(app, args)) return ExitCode::kOk;
  const Tokenizer tokenizer{fs::path(model)};
  std::string text;
  if (ids_option->count() == 0) text = read_stdin();
  for (const std::string& id : ids) text += id + " ";
  std::cout << tokenizer.decode(parse_ids(text));
  return ExitCode::kOk;
}

}  // namespace

ExitCode run_tokenizer(const std::vector<std::string>& args) {
  const std::string action = args.empty() ? "" : args[0];
  const std::vector<std::string> rest(args.begin() + (args.empty() ? 0 : 1), args.end());
  if (action == "train") return train(rest);
  if (action == "encode") return encode(rest);
  if (action == "decode") return decode(rest);
  if (action == "--help" || action == "-h") {
    std::cout << "usage: ttt tokenizer train | encode | decode [arguments]\n\n"
                 "  train   a lossless SentencePiece BPE tokenizer from text files and folders\n"
                 "  encode  text to token ids\n"
                 "  decode  token ids to text\n\n"
                 "`ttt tokenizer ACTION --help` explains each\n";
    return ExitCode::kOk;
  }
  user_error(action.empty() ? "`ttt tokenizer` needs an action" : "`ttt tokenizer` has no action '" + action + "'",
             "; it is train, encode or decode");
}

}  // namespace ttt
