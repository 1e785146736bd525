#include "base/fault.h"

#include <algorithm>
#include <cstdlib>
#include <stdexcept>
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

std::vector<Fault> parse_faults(std::string_view text) {
  std::vector<Fault> faults;
  while (!text.empty()) {
    const std::string one(text.substr(0, text.find(',')));
    text.remove_prefix(std::min(text.size(), one.size() + 1));
    const std::size_t at = one.find('@'), colon = one.find(':');
    try {
      if (at == std::string::npos) throw std::invalid_argument(one);
      Fault fault{one.substr(0, at), std::stoll(one.substr(at + 1))};
      if (colon != std::string::npos) fault.rank = std::stoi(one.substr(colon + 1));
      faults.push_back(fault);
    } catch (const std::exception&) {
      user_error("TTT_FAULT \"", one,
                 "\" is not KIND@STEP or KIND@STEP:RANK; leave the variable unset outside of tests");
    }
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
