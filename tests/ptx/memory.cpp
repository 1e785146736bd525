#include "ptx/memory.h"

#include "base/error.h"

namespace ttt::ptx {

void GlobalMemory::add(const void* p, std::size_t bytes, std::size_t element_bytes) {
  if (bytes == 0) return;
  const auto begin = reinterpret_cast<std::uint64_t>(p);
  TTT_CHECK(find(begin, 1) == nullptr, "memory that is allocated twice");
  by_end_[begin + bytes] = {begin, begin + bytes, element_bytes < 4 ? 2 : 4, {}};
}

void GlobalMemory::remove(const void* p) {
  const auto at = by_end_.upper_bound(reinterpret_cast<std::uint64_t>(p));
  if (at == by_end_.end() || at->second.begin != reinterpret_cast<std::uint64_t>(p)) return;  // of no bytes
  by_end_.erase(at);
  last_ = nullptr;
}

Allocation* GlobalMemory::find(std::uint64_t address, std::uint32_t bytes) {
  if (last_ != nullptr && address >= last_->begin && address + bytes <= last_->end) return last_;
  const auto at = by_end_.upper_bound(address);
  if (at == by_end_.end() || address < at->second.begin || address + bytes > at->second.end) return nullptr;
  return last_ = &at->second;
}

GlobalMemory& global_memory() {
  static GlobalMemory& memory = *new GlobalMemory;  // tests' statics outlive other statics
  return memory;
}

}  // namespace ttt::ptx
