#!/usr/bin/env bash
# Sets up, builds, and runs every check and test that this machine can run: formatting, layers, the unit tests under
# sanitizers (of what reads files and memory; tools/sanitize.sh alone runs all), eight seconds of fuzzing for each reader, then every test of the plain build.
# usage: tools/test.sh [--quick] [ctest options]       --quick: without sanitizers and fuzzing
set -euo pipefail
cd "$(dirname "$0")/.."
quick=false
[ "${1:-}" = --quick ] && { quick=true; shift; }
export TTT_CUDA=${TTT_CUDA:-AUTO}  # also where tools/quickstart.sh has left the GPU out
export TTT_STRICT=1
tools/setup.sh --test
tools/build.sh >&2
tools/check_format.sh
tools/check_layers.sh
if ! $quick; then
  tools/sanitize.sh base checkpoint config data kernels ops tokenizer
  tools/fuzz.sh 8
fi
# More threads a test would only slow all. One test more than there are cores: many wait for processes of theirs.
failed=0
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} ctest --test-dir build --output-on-failure -j "$(($(tools/cores.sh) + 1))" "$@" || failed=$?
# Once more at the end, where people look: how the first tests that failed ended.
if [ "$failed" -ne 0 ]; then
  head -3 build/Testing/Temporary/LastTestsFailed.log 2>/dev/null | while IFS=: read -r _ name; do
    printf '\n%s ended with:\n' "$name"
    awk -v name="$name" '/^[0-9]+\/[0-9]+ Testing: / { inside = index($0, "Testing: " name) > 0 }
                         /^<end of output>/ { inside = 0 } inside' build/Testing/Temporary/LastTest.log | tail -n 15 | cut -c 1-300
  done
fi
exit "$failed"
