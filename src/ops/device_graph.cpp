#include "ops/device_graph.h"

#include <optional>
#include <utility>

#include "base/error.h"
#include "ops/cuda_target.h"
#ifdef TTT_CUDA_KERNELS
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#endif

namespace ttt {

bool can_record(at::Device device) {
  return cuda_kernels(device) != nullptr;
}

struct DeviceGraph::Recording {
  std::function<void()> emulated;
#ifdef TTT_CUDA_KERNELS
  std::optional<at::cuda::CUDAGraph> graph;  // of a GPU

  void record(at::Device device, const std::function<void()>& work) {
    // What earlier passes left in the allocator's cache is of no use to the graph, which has its own memory.
    c10::cuda::CUDACachingAllocator::emptyCache();
    // Other threads, such as the one that reads the next batch into pinned memory, go on meanwhile.
    const at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
    graph.emplace();
    graph->capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      work();
    } catch (...) {
      try {
        graph->capture_end();
      } catch (const c10::Error&) {  // the first error tells why
        c10::cuda::CUDACachingAllocator::endAllocateToPool(device.index(), pool);
      }
      throw;
    }
    graph->capture_end();
  }
#endif
};

DeviceGraph::DeviceGraph(at::Device device, std::function<void()> work) : recording_(std::make_unique<Recording>()) {
  TTT_CHECK(can_record(device), "nothing can be recorded on ", device.str());
#ifdef TTT_CUDA_KERNELS
  if (device.is_cuda()) {
    recording_->record(device, work);
    return;
  }
#endif
  recording_->emulated = std::move(work);
}

DeviceGraph::~DeviceGraph() = default;

void DeviceGraph::launch() {
  if (recording_->emulated) {
    recording_->emulated();
    return;
  }
#ifdef TTT_CUDA_KERNELS
  recording_->graph->replay();
#endif
}

#ifdef TTT_CUDA_KERNELS
struct OwnStream::Guard {
  explicit Guard(at::Device device) : stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index())) {}
  c10::cuda::CUDAStreamGuard stream;
};
#else
struct OwnStream::Guard {};
#endif

OwnStream::OwnStream(at::Device device) {
#ifdef TTT_CUDA_KERNELS
  if (device.is_cuda()) guard_ = std::make_unique<Guard>(device);
#else
  static_cast<void>(device);
#endif
}
OwnStream::~OwnStream() = default;

}  // namespace ttt
