// Errors, and how they become exit codes: a UserError (bad usage, config or input) ends the program with 2, any other
// with 1.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace ttt {

// The exit codes of every command.
enum class ExitCode : int { kOk = 0, kFailed = 1, kUsage = 2, kPreempted = 75 };

// Something failed that the user did not cause by what was typed or given: exit code 1.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Bad usage, config or input. The message is one sentence: what, where, what to do about it.
class UserError : public Error {
 public:
  using Error::Error;
};

// Concatenates anything that an ostream prints.
template <class... Args>
std::string cat(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

template <class... Args>
[[noreturn]] void fail(const Args&... args) {
  throw Error(cat(args...));
}

template <class... Args>
[[noreturn]] void user_error(const Args&... args) {
  throw UserError(cat(args...));
}

// An invariant of the program, not of its input: throws Error with the place and the values given.
#define TTT_CHECK(condition, ...)                                                                            \
  do {                                                                                                       \
    if (!(condition)) ::ttt::fail(__FILE__, ":", __LINE__, ": ", #condition, ": ", ::ttt::cat(__VA_ARGS__)); \
  } while (false)

}  // namespace ttt
