// The tile registers of AMX for bf16_tiles.h. Intel's Architecture Instruction Set Extensions reference, chapter 3.
//
// As inline assembly: the compiler's own intrinsics take the numbers of tiles as literal tokens only. Operands in the
// order of the AT&T syntax, destination last.
#pragma once

#include <cstdint>

namespace ttt::kernels {
namespace {

struct AmxTiles {
  template <int t>
  static void zero() {
    asm volatile("tilezero %%tmm%c0" ::"i"(t));
  }
  template <int t>
  static void load(const void* first, std::int64_t to_next) {
    asm volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(first), "r"(to_next), "i"(t) : "memory");
  }
  template <int t>
  static void store(void* first, std::int64_t to_next) {
    asm volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(first), "r"(to_next), "i"(t) : "memory");
  }
  template <int c, int a, int b>
  static void dot() {
    asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(c), "i"(a), "i"(b));
  }

  // Eight tiles of 16 rows of 64 bytes. What another library had configured on this thread is put back at the end.
  class Session {
   public:
    Session() {
      asm volatile("sttilecfg %0" : "=m"(before_));
      Config ours = {};
      ours.palette = 1;
      for (int t = 0; t < 8; ++t) ours.row_bytes[t] = 64, ours.rows[t] = 16;
      asm volatile("ldtilecfg %0" ::"m"(ours));
    }
    ~Session() {
      if (before_.palette == 0) {
        asm volatile("tilerelease");
      } else {
        asm volatile("ldtilecfg %0" ::"m"(before_));
      }
    }
    Session(const Session&) = delete;
    Session& operator=(const Session&) = delete;

   private:
    struct alignas(64) Config {
      std::uint8_t palette, start_row, reserved[14];
      std::uint16_t row_bytes[16];
      std::uint8_t rows[16];
    };
    static_assert(sizeof(Config) == 64);
    Config before_;
  };
};

}  // namespace
}  // namespace ttt::kernels
