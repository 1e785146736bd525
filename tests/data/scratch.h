// What the tests of files share: a folder that goes away with the test, and the sentence of an error.
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/files.h"
#include "support/scratch_folder.h"

namespace ttt {

// The message of the UserError that `act` throws; "" (and a failure) when it throws none.
template <class Act>
std::string user_error_of(Act&& act) {
  try {
    act();
  } catch (const UserError& error) {
    return error.what();
  }
  ADD_FAILURE() << "no UserError was thrown";
  return "";
}

// `text` holds every one of `parts`.
inline ::testing::AssertionResult mentions(const std::string& text, std::initializer_list<std::string> parts) {
  for (const std::string& part : parts) {
    if (text.find(part) == std::string::npos)
      return ::testing::AssertionFailure() << "\"" << text << "\" lacks \"" << part << "\"";
  }
  return ::testing::AssertionSuccess();
}

}  // namespace ttt
