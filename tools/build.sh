#!/usr/bin/env bash
# Configures and builds into build/. usage: tools/build.sh [TARGET ...]    (default: everything)
set -euo pipefail
cd "$(dirname "$0")/.."
options=(-G Ninja)
if [ -z "${LIBTORCH:-}" ]; then
  options+=(-DLIBTORCH="${TTT_CACHE:-$HOME/.cache/ttt.cpp}/libtorch-2.11.0/torch")
else
  options+=(-DLIBTORCH="$LIBTORCH")
fi
cmake -S . -B build "${options[@]}" >build.log 2>&1 || { cat build.log >&2; echo "error: cmake failed" >&2; exit 1; }
rm -f build.log
# A file that includes torch takes up to 1.5 GB to compile.
memory_gb=$(awk '/MemAvailable/ {print int($2 / 1048576)}' /proc/meminfo)
jobs=$(nproc); [ "$jobs" -le $((memory_gb / 2 + 1)) ] || jobs=$((memory_gb / 2 + 1))
exec ninja -C build -j "$jobs" "$@"
