// The tables of all ops: a new op adds its own here.
#include "ops/kernel_table.h"
#include "ops/ttt.h"

namespace ttt {

const std::vector<const KernelTable*>& kernel_tables() {
  static const std::vector<const KernelTable*> tables = {
      &ttt_kernels(TttKind::kLinear),
      &ttt_kernels(TttKind::kMlp),
  };
  return tables;
}

}  // namespace ttt
