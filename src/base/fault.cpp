#include "base/fault.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <string>
#include <vector>

#include "base/error.h"

namespace ttt {
namespace {

struct Fault {
  std::string kind;
  std::int64_t step = 0;
  int rank = -1;  // -1: every one
  bool done = false;
};

template <class Number>
bool is_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && end == text.data() + text.size();
}

std::vector<Fault> parse_faults(std::string_view text) {
  std::vector<Fault> faults;
  while (!text.empty()) {
    const std::string_view one = text.substr(0, text.find(','));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const std::size_t at = std::min(one.find('@'), one.size()), colon = std::min(one.find(':', at), one.size());
    Fault fault{std::string(one.substr(0, at))};
    const bool right = at < one.size() && is_number(one.substr(at + 1, colon - at - 1), fault.step) &&
                       (colon == one.size() || is_number(one.substr(colon + 1), fault.rank));
    if (!right) {
      user_error("TTT_FAULT \"", one,
                 "\" is not KIND@STEP or KIND@STEP:RANK; leave the variable unset outside of tests");
    }
    faults.push_back(fault);
  }
  return faults;
}

}  // namespace

bool fault_is_due(std::string_view kind, std::int64_t step, int rank) {
  static std::string asked;
  static std::vector<Fault> faults;
  const char* text = std::getenv("TTT_FAULT");
  if (asked != (text == nullptr ? "" : text)) {
    asked = text == nullptr ? "" : text;
    faults = parse_faults(asked);
  }
  for (Fault& fault : faults) {
    if (fault.done || fault.kind != kind || fault.step != step) continue;
    if (fault.rank >= 0 && fault.rank != rank) continue;
    fault.done = true;
    return true;
  }
  return false;
}

}  // namespace ttt
