#!/usr/bin/env bash
# Configures and builds into build/. usage: tools/build.sh [--sanitize] [TARGET ...]    (default: everything)
#     --sanitize     with clang, AddressSanitizer and UBSan into build/sanitize (tools/sanitize.sh, tools/fuzz.sh)
# environment: TTT_CUDA=ON|OFF|AUTO     with LibTorch's CUDA half and kernels for GPUs; AUTO, the default: where there is a driver or a toolkit
#              TTT_STRICT=1             nvcc's warnings and spills of hot kernels are errors, as in tools/test.sh
set -euo pipefail
cd "$(dirname "$0")/.."
build=build
options=(-G Ninja -DLIBTORCH="${LIBTORCH:-${TTT_CACHE:-$HOME/.cache/ttt.cpp}/libtorch-2.11.0/torch}")
[ -z "${TTT_CUDA:-}" ] || options+=(-DTTT_CUDA="$TTT_CUDA")
[ -z "${TTT_STRICT:-}" ] || options+=(-DTTT_STRICT=ON)
if [ "${1:-}" = --sanitize ]; then
  shift
  build=build/sanitize
  options+=(-DCMAKE_CXX_COMPILER=clang++ -DTTT_SANITIZE=ON -DTTT_WERROR=OFF)
fi
mkdir -p "$build"
cmake -S . -B "$build" "${options[@]}" >"$build/cmake.log" 2>&1 || { cat "$build/cmake.log" >&2; echo "error: cmake failed" >&2; exit 1; }
sed -n 's/^ttt: /[build] /p' "$build/cmake.log" >&2  # what was left out, and why
# A file that includes torch takes up to 1.5 GB to compile.
exec ninja -C "$build" -j "$(tools/cores.sh --memory-gb 2)" "$@"
