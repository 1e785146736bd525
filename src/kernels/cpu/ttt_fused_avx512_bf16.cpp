// The fused TTT passes with products of bf16 pairs (AVX512_BF16), everything else as in ttt_fused_avx512.cpp.
#if defined(__x86_64__)
#define TTT_BF16_PRODUCTS "kernels/cpu/bf16_dot.h"
#include "kernels/cpu/ttt_fused_impl.h"

namespace ttt::kernels {

extern const FusedTtt kFusedTttAvx512Bf16;
const FusedTtt kFusedTttAvx512Bf16 =
    fused_row("avx512_bf16",
              /*bf16_products=*/true, [] {
                return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512bw") &&
                       __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
              });

}  // namespace ttt::kernels
#endif
