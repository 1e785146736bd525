// The fused TTT passes with products of bf16 tiles (AMX), everything else as in ttt_fused_avx512_bf16.cpp.
#if defined(__x86_64__) && defined(__linux__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/cpu/amx_tiles.h"
#define TTT_BF16_PRODUCTS "kernels/cpu/bf16_tiles.h"
#define TTT_TILES AmxTiles
#include "kernels/cpu/ttt_fused_impl.h"

namespace ttt::kernels {
namespace {

// Whether there are tiles with bf16 products, and Linux lets this process use them (it saves them for those that ask).
bool may_use_tiles() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) == 0) return false;
  constexpr unsigned kAmxBf16 = 1u << 22, kAmxTile = 1u << 24;
  if ((edx & kAmxBf16) == 0 || (edx & kAmxTile) == 0) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

extern const FusedTtt kFusedTttAmx;
const FusedTtt kFusedTttAmx =
    fused_row("amx",
              /*bf16_products=*/true, [] {
                static const bool tiles = may_use_tiles();
                return tiles && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
              });

}  // namespace ttt::kernels
#endif
