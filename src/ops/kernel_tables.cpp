// The tables of all ops: a new op adds its own here.
#include "ops/adamw_step.h"
#include "ops/attention.h"
#include "ops/causal_conv.h"
#include "ops/conv_rope.h"
#include "ops/conv_silu.h"
#include "ops/cross_entropy.h"
#include "ops/gated_delta.h"
#include "ops/kernel_table.h"
#include "ops/layer_norm_gate.h"
#include "ops/linear.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/selective_scan.h"
#include "ops/swiglu.h"
#include "ops/ttt.h"

namespace ttt {

const std::vector<const KernelTable*>& kernel_tables() {
  static const std::vector<const KernelTable*> tables = {
      &ttt_kernels(ttt_linear_net()), &ttt_kernels(ttt_mlp_net()), &gated_delta_kernels(), &attention_kernels(),
      &selective_scan_kernels(),      &linear_kernels(),           &rms_norm_kernels(),    &swiglu_kernels(),
      &layer_norm_gate_kernels(),     &causal_conv_kernels(),      &rope_kernels(),        &conv_rope_kernels(),
      &conv_silu_kernels(),           &cross_entropy_kernels(),    &adamw_kernels(),
  };
  return tables;
}

}  // namespace ttt
