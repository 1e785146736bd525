#!/usr/bin/env bash
# Reads every #include under src/ and fails on an edge that tools/layers.txt does not list.
# usage: tools/check_layers.sh [SOURCE_ROOT]
set -euo pipefail
root=${1:-$(dirname "$0")/..}
cd "$root"
find src -name '*.cpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' | sort | xargs grep -nE '^[[:space:]]*#[[:space:]]*include' |
  awk '
    # What an outside header belongs to; headers of the standard library and the system belong to nothing.
    function library(header) {
      if (header ~ /^(torch|ATen|c10|caffe2)\//) return "torch"
      if (header ~ /^(cuda|cublas|nccl|cooperative_groups|mma)/) return "cuda"
      if (header ~ /^(immintrin|x86intrin|arm_neon|hwy\/)/) return "intrinsics"
      if (header ~ /^(spdlog|nlohmann|yaml-cpp|CLI)\//) { sub(/\/.*/, "", header); return header }
      if (header ~ /^sentencepiece/) return "sentencepiece"
      if (header ~ /^(unsupported\/)?Eigen\//) return "eigen"
      if (header ~ /^LBFGS/) return "lbfgs"
      if (header ~ /^(xxhash|zstd|zlib)/) { sub(/\..*/, "", header); return header }
      return ""
    }
    NR == FNR {                                            # tools/layers.txt
      if ($0 ~ /^#/ || $0 !~ /:/) next
      layer = $0; sub(/:.*/, "", layer)
      rest = $0; sub(/^[^:]*:/, "", rest)
      known[layer] = 1; allowed[layer, layer] = 1
      split(rest, halves, "|")
      count = split(halves[1], names, " "); for (i = 1; i <= count; ++i) allowed[layer, names[i]] = 1
      count = split(halves[2], names, " "); for (i = 1; i <= count; ++i) outside[layer, names[i]] = 1
      next
    }
    {
      place = $0; sub(/:[[:space:]]*#.*/, "", place)
      file = place; sub(/:[0-9]+$/, "", file)
      layer = file; sub(/^src\//, "", layer); if (!sub(/\/.*/, "", layer)) sub(/\.cpp$/, "", layer)
      ++edges
      if (!(layer in known)) { print place ": no layer \"" layer "\" in tools/layers.txt"; bad = 1; next }
      if (match($0, /"[^"]+"/)) {
        target = substr($0, RSTART + 1, RLENGTH - 2)
        if (!sub(/\/.*/, "", target)) { print place ": include \"" target "\" by its path from src/"; bad = 1; next }
        if (!((layer, target) in allowed)) { print place ": " layer " must not include " target; bad = 1 }
      } else if (match($0, /<[^>]+>/)) {
        target = library(substr($0, RSTART + 1, RLENGTH - 2))
        if (target != "" && !((layer, target) in outside)) { print place ": " layer " must not use " target; bad = 1 }
      }
    }
    END { if (bad) exit 1; print "layers: " edges " includes go downwards only" }
  ' tools/layers.txt -
