// What this program was built from and with, and what the processor it runs on offers.
#pragma once

#include <string>
#include <vector>

namespace ttt {

struct BuildInfo {
  std::string version;       // "0.1.0"
  std::string git_revision;  // 40 hex digits; "unknown" when it was not built in a git checkout
  bool git_dirty = false;    // tracked files differed from that revision
  std::string compiler;      // "g++ 12.2.0"
  std::string build_type;    // "Release", "Debug"
  std::string sanitizers;    // "address,undefined"; "" for none
  std::string libtorch;      // "2.11.0"
  std::string cuda;          // release of the CUDA toolkit, "13.0"; "" for a build without CUDA

  // The revision, with "-dirty" behind it where it was.
  std::string revision() const { return git_revision + (git_dirty ? "-dirty" : ""); }
};

const BuildInfo& build_info();

// What kernels ask for, as found at run time: "x86-64", "avx2", "fma", "avx512f", ..., "amx-bf16"; "aarch64", "sve".
std::vector<std::string> cpu_features();

}  // namespace ttt
