// What nvcc's host code calls of the CUDA runtime, by the PTX interpreter. The binary with these does not link the CUDA
// runtime itself.
#include <cxxabi.h>

#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "base/error.h"
#include "base/files.h"
#include "ptx/fat_binary.h"
#include "ptx/gpu.h"

namespace ttt::ptx {
namespace {

constexpr std::uint32_t kUsualSharedBytes = 48 << 10;  // more has to be asked for
constexpr std::uint32_t kMostSharedBytes = 227 << 10;

struct LoadedKernel {
  std::string name;
  std::string_view text;
  std::uint32_t most_shared_bytes = kUsualSharedBytes;
  std::int64_t launches = 0;
  std::optional<Kernel> program;  // from the first launch on
  std::vector<char> executed;

  Counts run(const Launch& launch, const void* arguments) {
    if (!program) program = parse_kernel(name, text);
    ++launches;
    return Machine(*program, launch, arguments, executed).run();
  }
};

// Of all object files. Registered before main(), read from then on.
struct Gpu {
  struct Module {
    const void* fat_binary;
    std::string text;
  };
  std::vector<std::unique_ptr<Module>> modules;
  std::map<std::string, LoadedKernel> kernels;       // by mangled name
  std::map<const void*, std::string> names;          // by the host's function
  std::map<std::string, std::string> name_by_block;  // demangled
  std::string replaced;                              // PTX that takes the place of what was built
  bool loaded = false;

  std::map<std::string, LoadedKernel>& all() {
    if (loaded) return kernels;
    for (const auto& module : modules) {
      module->text = ptx_of(module->fat_binary);
      add(module->text);
    }
    if (const char* path = std::getenv("TTT_PTX_REPLACE")) {  // tools/ptx_mutants.sh
      replaced = read_file(path);
      add(replaced);
    }
    loaded = true;
    return kernels;
  }
  void add(std::string_view module) {
    for (const auto& [name, text] : entries_of(module)) {
      LoadedKernel& kernel = kernels[name];
      kernel.name = name, kernel.text = text;
      name_by_block[block_of(demangled(name))] = name;
    }
  }
  static std::string demangled(const std::string& name) {
    int status = 0;
    const std::unique_ptr<char, void (*)(void*)> text(abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status),
                                                      std::free);
    if (status != 0) throw Problem("no mangled name: " + name);
    return text.get();
  }
  // The first template argument of block_kernel<Block, Arguments>.
  static std::string block_of(const std::string& kernel) {
    const std::size_t open = kernel.find("block_kernel<");
    if (open == std::string::npos) throw Problem("a kernel of no Block: " + kernel);
    const std::size_t first = open + std::string_view("block_kernel<").size();
    std::size_t end = first;
    for (int depth = 0; depth > 0 || kernel[end] != ','; ++end) depth += (kernel[end] == '<') - (kernel[end] == '>');
    return kernel.substr(first, end - first);
  }
};
Gpu& gpu() {
  static Gpu& one = *new Gpu;
  return one;
}

struct Dim3 {
  unsigned x, y, z;
};
struct Configuration {
  Dim3 grid, block;
  std::size_t shared_bytes;
  void* stream;
} configuration;

// Where a test chooses none.
WarpOrder usual_order() {
  const char* order = std::getenv("TTT_PTX_ORDER");
  if (order == nullptr) return WarpOrder::kForward;
  TTT_CHECK(std::string_view(order) == "shuffled", "TTT_PTX_ORDER=", order, " is not `shuffled`");
  return WarpOrder::kShuffled;
}

int last_error = 0, next_error = 0;
constexpr int kInvalidValue = 1, kInvalidFunction = 98;

int launch_kernel(const std::string& name, const Dim3& grid, const Dim3& block, void** arguments,
                  std::size_t shared_bytes) {
  if (next_error != 0) return last_error = std::exchange(next_error, 0);
  const auto found = gpu().all().find(name);
  if (found == gpu().kernels.end()) return last_error = kInvalidFunction;
  const bool one_dimension = grid.y == 1 && grid.z == 1 && block.y == 1 && block.z == 1;
  if (!one_dimension || grid.x == 0 || shared_bytes > found->second.most_shared_bytes)
    return last_error = kInvalidValue;
  const Launch launch{static_cast<int>(grid.x), static_cast<int>(block.x), static_cast<std::uint32_t>(shared_bytes),
                      usual_order()};
  found->second.run(launch, arguments[0]);
  return 0;
}

}  // namespace

std::string kernel_of(const std::string& mangled_block) {
  gpu().all();
  const auto found = gpu().name_by_block.find(Gpu::demangled(mangled_block));
  TTT_CHECK(found != gpu().name_by_block.end(), "nvcc has built no kernel of ", Gpu::demangled(mangled_block));
  return found->second;
}

Counts run_kernel(const std::type_info& block, const Launch& launch, const void* arguments, std::size_t bytes) {
  LoadedKernel& kernel = gpu().all().at(kernel_of(block.name()));
  if (!kernel.program) kernel.program = parse_kernel(kernel.name, kernel.text);
  TTT_CHECK(bytes == kernel.program->param_bytes, kernel.name, " takes ", kernel.program->param_bytes,
            " bytes of arguments, not ", bytes);
  Launch ordered = launch;
  if (launch.order == WarpOrder::kForward) ordered.order = usual_order();
  return kernel.run(ordered, arguments);
}

void leave_error(int error) {
  last_error = error;
}

void fail_next_launch(int error) {
  next_error = error;
}

std::vector<KernelCoverage> coverage() {
  std::vector<KernelCoverage> out;
  for (const auto& [name, kernel] : gpu().all()) {
    KernelCoverage one{name, kernel.launches, kernel.executed.size(), 0};
    for (const char ran : kernel.executed) one.executed += ran != 0;
    out.push_back(one);
  }
  return out;
}

}  // namespace ttt::ptx

// --- the runtime's functions, as crt/host_runtime.h and driver_types.h declare them ---

extern "C" {

void** __cudaRegisterFatBinary(void* fat_binary) {
  auto& modules = ttt::ptx::gpu().modules;
  modules.push_back(std::make_unique<ttt::ptx::Gpu::Module>(ttt::ptx::Gpu::Module{fat_binary, {}}));
  return reinterpret_cast<void**>(modules.back().get());
}
void __cudaRegisterFatBinaryEnd(void**) {}
void __cudaUnregisterFatBinary(void**) {}
void __cudaRegisterFunction(void**, const char* host_function, char*, const char* device_name, int, void*, void*, void*,
                            void*, int*) {
  ttt::ptx::gpu().names[host_function] = device_name;
}
unsigned __cudaPushCallConfiguration(ttt::ptx::Dim3 grid, ttt::ptx::Dim3 block, std::size_t shared_bytes,
                                     void* stream) {
  ttt::ptx::configuration = {grid, block, shared_bytes, stream};
  return 0;
}
int __cudaPopCallConfiguration(ttt::ptx::Dim3* grid, ttt::ptx::Dim3* block, std::size_t* shared_bytes, void* stream) {
  *grid = ttt::ptx::configuration.grid, *block = ttt::ptx::configuration.block;
  *shared_bytes = ttt::ptx::configuration.shared_bytes;
  *static_cast<void**>(stream) = ttt::ptx::configuration.stream;
  return 0;
}
// A kernel's handle is its host function.
int __cudaGetKernel(const void** handle, const void* host_function) {
  *handle = host_function;
  return ttt::ptx::gpu().names.contains(host_function) ? 0 : ttt::ptx::kInvalidFunction;
}
int cudaLaunchKernel(const void* host_function, ttt::ptx::Dim3 grid, ttt::ptx::Dim3 block, void** arguments,
                     std::size_t shared_bytes, void*) {
  const auto found = ttt::ptx::gpu().names.find(host_function);
  if (found == ttt::ptx::gpu().names.end()) return ttt::ptx::last_error = ttt::ptx::kInvalidFunction;
  return ttt::ptx::launch_kernel(found->second, grid, block, arguments, shared_bytes);
}
int __cudaLaunchKernel(const void* handle, ttt::ptx::Dim3 grid, ttt::ptx::Dim3 block, void** arguments,
                       std::size_t shared_bytes, void* stream) {
  return cudaLaunchKernel(handle, grid, block, arguments, shared_bytes, stream);
}
int cudaFuncSetAttribute(const void* host_function, int attribute, int value) {
  constexpr int kMaxDynamicSharedMemorySize = 8;
  const auto found = ttt::ptx::gpu().names.find(host_function);
  if (found == ttt::ptx::gpu().names.end() || attribute != kMaxDynamicSharedMemorySize ||
      value > static_cast<int>(ttt::ptx::kMostSharedBytes))
    return ttt::ptx::last_error = ttt::ptx::kInvalidValue;
  ttt::ptx::gpu().all().at(found->second).most_shared_bytes = static_cast<std::uint32_t>(value);
  return 0;
}
int cudaPeekAtLastError() {
  return ttt::ptx::last_error;
}
int cudaGetLastError() {
  return std::exchange(ttt::ptx::last_error, 0);
}
const char* cudaGetErrorString(int error) {
  return error == ttt::ptx::kInvalidFunction ? "invalid device function" : "invalid argument";
}

}  // extern "C"
