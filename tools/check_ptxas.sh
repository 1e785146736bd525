#!/usr/bin/env bash
# Reads what `nvcc -Xptxas -v` printed and fails where a hot kernel, which is every one in bf16, stores registers to memory (spills). In fp32, whose
# operands are two planes, up to 128 bytes a thread may be.
# usage: tools/check_ptxas.sh LOG...
set -euo pipefail
awk '
  /Compiling entry function/ { split($0, part, "\047"); kernel = part[2]; arch = part[4]; kernels++ }
  /bytes spill stores/ {
    match($0, /[0-9]+ bytes spill stores/)
    spilled = substr($0, RSTART, RLENGTH) + 0
    fp32 = kernel ~ /BlockIf/                  # the first template argument of the block: t is bf16, f is float
    if (spilled > (fp32 ? 128 : 0)) { printf "error: %s on %s spills %d bytes a thread (%s)\n", kernel, arch, spilled, FILENAME; bad = 1 }
  }
  END {
    if (kernels == 0) { print "error: no kernel in " FILENAME "; was it compiled with -Xptxas -v?"; exit 1 }
    exit bad
  }
' "$@" >&2
