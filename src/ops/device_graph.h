// Work on a GPU that is recorded once and then started as a whole, a CUDA graph: one launch for the host instead of one
// for each kernel.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>

namespace ttt {

// Whether work there can be recorded: on a GPU, in a build with CUDA.
bool can_record(at::Device device);

// While it lives, what this thread starts on that GPU is in a stream of its own. Nothing can be recorded in the default
// stream, and the nodes of a backward pass run in the stream in which they were made: so it lives from before the
// model's making on, to after its end. Elsewhere than on a GPU it does nothing.
class OwnStream {
 public:
  explicit OwnStream(at::Device device);
  ~OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;

 private:
  struct Guard;
  std::unique_ptr<Guard> guard_;
};

class DeviceGraph {
 public:
  // Calls work() while the GPU, which can_record(), only takes down what it is to do: afterwards nothing has been
  // computed. In an OwnStream; work() has run there before, at the same shapes, and does not wait for the GPU. Tensors
  // that it reads and writes stay where they are as long as the graph; memory that it takes is the graph's. Throws
  // c10::Error for what cannot be recorded.
  DeviceGraph(at::Device device, std::function<void()> work);
  ~DeviceGraph();
  DeviceGraph(const DeviceGraph&) = delete;
  DeviceGraph& operator=(const DeviceGraph&) = delete;

  // Does it, after what was started before.
  void launch();

 private:
  struct Recording;
  std::unique_ptr<Recording> recording_;
};

}  // namespace ttt
