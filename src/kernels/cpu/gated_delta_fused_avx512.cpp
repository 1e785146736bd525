// The fused passes of the gated delta rule for AVX-512 (compiled with its flags, see CMakeLists.txt): 32 registers of
// 64 bytes.
#if defined(__x86_64__)
#define TTT_REGISTER_BYTES 64
#include "kernels/cpu/gated_delta_fused_impl.h"

namespace ttt::kernels {

extern const FusedGatedDelta kFusedGatedDeltaAvx512;
const FusedGatedDelta kFusedGatedDeltaAvx512 = delta_row("avx512", [] {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
});

}  // namespace ttt::kernels
#endif
