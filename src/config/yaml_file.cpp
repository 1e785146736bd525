#include "config/yaml_file.h"

#include <yaml-cpp/eventhandler.h>

#include <algorithm>
#include <sstream>

#include "base/error.h"
#include "base/utf8.h"

namespace ttt {
namespace {

// Lets a document go by. (YAML::LoadAll would do to count documents, but a stray ',' or '}' between them, which the
// parser passes over as ever more empty documents, makes it fill the memory.)
class SkippedDocument : public YAML::EventHandler {
 public:
  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}
};

bool holds_several_documents(const std::string& text) {
  std::istringstream stream(text);
  YAML::Parser parser(stream);
  SkippedDocument document;
  return parser.HandleNextDocument(document) && parser.HandleNextDocument(document);
}

// The first line, from 1, with a tab among the white space that it begins with; 0: none.
std::size_t line_indented_with_tab(const std::string& text) {
  std::istringstream lines(text);
  std::string line;
  for (std::size_t number = 1; std::getline(lines, line); ++number) {
    const std::size_t begin = line.find_first_not_of(" \t\r");
    if (begin != std::string::npos && line.find('\t') < begin) return number;
  }
  return 0;
}

}  // namespace

YAML::Node read_yaml(const fs::path& file) {
  const std::string text = read_file(file);
  if (const auto bad = find_invalid_utf8(text)) {
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(*bad), '\n');
    user_error(file.string(), ":", line, ": not UTF-8 text (byte ", *bad, " of the file); convert the file to UTF-8");
  }
  try {
    if (holds_several_documents(text)) {
      user_error(file.string(),
                 ": holds more than one YAML document; take out what parts them, a '---' or a stray ',', '}' or ']'");
    }
    return YAML::Load(text);
  } catch (const YAML::Exception& error) {
    if (const std::size_t line = line_indented_with_tab(text); line > 0)
      user_error(file.string(), ":", line, ": the line is indented with a tab, which YAML does not take; use spaces");
    user_error(file.string(), ":", error.mark.line + 1, ": not valid YAML: ", error.msg);
  }
}

}  // namespace ttt
