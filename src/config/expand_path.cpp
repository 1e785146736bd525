#include "config/expand_path.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>

#include "base/error.h"

namespace ttt {
namespace {

std::string home_folder(const std::string& key) {
  if (const char* home = std::getenv("HOME"); home != nullptr && *home != '\0') return home;
  if (const passwd* user = getpwuid(getuid()); user != nullptr && user->pw_dir != nullptr && *user->pw_dir != '\0')
    return user->pw_dir;
  user_error("'", key, "' begins with ~, but HOME is not set and this user has no home folder; write the path out");
}

}  // namespace

std::string expand_path(const std::string& key, const std::string& text) {
  std::string path;
  std::size_t at = 0;
  if (text == "~" || text.starts_with("~/")) {
    path = home_folder(key);
    at = 1;
  }
  for (std::size_t open; (open = text.find("${", at)) != std::string::npos;) {
    const std::size_t close = text.find('}', open);
    if (close == std::string::npos) user_error("'", key, "' has a ${ without its }, '", text, "'; close it");
    const std::string name = text.substr(open + 2, close - open - 2);
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) {
      user_error("'", key, "' is '", text, "', but the environment has no ",
                 name.empty() ? "variable without a name" : name, "; set it (export ", name.empty() ? "NAME" : name,
                 "=...), or write the path out");
    }
    path += text.substr(at, open - at) + value;
    at = close + 1;
  }
  return path + text.substr(at);
}

}  // namespace ttt
