// Runs a kernel's PTX, a block after the other: warps of 32 lanes under a mask of those that are active, each warp until
// it waits for the others. What hardware would forgive at times, or answer with wrong numbers, is a Problem here:
// registers and shared memory that nobody has set, addresses out of bounds or not aligned, accesses that conflict, lanes
// that wait for others in vain, data of asynchronous copies that have not been waited for.
//
// Lanes part at a branch and go on from the lowest instruction; those that come to the same one go on together. A
// collective instruction waits for all 32.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "ptx/memory.h"
#include "ptx/program.h"

namespace ttt::ptx {

enum class WarpOrder { kForward, kBackward, kShuffled };  // kShuffled: and in turns of a few instructions

struct Launch {
  int blocks = 1;
  int threads = kLanes;  // of a block
  std::uint32_t shared_bytes = 0;
  WarpOrder order = WarpOrder::kForward;
};

struct Counts {
  std::int64_t products = 0;        // mma of a warp
  std::int64_t matrix_loads = 0;    // ldmatrix.x4
  std::int64_t bank_conflicts = 0;  // further passes over the banks that these needed
  std::int64_t block_barriers = 0;
  std::int64_t instructions = 0;  // of a warp
};

class Machine {
 public:
  // executed: grows to one entry for each instruction of the kernel, set where it has run.
  Machine(const Kernel& kernel, const Launch& launch, const void* params, std::vector<char>& executed);
  Counts run();

 private:
  enum class State { kReady, kAtBarrier, kDone };
  struct Copy {
    std::uint32_t to;
    std::uint64_t from;
    bool valid;
    int group;
  };
  struct Lane {
    std::uint32_t pc = 0;
    int groups = 0;  // committed
    std::vector<Copy> copies;
  };
  struct Warp {
    std::vector<std::uint32_t> registers;  // kernel.slots x 32
    std::vector<Mask> defined;             // by slot
    Lane lanes[kLanes];
    Mask live = 0;
    Mask active = 0;   // those that go on, at `pc`
    Mask waiting = 0;  // those at a collective instruction for others
    std::uint32_t pc = 0;
    std::uint32_t step = 0;
    State state = State::kReady;
    int index = 0;
  };

  void run_block();
  void start(Warp& warp);
  void run_warp(Warp& warp, int instructions);
  void release_barrier();
  // Makes the lanes with the lowest instruction the active ones. Problem where none can go on.
  void choose_lanes(Warp& warp);
  // Whether all lanes are there; else these wait.
  bool all_lanes_meet(Warp& warp, const Instruction& in);
  [[noreturn]] void problem(const Warp& warp, const Instruction& in, int lane, const std::string& what) const;
  [[noreturn]] void undefined(const Warp& warp, const Instruction& in, Mask lanes) const;

  // Those of one value of each lane from others (execute.cpp).
  void compute(Warp& warp, const Instruction& in, Mask active);
  // execute_memory.cpp
  void access_memory(Warp& warp, const Instruction& in, Mask active);
  template <bool kLoad>
  void access_global(Warp& warp, const Instruction& in, Mask active);
  template <bool kLoad>
  void access_shared(Warp& warp, const Instruction& in, Mask active);
  void load_param(Warp& warp, const Instruction& in, Mask active);
  void copy_async(Warp& warp, const Instruction& in, Mask active);
  void wait_for_copies(Warp& warp, const Instruction& in, Mask active);
  void load_matrix(Warp& warp, const Instruction& in);
  // Checks bounds, alignment and conflicts of an access to global memory, and keeps it for those to come.
  template <bool kLoad>
  void note_global(const Warp& warp, const Instruction& in, int lane, std::uint64_t address, std::uint32_t bytes);
  // Where these bytes are in `shared_`; checks bounds, alignment and conflicts.
  std::uint32_t read_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                            std::uint32_t bytes);
  std::uint32_t write_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                             std::uint32_t bytes);
  std::uint32_t place_in_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                                std::uint32_t bytes) const;
  [[noreturn]] void conflict(const Warp& warp, const Instruction& in, int lane, const Access& access, bool with_write,
                             const char* space) const;
  static std::uint32_t next_time();
  // collective.cpp
  void collective(Warp& warp, const Instruction& in);
  void shuffle(Warp& warp, const Instruction& in);
  void multiply(Warp& warp, const Instruction& in);

  Who who(const Warp& warp, const Instruction& in, int lane) const {
    return {launch_time_,
            block_time_,
            barrier_time_,
            warp.step,
            static_cast<std::uint16_t>(warp.index * kLanes + lane),
            static_cast<std::uint32_t>(&in - kernel_.code.data())};
  }
  static std::uint32_t* row(Warp& warp, std::uint32_t slot) { return warp.registers.data() + slot * kLanes; }
  template <class T>
  static T* row_of(Warp& warp, std::uint32_t slot) {
    return reinterpret_cast<T*>(row(warp, slot));
  }

  const Kernel& kernel_;
  const Launch launch_;
  const unsigned char* params_;
  std::vector<char>& executed_;
  std::vector<Warp> warps_;
  // Shared memory, and what is known of each word of 4 bytes.
  enum class Word : char { kUnset, kSet, kInFlight };
  std::vector<unsigned char> shared_;
  std::vector<Word> words_;
  std::vector<Access> accesses_;
  int block_ = 0;
  std::uint32_t launch_time_ = 0, block_time_ = 0, barrier_time_ = 0;
  std::mt19937 random_{1};
  Counts counts_;
};

}  // namespace ttt::ptx
