// The fused passes of the gated delta rule for AVX2 and FMA (compiled with their flags, see CMakeLists.txt): 16
// registers of 32 bytes.
#if defined(__x86_64__)
#define TTT_REGISTER_BYTES 32
#include "kernels/cpu/gated_delta_fused_impl.h"

namespace ttt::kernels {

extern const FusedGatedDelta kFusedGatedDeltaAvx2;
const FusedGatedDelta kFusedGatedDeltaAvx2 =
    delta_row("avx2", [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); });

}  // namespace ttt::kernels
#endif
