// The fused TTT passes for any processor, 16 bytes a register, and the list of all of them.
#define TTT_REGISTER_BYTES 16
#include "kernels/cpu/ttt_fused.h"

#include "kernels/cpu/ttt_fused_impl.h"

namespace ttt::kernels {

#if defined(__x86_64__)
#if defined(__linux__)
extern const FusedTtt kFusedTttAmx;  // ttt_fused_amx.cpp
#endif
extern const FusedTtt kFusedTttAvx512Bf16;  // ttt_fused_avx512_bf16.cpp
extern const FusedTtt kFusedTttAvx512;      // ttt_fused_avx512.cpp
extern const FusedTtt kFusedTttAvx2;        // ttt_fused_avx2.cpp
#endif

const std::vector<FusedTtt>& fused_ttt() {
  static const std::vector<FusedTtt> rows = {
#if defined(__x86_64__)
#if defined(__linux__)
    kFusedTttAmx,
#endif
    kFusedTttAvx512Bf16,
    kFusedTttAvx512,
    kFusedTttAvx2,
#endif
    fused_row("portable", /*bf16_products=*/false, [] { return true; })
  };
  return rows;
}

}  // namespace ttt::kernels
