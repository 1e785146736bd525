// The fused passes of the gated delta rule for any processor, 16 bytes a register, and the list of all of them.
#define TTT_REGISTER_BYTES 16
#include "kernels/cpu/gated_delta_fused.h"

#include "kernels/cpu/gated_delta_fused_impl.h"

namespace ttt::kernels {

#if defined(__x86_64__)
extern const FusedGatedDelta kFusedGatedDeltaAvx512;  // gated_delta_fused_avx512.cpp
extern const FusedGatedDelta kFusedGatedDeltaAvx2;    // gated_delta_fused_avx2.cpp
#endif

const std::vector<FusedGatedDelta>& fused_gated_delta() {
  static const std::vector<FusedGatedDelta> rows = {
#if defined(__x86_64__)
    kFusedGatedDeltaAvx512,
    kFusedGatedDeltaAvx2,
#endif
    delta_row("portable", [] { return true; })
  };
  return rows;
}

}  // namespace ttt::kernels
