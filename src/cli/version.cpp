// ttt --version: what this program was built from and with.
#include "cli/version.h"

#include "base/build_info.h"
#include "base/error.h"

namespace ttt {
namespace {

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const std::string& word : words) line += (line.empty() ? "" : " ") + word;
  return line;
}

std::string or_none(const std::string& text) {
  return text.empty() ? "none" : text;
}

}  // namespace

std::string version_text() {
  const BuildInfo& info = build_info();
  return cat("ttt ", info.version, "\n", "revision    ", info.git_revision,
             info.git_dirty ? " with uncommitted changes" : "", "\n", "compiler    ", info.compiler, "\n",
             "build type  ", info.build_type, ", sanitizers: ", or_none(info.sanitizers), "\n", "LibTorch    ",
             info.libtorch, ", CUDA: ", or_none(info.cuda), "\n", "processor   ", joined(cpu_features()), "\n");
}

Json version_json() {
  const BuildInfo& info = build_info();
  return {{"version", info.version},       {"git_revision", info.git_revision},
          {"git_dirty", info.git_dirty},   {"compiler", info.compiler},
          {"build_type", info.build_type}, {"sanitizers", info.sanitizers},
          {"libtorch", info.libtorch},     {"cuda", info.cuda.empty() ? Json() : Json(info.cuda)},
          {"cpu_features", cpu_features()}};
}

}  // namespace ttt
