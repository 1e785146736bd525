// The fused TTT passes for AVX2 and FMA (compiled with their flags, see CMakeLists.txt): 16 registers of 32 bytes.
#if defined(__x86_64__)
#define TTT_REGISTER_BYTES 32
#include "kernels/cpu/ttt_fused_impl.h"

namespace ttt::kernels {

extern const FusedTtt kFusedTttAvx2;
const FusedTtt kFusedTttAvx2 =
    fused_row("avx2",
              /*bf16_products=*/false, [] { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); });

}  // namespace ttt::kernels
#endif
