#!/usr/bin/env bash
# Builds the unit tests with AddressSanitizer and UBSan (clang) into build/sanitize and runs them. The golden training runs, which
# drive the whole program, and the end-to-end scripts are left to the plain build.
# usage: tools/sanitize.sh [LIBRARY...]        such as ops data: the tests of these alone; default: all
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf '[sanitize] %s\n' "$*" >&2; }

build=$PWD/build/sanitize
mkdir -p "$build"
targets=(unit_tests)
[ $# = 0 ] || targets=("${@/%/_tests}")
tools/build.sh --sanitize "${targets[@]}" fuzz >"$build/build.log" 2>&1 || { tail -n 40 "$build/build.log" >&2; say "the build failed"; exit 1; }
tests=("${targets[@]}")
[ $# -gt 0 ] || mapfile -t tests < <(ninja -C "$build" -t targets all | grep -oE '^[a-z]+_tests:' | tr -d : | grep -vx unit_tests | sort -u)
# Leaks are not looked for: LibTorch's and SentencePiece's globals are reported as such. Containers of LibTorch, whose code is
# not instrumented, are not annotated.
export ASAN_OPTIONS=detect_leaks=0:detect_container_overflow=0:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1
cores=$(tools/cores.sh)
export OMP_NUM_THREADS=1
# Left out: the golden training runs; and tests that touch no memory that others do not: the same kernels at other numbers, in
# another order of lanes, on other threads, stopped at other moments, or through LibTorch's calls.
left_out='*GoldenTraining*:*HasNoRaces*:*CudaRow.AgreesWithTheReference*:*CudaRow.IsChosen*:*CrossEntropyIsLogSoftmax/*_on_emulated_gpu:*AnySizesAndOrders*:*ThreadsDoNotChangeTheResult*:*InputsOfAnyMagnitude*:*FiniteDifferences*:*OtherInnerNets*:*Composed.*:CudaTttMlp/1.AgreesWithTheReference:*Rows.AgreeWithTheReference/Mlp96:*KillsAtAnyMoment*'
run() {  # BINARY SHARD: every other test of it
  local log=$build/$1.$2.log
  if GTEST_TOTAL_SHARDS=2 GTEST_SHARD_INDEX=$2 "$build/tests/$1" --gtest_filter="-$left_out" >"$log" 2>&1; then
    say "$1, half $(($2 + 1)): $(grep -oE '[0-9]+ tests? from [0-9]+ test suites? ran' "$log" | tail -n 1 || echo 'no test'), no finding"
  else
    tail -n 80 "$log" >&2
    say "$1, half $(($2 + 1)): FAILED ($log)"
    return 1
  fi
}
export -f run say
export build left_out
# The longest first, so that no core waits for them at the end.
mapfile -t tests < <(printf '%s\n' ops_tests kernels_tests model_tests data_tests | { grep -Fx "$(printf '%s\n' "${tests[@]}")" || true; }; printf '%s\n' "${tests[@]}")
mapfile -t tests < <(printf '%s\n' "${tests[@]}" | awk '!seen[$0]++')
for test in "${tests[@]}"; do printf '%s 0\n%s 1\n' "$test" "$test"; done | xargs -P "$cores" -L 1 bash -c 'run "$0" "$1"' ||
  { say "findings above"; exit 1; }
