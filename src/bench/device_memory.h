// What benchmarks ask a device: when its work is done, how much memory it took, what it is.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "base/timer.h"

namespace ttt {

// Waits for all that was started on a GPU; nothing on a CPU.
void synchronize(at::Device device);

// The most memory held at a time, in bytes: of LibTorch's allocator since reset_peak_memory() on a GPU; on a CPU the
// largest resident size of the process, which cannot be reset.
std::int64_t peak_memory(at::Device device);
void reset_peak_memory(at::Device device);

// Floating-point operations a second of a GPU's dense bf16 products as its maker states them, by its name; 0: unknown.
double dense_bf16_peak(const std::string& gpu);

// Wall-clock intervals that begin and end with nothing left to do on the device.
class DeviceTimer {
 public:
  explicit DeviceTimer(at::Device device) : device_(device) { restart(); }
  double seconds() const {
    synchronize(device_);
    return timer_.seconds();
  }
  void restart() {
    synchronize(device_);
    timer_.restart();
  }

 private:
  at::Device device_;
  Timer timer_;
};

}  // namespace ttt
