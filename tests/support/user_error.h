// What a UserError says.
#pragma once

#include <filesystem>
#include <string>

#include "base/error.h"

namespace ttt {

// The message of the UserError that `action` throws, without the scratch folder in its paths; "(no error)" for none.
template <class Action>
std::string user_error_of(const std::filesystem::path& scratch, Action&& action) {
  try {
    action();
  } catch (const UserError& error) {
    std::string text = error.what();
    for (std::size_t at; (at = text.find(scratch.string() + "/")) != text.npos;)
      text.erase(at, scratch.string().size() + 1);
    return text;
  }
  return "(no error)";
}

}  // namespace ttt
