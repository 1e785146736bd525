// How the program starts CUDA kernels: a table from a kernel's arguments to the function that launches it. There are
// two tables of the same sources, the GPU's (gpu::kernels(), in builds with nvcc) and one that runs them by emulated
// lanes (emulated::kernels(), for tests). Adding a kernel: a header for its Arguments and its Block, a .cu file
// (launch.h), and a line in TTT_KERNEL_FAMILIES for a new file.
#pragma once

#include <cstdint>
#include <string>
#include <typeindex>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/error.h"

namespace ttt::kernels::cuda {

using Stream = void*;  // cudaStream_t; emulated lanes take no notice

// What is known of a kernel before it runs.
struct KernelPlan {
  std::string op;      // "ttt_linear", as `ttt bench op` names it
  std::string kernel;  // "forward bf16 64"
  std::string type;    // the block's mangled type, part of the kernel's mangled name
  int threads = 0;     // of a block
  int shared_bytes = 0;
};

class KernelTable {
 public:
  // Arguments: a struct that one kernel takes, or all variants of one (head sizes), between which `start` chooses.
  template <class Arguments>
  void add(void (*start)(const Arguments&, Stream)) {
    starts_[typeid(Arguments)] = reinterpret_cast<void (*)()>(start);
  }
  void add_plan(KernelPlan plan) { plans_.push_back(std::move(plan)); }

  // Starts the kernel; it runs in the stream's turn. Throws Error with kernel, shape and the driver's words.
  template <class Arguments>
  void launch(const Arguments& arguments, Stream stream) const {
    const auto found = starts_.find(typeid(Arguments));
    TTT_CHECK(found != starts_.end(), "no CUDA kernel takes ", typeid(Arguments).name());
    reinterpret_cast<void (*)(const Arguments&, Stream)>(found->second)(arguments, stream);
  }

  const std::vector<KernelPlan>& plans() const { return plans_; }

 private:
  std::unordered_map<std::type_index, void (*)()> starts_;
  std::vector<KernelPlan> plans_;
};

#define TTT_KERNEL_FAMILIES(X) \
  X(adamw)                     \
  X(causal_conv)               \
  X(conv_rope)                 \
  X(cross_entropy)             \
  X(layer_norm_gate)           \
  X(rms_norm)                  \
  X(rope)                      \
  X(selective_scan)            \
  X(swiglu)                    \
  X(ttt_decode)                \
  X(ttt_linear)                \
  X(ttt_mlp)

#define TTT_DECLARE_FAMILY(name) void add_##name(KernelTable& table);
#define TTT_ADD_FAMILY(name) add_##name(table);
#define TTT_DECLARE_TABLE                 \
  TTT_KERNEL_FAMILIES(TTT_DECLARE_FAMILY) \
  inline const KernelTable& kernels() {   \
    static const KernelTable whole = [] { \
      KernelTable table;                  \
      TTT_KERNEL_FAMILIES(TTT_ADD_FAMILY) \
      return table;                       \
    }();                                  \
    return whole;                         \
  }
// In the libraries ttt_cuda_gpu and ttt_cuda_emulated.
namespace gpu {
TTT_DECLARE_TABLE
}
namespace emulated {
TTT_DECLARE_TABLE
}
#undef TTT_DECLARE_TABLE
#undef TTT_ADD_FAMILY
#undef TTT_DECLARE_FAMILY

}  // namespace ttt::kernels::cuda
