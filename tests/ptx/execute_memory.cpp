// Loads, stores and asynchronous copies, each lane's checked.
#include <bit>
#include <cstring>

#include "base/error.h"
#include "ptx/machine.h"

namespace ttt::ptx {
namespace {

// A loaded value as its register holds it.
std::uint64_t value_at(const unsigned char* p, const Instruction& in) {
  std::uint64_t x = 0;
  std::memcpy(&x, p, in.bytes);
  if (in.sign_extend && in.bytes == 4) x = static_cast<std::uint64_t>(static_cast<std::int32_t>(x));
  return x;
}

}  // namespace

void Machine::access_memory(Warp& warp, const Instruction& in, Mask active) {
  switch (in.op) {
    case Op::kLoadParam:
      return load_param(warp, in, active);
    case Op::kLoadGlobal:
      return access_global<true>(warp, in, active);
    case Op::kStoreGlobal:
      return access_global<false>(warp, in, active);
    case Op::kLoadShared:
      return access_shared<true>(warp, in, active);
    case Op::kStoreShared:
      return access_shared<false>(warp, in, active);
    case Op::kPrefetch:
      return;  // wherever it is
    case Op::kCopyAsync:
      return copy_async(warp, in, active);
    case Op::kCommitGroup:
      for (Mask m = active; m != 0; m &= m - 1) ++warp.lanes[std::countr_zero(m)].groups;
      return;
    case Op::kWaitGroup:
      return wait_for_copies(warp, in, active);
    default:
      problem(warp, in, 0, "no access to memory");
  }
}

void Machine::conflict(const Warp& warp, const Instruction& in, int lane, const Access& access, bool with_write,
                       const char* space) const {
  const char* const verb = with_write ? "wrote" : "read";
  const bool foreign = with_write ? access.write_barrier < block_time_
                                  : access.foreign_launch == launch_time_ || access.read_barrier < block_time_;
  const std::uint32_t other = with_write ? access.write_instruction : access.read_instruction;
  problem(warp, in, lane,
          cat("conflicts in ", space, " memory with ",
              foreign ? "a thread of another block" : cat("thread ", with_write ? access.writer : access.reader),
              ", which ", verb, " there without a barrier between, at instruction ", other, " `",
              kernel_.text_of(kernel_.code.at(other)), "`"));
}

// --- parameters ---

void Machine::load_param(Warp& warp, const Instruction& in, Mask active) {
  const std::uint64_t* base = row_of<std::uint64_t>(warp, in.slots[in.results]);
  for (Mask m = active; m != 0; m &= m - 1) {
    const int lane = std::countr_zero(m);
    const std::uint64_t at = base[lane] + static_cast<std::uint64_t>(in.number) - kParamBase;
    const std::uint64_t bytes = std::uint64_t{in.bytes} * in.values;
    if (at > kernel_.param_bytes || at + bytes > kernel_.param_bytes)
      problem(warp, in, lane, cat("reads parameters at ", static_cast<std::int64_t>(at), " of ", kernel_.param_bytes));
    if (at % bytes != 0) problem(warp, in, lane, "an address that is not aligned");
    for (int i = 0; i < in.values; ++i) {
      const std::uint64_t x = value_at(params_ + at + static_cast<std::size_t>(i) * in.bytes, in);
      if (in.wide) {
        row_of<std::uint64_t>(warp, in.slots[i])[lane] = x;
      } else {
        row(warp, in.slots[i])[lane] = static_cast<std::uint32_t>(x);
      }
    }
  }
}

// --- global memory ---

template <bool kLoad>
void Machine::note_global(const Warp& warp, const Instruction& in, int lane, std::uint64_t address,
                          std::uint32_t bytes) {
  Allocation* memory = global_memory().find(address, bytes);
  if (memory == nullptr)
    problem(warp, in, lane, cat(kLoad ? "reads " : "writes ", bytes, " bytes that are in no allocation"));
  if (address % bytes != 0) problem(warp, in, lane, cat("an address that is not aligned to ", bytes));
  if (memory->accesses.empty()) memory->accesses.resize((memory->end - memory->begin) / memory->grain + 1);
  const Who by = who(warp, in, lane);
  const std::uint64_t first = (address - memory->begin) / memory->grain,
                      last = (address + bytes - 1 - memory->begin) / memory->grain;
  for (std::uint64_t i = first; i <= last; ++i) {
    Access& access = memory->accesses[i];
    if (!access.written_before(by)) conflict(warp, in, lane, access, true, "global");
    if (!kLoad && !access.read_before(by)) conflict(warp, in, lane, access, false, "global");
    kLoad ? access.read(by) : access.write(by);
  }
}

template <bool kLoad>
void Machine::access_global(Warp& warp, const Instruction& in, Mask active) {
  const std::uint64_t* base = row_of<std::uint64_t>(warp, in.slots[kLoad ? in.results : 0]);
  const std::uint32_t* values = in.slots.data() + (kLoad ? 0 : 1);
  const std::uint32_t bytes = std::uint32_t{in.bytes} * in.values;
  for (Mask m = active; m != 0; m &= m - 1) {
    const int lane = std::countr_zero(m);
    const std::uint64_t address = base[lane] + static_cast<std::uint64_t>(in.number);
    unsigned char* p = reinterpret_cast<unsigned char*>(address);
    note_global<kLoad>(warp, in, lane, address, bytes);
    for (int i = 0; i < in.values; ++i, p += in.bytes) {
      if constexpr (kLoad) {
        const std::uint64_t x = value_at(p, in);
        if (in.wide) {
          row_of<std::uint64_t>(warp, values[i])[lane] = x;
        } else {
          row(warp, values[i])[lane] = static_cast<std::uint32_t>(x);
        }
      } else {
        const void* x = in.wide ? static_cast<const void*>(row_of<std::uint64_t>(warp, values[i]) + lane)
                                : row(warp, values[i]) + lane;
        std::memcpy(p, x, in.bytes);
      }
    }
  }
}

// --- shared memory ---

std::uint32_t Machine::place_in_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                                       std::uint32_t bytes) const {
  const std::uint32_t at = address - kSharedBase;
  if (at >= shared_.size() || at + bytes > shared_.size())
    problem(warp, in, lane,
            cat("touches ", bytes, " bytes at ", static_cast<std::int32_t>(at), " of ", shared_.size(),
                " bytes of shared memory"));
  if (at % bytes != 0) problem(warp, in, lane, cat("an address in shared memory that is not aligned to ", bytes));
  return at;
}

std::uint32_t Machine::read_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                                   std::uint32_t bytes) {
  const std::uint32_t at = place_in_shared(warp, in, lane, address, bytes);
  const Who by = who(warp, in, lane);
  for (std::uint32_t i = at / 4; i < (at + bytes + 3) / 4; ++i) {
    if (in.used_bytes != ~0u && (in.used_bytes >> (4 * i - at) & 15) == 0) continue;
    if (words_[i] == Word::kInFlight)
      problem(warp, in, lane, "reads shared memory that an asynchronous copy may not have filled yet");
    if (words_[i] == Word::kUnset) problem(warp, in, lane, cat("reads shared memory at ", at, " that nobody has set"));
    if (!accesses_[i].written_before(by)) conflict(warp, in, lane, accesses_[i], true, "shared");
    accesses_[i].read(by);
  }
  return at;
}

std::uint32_t Machine::write_shared(const Warp& warp, const Instruction& in, int lane, std::uint32_t address,
                                    std::uint32_t bytes) {
  const std::uint32_t at = place_in_shared(warp, in, lane, address, bytes);
  const Who by = who(warp, in, lane);
  for (std::uint32_t i = at / 4; i < (at + bytes + 3) / 4; ++i) {
    if (words_[i] == Word::kInFlight)
      problem(warp, in, lane, "writes shared memory that an asynchronous copy is still to fill");
    if (!accesses_[i].written_before(by)) conflict(warp, in, lane, accesses_[i], true, "shared");
    if (!accesses_[i].read_before(by)) conflict(warp, in, lane, accesses_[i], false, "shared");
    accesses_[i].write(by);
    words_[i] = Word::kSet;
  }
  return at;
}

template <bool kLoad>
void Machine::access_shared(Warp& warp, const Instruction& in, Mask active) {
  const std::uint32_t* base = row(warp, in.slots[kLoad ? in.results : 0]);
  const std::uint32_t* values = in.slots.data() + (kLoad ? 0 : 1);
  const std::uint32_t bytes = std::uint32_t{in.bytes} * in.values;
  for (Mask m = active; m != 0; m &= m - 1) {
    const int lane = std::countr_zero(m);
    const std::uint32_t address = base[lane] + static_cast<std::uint32_t>(in.number);
    const std::uint32_t at =
        kLoad ? read_shared(warp, in, lane, address, bytes) : write_shared(warp, in, lane, address, bytes);
    for (int i = 0; i < in.values; ++i) {
      unsigned char* p = shared_.data() + at + static_cast<std::size_t>(i) * in.bytes;
      void* x =
          in.wide ? static_cast<void*>(row_of<std::uint64_t>(warp, values[i]) + lane) : row(warp, values[i]) + lane;
      std::memcpy(kLoad ? x : p, kLoad ? p : x, in.bytes);
    }
  }
}

// --- asynchronous copies ---

void Machine::copy_async(Warp& warp, const Instruction& in, Mask active) {
  const std::uint32_t* to = row(warp, in.slots[0]);
  const std::uint64_t* from = row_of<std::uint64_t>(warp, in.slots[1]);
  const std::uint32_t* size = row(warp, in.slots[2]);
  for (Mask m = active; m != 0; m &= m - 1) {
    const int lane = std::countr_zero(m);
    if (size[lane] != 0 && size[lane] != 16) problem(warp, in, lane, "copies some of 16 bytes");
    const std::uint32_t at = write_shared(warp, in, lane, to[lane] + static_cast<std::uint32_t>(in.number), 16);
    const std::uint64_t source = from[lane] + static_cast<std::uint64_t>(in.number2);
    for (std::uint32_t i = at / 4; i < at / 4 + 4; ++i) words_[i] = Word::kInFlight;
    const bool valid = size[lane] == 16;
    if (valid) note_global<true>(warp, in, lane, source, 16);
    warp.lanes[lane].copies.push_back({at, source, valid, warp.lanes[lane].groups});
  }
}

void Machine::wait_for_copies(Warp& warp, const Instruction& in, Mask active) {
  for (Mask m = active; m != 0; m &= m - 1) {
    const int lane = std::countr_zero(m);
    Lane& state = warp.lanes[lane];
    const Who by = who(warp, in, lane);
    std::erase_if(state.copies, [&](const Copy& copy) {
      if (copy.group >= state.groups - in.number) return false;
      if (copy.valid) {
        note_global<true>(warp, in, lane, copy.from, 16);  // until now: nobody may have written there meanwhile
        std::memcpy(shared_.data() + copy.to, reinterpret_cast<const void*>(copy.from), 16);
      } else {
        std::memset(shared_.data() + copy.to, 0, 16);
      }
      for (std::uint32_t i = copy.to / 4; i < copy.to / 4 + 4; ++i) {
        words_[i] = Word::kSet;
        accesses_[i].write(by);
      }
      return true;
    });
  }
}

}  // namespace ttt::ptx
