#!/usr/bin/env bash
# Plants faults into the CUDA kernels, one at a time, compiles one small kernel that shows each to PTX, and says whether the kernels' tests find it:
# on the PTX (tests/ptx), and where these do not, on the emulated lanes. Before that each kernel as it is must compile and pass.
# Takes a quarter of an hour; not one of the tests.
# usage: tools/ptx_mutants.sh [NUMBER ...]       after tools/build.sh ptx_tests ttt_cuda_emulated; all mutants where no number is given
# environment: NVCC; PTX_TESTS (the binary, if not build/tests/ptx_tests)
# exit code: 0 when every mutant was caught, 1 when one was not, or nothing can be said of one; 2 for what is missing
set -euo pipefail
cd "$(dirname "$0")/.."
fetched=${TTT_CACHE:-$HOME/.cache/ttt.cpp}/libtorch-2.11.0/nvidia/cu13/bin/nvcc
nvcc=${NVCC:-$(command -v nvcc || ls /usr/local/cuda/bin/nvcc "$fetched" 2>/dev/null | head -n 1 || true)}
[ -x "$nvcc" ] || { echo "error: no nvcc${nvcc:+ at '$nvcc'} to compile mutants with; TTT_CUDA=ON tools/setup.sh fetches one" >&2; exit 2; }
tests=${PTX_TESTS:-build/tests/ptx_tests}
[ -x "$tests" ] || { echo "error: no $tests; run tools/build.sh ptx_tests" >&2; exit 2; }
scratch=build/ptx_mutants
rm -rf "$scratch"; mkdir -p "$scratch"

# Kernels: name | header | Block | Arguments | test file | tests
kernels='
linear   | ttt_linear_forward     | TttLinearForwardBlock<std::uint16_t, 64, 4>  | TttLinearForward<std::uint16_t>  | ttt_linear     | CudaTttLinear/0.*
linear32 | ttt_linear_forward     | TttLinearForwardBlock<float, 64, 4>          | TttLinearForward<float>          | ttt_linear     | CudaTttLinear/2.*
backward | ttt_linear_backward    | TttLinearBackwardBlock<std::uint16_t, 64, 4> | TttLinearBackward<std::uint16_t> | ttt_linear     | CudaTttLinear/0.*
mlp      | ttt_mlp_forward        | TttMlpForwardBlock<std::uint16_t, 64>        | TttMlpForward<std::uint16_t>     | ttt_mlp        | CudaTttMlp/0.*:CudaTttMlpCalls/0.*
mlpback  | ttt_mlp_backward       | TttMlpBackwardBlock<std::uint16_t, 64>       | TttMlpBackward<std::uint16_t>    | ttt_mlp        | CudaTttMlp/0.*:CudaTttMlpCalls/0.*
decode   | ttt_decode             | TttLinearDecodeBlock<std::uint16_t, 64>      | TttDecode<std::uint16_t>         | ttt_decode     | CudaTttDecode/0.*
scan     | selective_scan_forward | ScanForwardBlock<true, true>                 | ScanForward                      | selective_scan | CudaSelectiveScan.*
rms      | rms_norm               | RmsNormForwardBlock<std::uint16_t, 128, 2>   | RmsNormForward<std::uint16_t>    | norms          | CudaRmsNorm/0.*
rmsback  | rms_norm               | RmsNormBackwardBlock<std::uint16_t, 128, 2>  | RmsNormBackward<std::uint16_t>   | norms          | CudaRmsNorm/0.*
swiglu   | swiglu                 | SwigluForwardBlock<std::uint16_t>            | SwigluForward<std::uint16_t>     | swiglu         | CudaSwiglu/0.*
entropy  | cross_entropy          | CrossEntropyForwardBlock<float>              | CrossEntropyForward<float>       | cross_entropy  | CudaCrossEntropy/1.*
conv     | causal_conv            | CausalConvBackwardBlock<float, 4>            | CausalConvBackward<float>        | causal_conv    | CudaCausalConv/1.*
norm     | adamw                  | GradientNormBlock                            | GradientNorm                     | adamw          | CudaAdamW*'

# Mutants: what | kernel | header | sed expression
mutants='
sync_block does nothing @ rms @ warp_ptx.h @ s/__syncthreads();//
sync_block does nothing @ linear @ warp_ptx.h @ s/__syncthreads();//
sync_warp does nothing @ mlp @ warp_ptx.h @ s/__syncwarp();//
sync_warp without one lane @ mlp @ warp_ptx.h @ s/__syncwarp();/__syncwarp(0x7fffffffu);/
shuffle_xor by another mask @ rms @ warp_ptx.h @ s/__shfl_xor_sync(0xffffffffu, x, mask)/__shfl_xor_sync(0xffffffffu, x, mask ^ 1)/
shuffle_xor without one lane @ rms @ warp_ptx.h @ s/__shfl_xor_sync(0xffffffffu/__shfl_xor_sync(0x7fffffffu/
shuffle_xor within 16 lanes @ rms @ warp_ptx.h @ s/__shfl_xor_sync(0xffffffffu, x, mask)/__shfl_xor_sync(0xffffffffu, x, mask, 16)/
shuffle from the next lane @ linear @ warp_ptx.h @ s/__shfl_sync(0xffffffffu, x, lane)/__shfl_sync(0xffffffffu, x, lane + 1)/
pack_bf16 swaps its halves @ linear @ warp_ptx.h @ s/"f"(high), "f"(low)/"f"(low), "f"(high)/
pack_bf16 truncates @ swiglu @ warp_ptx.h @ s/asm("cvt.rn.bf16x2.*$/word = (__float_as_uint(high) \& 0xffff0000u) | __float_as_uint(low) >> 16;/
high_bf16 keeps the lower half @ linear32 @ warp_ptx.h @ s/word \& 0xffff0000u/word/
transpose_8x8 does not @ linear @ warp_ptx.h @ s/asm("movmatrix.*$/column = row;/
mma: A words 1 and 2 swapped @ linear @ warp_ptx.h @ s/"r"(a\[1\]), "r"(a\[2\])/"r"(a[2]), "r"(a[1])/
mma: B words swapped @ linear @ warp_ptx.h @ s/"r"(b\[0\]), "r"(b\[1\])/"r"(b[1]), "r"(b[0])/
mma: results 1 and 2 swapped @ linear @ warp_ptx.h @ s/"+f"(c\[1\]), "+f"(c\[2\])/"+f"(c[2]), "+f"(c[1])/
mma: added to other results @ linear @ warp_ptx.h @ s/{%8,%9}, {%0,%1,%2,%3}/{%8,%9}, {%2,%3,%0,%1}/
ldmatrix: words 1 and 2 swapped @ linear @ warp_ptx.h @ s/"=r"(words\[1\]), "=r"(words\[2\])/"=r"(words[2]), "=r"(words[1])/
ldmatrix without .trans @ linear @ warp_ptx.h @ s/x4.trans.shared/x4.shared/
ldmatrix always with .trans @ backward @ warp_ptx.h @ s/x4.shared/x4.trans.shared/
addresses in shared memory off by 16 @ linear @ warp_ptx.h @ s/__cvta_generic_to_shared(p))/__cvta_generic_to_shared(p)) + 16/
cp.async reads what is not valid @ backward @ warp_ptx.h @ s/valid ? 16 : 0/16/
cp.async copies half @ linear @ warp_ptx.h @ s/valid ? 16 : 0/valid ? 8 : 0/
cp.async groups are not closed @ linear @ warp_ptx.h @ s/asm volatile("cp.async.commit_group;".*$//
cp.async is not waited for @ linear @ warp_ptx.h @ s/asm volatile("cp.async.wait_group.*$//
cp.async waits for one group less @ linear @ warp_ptx.h @ s/"n"(kOpen)/"n"(kOpen + 1)/
cp.async waits for one group less @ scan @ warp_ptx.h @ s/"n"(kOpen)/"n"(kOpen + 1)/
block_in_grid is always 0 @ rms @ warp_ptx.h @ s/static_cast<int>(blockIdx.x)/0/
blocks_in_grid is always 1 @ swiglu @ warp_ptx.h @ s/static_cast<int>(gridDim.x)/1/
arguments: gain and bias swapped on the device @ linear @ ttt_args.h @ /float\* gain = nullptr/{h;d};/float\* bias = nullptr/{G}
arguments: a field more on the device @ rms @ row_args.h @ s/  float eps = 0;/  double eps_before = 0; float eps = 0;/
sums over a block: no barrier @ rms @ elementwise.h @ s/^    sync_block();//
sums over a block: one buffer @ rmsback @ elementwise.h @ s/turn_ ^= 1;//
sums over rows: one buffer @ linear @ rows.h @ s/turn_ ^= 1;//
sums over rows: written by every lane @ linear @ rows.h @ s/if (lane % 4 == 0) {/{/
rows are stored past their end @ swiglu @ elementwise.h @ s/first + i >= 0 \&\& first + i < width) store_value/first + i >= 0) store_value/
a part of a row is stored past its end @ rms @ elementwise.h @ s/if (first < width) store_values/store_values/
tiles: rows 8 values apart less @ linear @ tiles.h @ s/kStep = kCols + 8;/kStep = kCols + 4;/
tiles: the wrong half of a transposed fragment @ backward @ tiles.h @ s/k + lane \/ 16 \* 8 + lane % 8, m + lane \/ 8 % 2 \* 8/k + lane \/ 8 % 2 * 8 + lane % 8, m + lane \/ 16 * 8/
forward: no barrier between mini-batches @ linear @ ttt_linear_forward.h @ s/^      sync_block();//
forward: the next stage is fetched into this one @ linear @ ttt_linear_forward.h @ s/fetch(m + kStages - 1);/fetch(m + kStages);/
backward: copies are not waited for @ backward @ ttt_linear_backward.h @ s/wait_for_copies<0>();//
mlp: vectors without sync_warp before they are read @ mlpback @ ttt_mlp_block.h @ 177s/sync_warp();//
mlp: vectors without sync_warp before they are set @ mlp @ ttt_mlp_block.h @ 195s/sync_warp();//
scan: no barrier after a chunk has arrived @ scan @ selective_scan_tile.h @ s/^    sync_block();//
decode: no barrier after a token has arrived @ decode @ ttt_decode_block.h @ 98s/sync_block();//
norm: no barrier in the tree @ norm @ adamw.h @ s/^      sync_block();//'

trim() { sed 's/^ *//; s/ *$//'; }
# kernel KEY: sets what its line says: include, block, arguments, test and filter.
kernel() {
  IFS='|' read -r _ include block arguments test filter < <(grep "^$1 " <<<"$kernels")
  include=$(trim <<<"$include") test=$(trim <<<"$test") filter=$(trim <<<"$filter")
}
compiles() {  # the kernel, out of the copied sources, to $scratch/one.ptx
  printf '#include "kernels/cuda/launch.h"\n#include "kernels/cuda/%s.h"\nnamespace ttt::kernels::cuda::gpu {\ntemplate __global__ void block_kernel<%s,\n%s>(const __grid_constant__ %s);\n}\n' \
    "$include" "$block" "$arguments" "$arguments" >"$scratch/one.cu"
  "$nvcc" -std=c++20 -ptx -arch=compute_80 -I"$scratch/src" "$scratch/one.cu" -o "$scratch/one.ptx" >"$scratch/nvcc.log" 2>&1
}
passes() { TTT_PTX_REPLACE=$scratch/one.ptx timeout 300 "$tests" --gtest_filter="$filter" >"$scratch/test.log" 2>&1; }

number=0 chosen=()
while IFS= read -r line; do
  [ -n "$line" ] || continue
  number=$((number + 1))
  if [ $# = 0 ] || [[ " $* " == *" $number "* ]]; then chosen+=("$number@$line"); fi
done <<<"$mutants"
[ ${#chosen[@]} -gt 0 ] || { echo "error: no mutant has the number $*; there are $number" >&2; exit 2; }

cp -r src "$scratch/src"
# Without a fault everything must pass: otherwise all would seem to be caught.
for key in $(printf '%s\n' "${chosen[@]}" | cut -d@ -f3 | sort -u); do
  kernel "$key"
  compiles || { cat "$scratch/nvcc.log" >&2; echo "error: kernel $key does not compile as it is" >&2; exit 1; }
  passes || { tail -n 20 "$scratch/test.log" >&2; echo "error: $filter does not pass with kernel $key as it is" >&2; exit 1; }
  ! grep -q 'Running 0 tests' "$scratch/test.log" || { echo "error: no test is called $filter" >&2; exit 1; }
done

planted=0 caught=0
for line in "${chosen[@]}"; do
  IFS='@' read -r number what key header expression <<<"$line"
  what=$(trim <<<"$what") key=$(trim <<<"$key") header=$(trim <<<"$header") expression=$(trim <<<"$expression")
  kernel "$key"
  original=src/kernels/cuda/$header mutant=$scratch/src/kernels/cuda/$header
  sed "$expression" "$original" >"$mutant"
  if cmp -s "$original" "$mutant"; then echo "$number  error: nothing to mutate in $header: $what" >&2; exit 1; fi
  planted=$((planted + 1)) by=missed why=
  if ! compiles; then
    echo "$number  error: this mutant does not compile: $what: $(grep -m1 error "$scratch/nvcc.log" || true)" >&2
    exit 1
  elif ! passes; then
    by=PTX
    why=$(grep -m1 -oE '`[^`]*`: .*|does not know .*|lanes wait .*|has ended while.*' "$scratch/test.log" || grep -m1 -A1 'Expected\|difference' "$scratch/test.log" | tr -s ' \n' ' ' || true)
  elif [ "$header" != warp_ptx.h ]; then
    g++ -std=c++20 -O1 -Wno-psabi -I"$scratch/src" -Itests "tests/kernels/cuda_${test}_test.cpp" build/libttt_cuda_emulated.a build/libttt_kernels.a build/libttt_base.a \
      -lgtest_main -lgtest -lspdlog -lfmt -lxxhash -o "$scratch/lanes"
    timeout 300 "$scratch/lanes" --gtest_filter="$filter" >"$scratch/test.log" 2>&1 || { by=lanes; why=$(grep -m1 -A1 'Expected\|exception' "$scratch/test.log" | tr -s ' \n' ' ' || true); }
  fi
  [ "$by" = missed ] || caught=$((caught + 1))
  printf '%2d  %-8s  %-55s %-9s %s\n' "$number" "$by" "$what" "$key" "$(cut -c 1-150 <<<"$why")"
  cp "$original" "$mutant"
done
echo "$caught of $planted mutants were caught"
[ "$caught" = "$planted" ]
