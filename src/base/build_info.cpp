// The only file that sees the generated header: a new commit compiles this one and links again.
#include "base/build_info.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "base/git_revision.h"  // generated, see tools/cmake/git_revision.cmake

namespace ttt {
namespace {

std::string compiler() {
#if defined(__clang__)
  return std::string("clang++ ") + __clang_version__;
#else
  return std::string("g++ ") + __VERSION__;
#endif
}

}  // namespace

const BuildInfo& build_info() {
  static const BuildInfo info = {TTT_VERSION,    TTT_GIT_REVISION, TTT_GIT_DIRTY,        compiler(),
                                 TTT_BUILD_TYPE, TTT_SANITIZERS,   TTT_LIBTORCH_VERSION, TTT_CUDA_VERSION};
  return info;
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#if defined(__x86_64__)
  found.emplace_back("x86-64");
  __builtin_cpu_init();
#define TTT_FEATURE(name) \
  if (__builtin_cpu_supports(name)) found.emplace_back(name)
  TTT_FEATURE("sse4.2");
  TTT_FEATURE("avx");
  TTT_FEATURE("avx2");
  TTT_FEATURE("fma");
  TTT_FEATURE("avx512f");
  TTT_FEATURE("avx512bw");
  TTT_FEATURE("avx512vl");
  TTT_FEATURE("avx512dq");
  TTT_FEATURE("avx512vnni");
  TTT_FEATURE("avx512bf16");
  // GCC 12 knows the names of AMX but never finds it.
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0) {
    if ((edx >> 24 & 1) != 0) found.emplace_back("amx-tile");
    if ((edx >> 25 & 1) != 0) found.emplace_back("amx-int8");
    if ((edx >> 22 & 1) != 0) found.emplace_back("amx-bf16");
  }
#undef TTT_FEATURE
#elif defined(__aarch64__)
  found.emplace_back("aarch64");
#endif
  return found;
}

}  // namespace ttt
