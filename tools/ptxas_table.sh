#!/usr/bin/env bash
# Prints, as C++ (kernels/cuda/gpu/kernel_resources.h), what `nvcc -Xptxas -v` said of every kernel in these logs.
# usage: tools/ptxas_table.sh LOG...
set -euo pipefail
echo '#include "kernels/cuda/gpu/kernel_resources.h"'
echo
echo 'namespace ttt::kernels::cuda {'
echo
echo 'const std::vector<KernelResources>& kernel_resources() {'
echo '  static const std::vector<KernelResources> resources = {'
awk '
  /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; arch = part[4] }
  /bytes spill stores/ { match($0, /[0-9]+ bytes spill stores/); spilled = substr($0, RSTART, RLENGTH) + 0 }
  /Used [0-9]+ registers/ {
    match($0, /Used [0-9]+ registers/)
    printf "      {\"%s\", \"%s\", %d, %d},\n", kernel, arch, substr($0, RSTART + 5, RLENGTH - 5) + 0, spilled
  }
' "$@"
echo '  };'
echo '  return resources;'
echo '}'
echo
echo '}  // namespace ttt::kernels::cuda'
