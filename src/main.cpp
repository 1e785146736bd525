// ttt: looks up the subcommand, runs it, turns exceptions into exit codes.
#include <cstdio>
#include <exception>
#include <new>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/log.h"
#include "cli/command.h"

namespace {

// LibTorch's errors carry a C++ stack trace after the first line.
std::string first_line(const std::string& text) {
  return text.substr(0, text.find('\n'));
}

int report(const char* message, ttt::ExitCode code) {
  std::fflush(stdout);
  ttt::print_error(message);
  return static_cast<int>(code);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return static_cast<int>(ttt::run_command_line({argv + 1, argv + argc}));
  } catch (const ttt::UserError& error) {
    return report(error.what(), ttt::ExitCode::kUsage);
  } catch (const ttt::Error& error) {
    return report(error.what(), ttt::ExitCode::kFailed);
  } catch (const std::bad_alloc&) {
    return report("out of memory; take a smaller batch or model", ttt::ExitCode::kFailed);
  } catch (const std::exception& error) {
    return report(first_line(error.what()).c_str(), ttt::ExitCode::kFailed);
  }
}
