#!/usr/bin/env bash
# Fails where a collective instruction of the machine code (HMMA, LDSM, MOVM, SHFL, BAR, WARPSYNC) is under a predicate of its own: lanes of a warp
# could differ in it, and what such an instruction then does is undefined.
# usage: tools/check_sass.sh OBJECT...                 of nvcc; wants cuobjdump and nvdisasm (tools/setup.sh --test fetches them)
#        tools/check_sass.sh --text DISASSEMBLY...     what `cuobjdump -sass` has printed
# Ends with 77 where the tools are missing (with 1 under CI=true).
#
# What is let through, and why: a predicate of the uniform datapath (@UP0), one bit for the whole warp. What is not, though it would do no harm: @!PT, an
# instruction that never runs, and predicates of which the compiler knows that all lanes agree. nvcc 13.0 emits neither for these kernels (32136
# collective instructions on sm_80 and sm_90a, none with any predicate; under a predicate it puts LDGSTS, each lane's own copy, alone), so
# whatever shows up is to be looked at.
set -euo pipefail
cd "$(dirname "$0")/.."
disassemble() { cuobjdump -sass "$1"; }
if [ "${1:-}" = --text ]; then
  shift
  disassemble() { cat "$1"; }
else
  cache=${TTT_CACHE:-$HOME/.cache/ttt.cpp}
  export PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin:$cache/cuda_tools/nvidia/cu13/bin
  for tool in cuobjdump nvdisasm; do
    command -v $tool >/dev/null && continue
    echo "skipped: no $tool, with which the machine code is read (tools/setup.sh --test)"
    [ "${CI:-}" != true ] || exit 1
    exit 77
  done
fi
[ $# -gt 0 ] || { echo "usage: tools/check_sass.sh [--text] FILE..." >&2; exit 2; }
for file in "$@"; do disassemble "$file"; done | awk '
  /^\t*arch = / { arch = $3 }
  /Function : / { kernel = $3 }
  /^ +\/\*[0-9a-f]+\*\/ / {
    text = $0
    sub(/^ +\/\*[0-9a-f]+\*\/ +/, "", text)
    sub(/ *;.*$/, "", text)
    predicate = ""
    name = text
    if (match(text, /^@[^ ]+ +/)) { predicate = substr(text, 2, RLENGTH - 1); sub(/ +$/, "", predicate); name = substr(text, RLENGTH + 1) }
    sub(/ .*/, "", name)
    split(name, part, ".")
    if (part[1] !~ /^(HMMA|LDSM|MOVM|SHFL|BAR|WARPSYNC)$/) next
    seen[part[1]]++
    total++
    if (predicate == "" || predicate ~ /^!?UP[0-9]$/) next
    printf "error: %s: `%s` under a predicate, in %s\n", arch, text, kernel
    bad = 1
  }
  END {
    for (name in seen) list = list " " name " " seen[name]
    if (total == 0) { print "error: no collective instruction at all; is this what cuobjdump -sass prints?"; exit 1 }
    print "collective instructions:" list
    exit bad
  }'
