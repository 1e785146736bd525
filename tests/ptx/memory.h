// Memory that knows its bounds, who wrote it and who read it. Two accesses of different threads, one of them a write,
// conflict unless something orders them: a barrier of the block, or for lanes of one warp bar.warp.sync. Shuffles and
// products order nothing (PTX ISA, "Memory Consistency Model").
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace ttt::ptx {

// The thread that accesses, and when. Times are numbers that grow over all launches.
struct Who {
  std::uint32_t launch = 0;   // the first time of this launch
  std::uint32_t block = 0;    // the first time of this block; blocks run one after the other
  std::uint32_t barrier = 0;  // the block's last barrier
  std::uint32_t step = 0;     // the warp's last bar.warp.sync, or later barrier
  std::uint16_t thread = 0;   // in its block
  std::uint32_t instruction = 0;
};

// What is known of some bytes.
struct Access {
  std::uint32_t write_barrier = 0, write_step = 0, write_instruction = 0;
  std::uint32_t read_barrier = 0, read_step = 0, read_instruction = 0;
  std::uint32_t foreign_launch = 0;  // the launch in which another block than the last reader's has read it
  std::uint16_t writer = 0, reader = 0;
  bool many_lanes = false, many_warps = false;  // read since the last step, barrier

  // Whether what was last written there is ordered before this access.
  bool written_before(const Who& who) const {
    if (write_barrier < who.launch) return true;
    if (write_barrier < who.block) return false;
    if (writer == who.thread) return true;
    return writer / 32 == who.thread / 32 ? write_step != who.step : write_barrier != who.barrier;
  }
  bool read_before(const Who& who) const {
    if (foreign_launch == who.launch) return false;
    if (read_barrier < who.launch) return true;
    if (read_barrier < who.block) return false;
    if (read_barrier == who.barrier && (many_warps || reader / 32 != who.thread / 32)) return false;
    return reader / 32 != who.thread / 32 || read_step != who.step || (!many_lanes && reader == who.thread);
  }
  void read(const Who& who) {
    if (read_barrier >= who.launch && read_barrier < who.block) foreign_launch = who.launch;
    if (read_barrier != who.barrier) {
      many_lanes = many_warps = false;
    } else if (reader / 32 != who.thread / 32) {
      many_warps = true;
    } else if (read_step != who.step) {
      many_lanes = false;
    } else if (reader != who.thread) {
      many_lanes = true;
    }
    read_barrier = who.barrier, read_step = who.step, read_instruction = who.instruction, reader = who.thread;
  }
  void write(const Who& who) {
    write_barrier = who.barrier, write_step = who.step, write_instruction = who.instruction, writer = who.thread;
  }
};

// An allocation of "global memory": memory of this process, at its own address.
struct Allocation {
  std::uint64_t begin = 0, end = 0;
  int grain = 4;                 // bytes that one Access is of: those of an element
  std::vector<Access> accesses;  // from the first access on
};

// Every allocation that kernels may touch; tests add theirs (kernels/cuda_testing.h).
class GlobalMemory {
 public:
  void add(const void* p, std::size_t bytes, std::size_t element_bytes);
  void remove(const void* p);
  // The one that these bytes are in; null if there is none.
  Allocation* find(std::uint64_t address, std::uint32_t bytes);

 private:
  std::map<std::uint64_t, Allocation> by_end_;  // end -> allocation
  Allocation* last_ = nullptr;
};
GlobalMemory& global_memory();

}  // namespace ttt::ptx
