#!/usr/bin/env bash
# Compiles every CUDA kernel for sm_80, sm_90a, sm_100 and sm_120, nvcc's warnings as errors, and keeps nothing. Minutes.
# usage: tools/all_archs.sh [NVCC]        (ctest -C all_archs -L all_archs calls it)
set -euo pipefail
cd "$(dirname "$0")/.."
fetched=${TTT_CACHE:-$HOME/.cache/ttt.cpp}/libtorch-2.11.0/nvidia/cu13/bin/nvcc
nvcc=${1:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc "$fetched" 2>/dev/null | head -n 1 || true)}
[ -x "$nvcc" ] || { echo "error: no nvcc at '$nvcc'; tools/setup.sh fetches one where there is an NVIDIA driver" >&2; exit 2; }
archs=()
for arch in 80 90a 100 120; do archs+=(-gencode "arch=compute_$arch,code=sm_$arch"); done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
printf '%s\0' src/kernels/cuda/*.cu |
  xargs -0 -P "$(tools/cores.sh --memory-gb 2)" -I{} bash -c '
    source=$1; shift
    "$@" -c "$source" -o "$(mktemp -p "$0")" || { echo "error: $source does not compile for every architecture" >&2; exit 255; }
    echo "$source"' "$out" {} "$nvcc" -std=c++20 -O1 -Xcompiler=-Wall,-Wextra -Werror all-warnings -Isrc "${archs[@]}"
