#!/usr/bin/env bash
# Fuzzes the readers (tests/fuzz) with libFuzzer, AddressSanitizer and UBSan, from files that build/ttt writes; builds the
# targets first, in build/sanitize. Fails on any finding, which is kept below build/fuzz/runs/TARGET/.
# usage: tools/fuzz.sh [SECONDS [TARGET ...]]       default: 60 s each, all of them, as many at a time as there are cores
# environment: FUZZ_SEED=1     where the mutations start
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
say() { printf '[fuzz] %s\n' "$*" >&2; }

[ -x build/ttt ] || tools/build.sh ttt_main >&2
tools/build.sh --sanitize fuzz >build/fuzz.log 2>&1 || { tail -n 40 build/fuzz.log >&2; say "the build failed"; exit 1; }

# --- seeds: a tiny token array, data set, checkpoint and config of the program's own ---
runs=$PWD/build/fuzz/runs
seeds=$PWD/build/fuzz/seeds
rm -rf "$seeds"
mkdir -p "$runs" "$seeds"/{safetensors,npy,data_manifest,shards,checkpoint,config,hf_config,jsonl,table}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
part() {  # FILE: its length in two bytes, then its bytes
  local size
  size=$(stat -c %s "$1")
  printf "\\x$(printf %02x $((size & 255)))\\x$(printf %02x $((size >> 8)))"
  cat "$1"
}
(
  cd "$work"
  for type in u2 i4 u1; do
    bytes=${type#?}
    printf "\x93NUMPY\x01\x00\x76\x00%-117s\n" "{'descr': '<$type', 'fortran_order': False, 'shape': (60,), }" >"$type.npy"
    for ((i = 0; i < 60; ++i)); do printf "\\x$(printf %02x "$i")"; for ((b = 1; b < bytes; ++b)); do printf '\0'; done; done >>"$type.npy"
    cp "$type.npy" "$seeds/npy/"
  done
  ttt=$OLDPWD/build/ttt
  "$ttt" prepare --tokens u2.npy --vocab-size 64 --output data >/dev/null 2>&1
  model="vocab_size: 64, hidden_size: 8, num_layers: 1, num_heads: 2, intermediate_size: 8"
  for mixer in ttt_mlp attention; do
    printf '%s\n' "model: {mixer: $mixer, $model}" 'data: {train: data}' 'train: {context: 8, batch_tokens: 16, steps: 1, threads: 1, device: cpu}' \
      "output_dir: $mixer" >"$mixer.yaml"
    "$ttt" train "$mixer.yaml" --quiet
    checkpoint=$mixer/checkpoints/step_00000001
    cp "$checkpoint/model.safetensors" "$seeds/safetensors/$mixer"
    cp "$checkpoint/config.json" "$seeds/hf_config/$mixer"
    cp "$checkpoint/config.yaml" "$seeds/config/$mixer"
    cp "$mixer.yaml" "$seeds/config/$mixer.short"
    { printf '\x03'; part "$checkpoint/manifest.json"; part "$checkpoint/model.safetensors"; cat "$checkpoint/config.json"; } >"$seeds/checkpoint/$mixer"
  done
  cp data/manifest.json "$seeds/data_manifest/"
  { part data/manifest.json; part data/tokens-00000.bin; cat data/documents-00000.bin; } >"$seeds/shards/data"
  printf '%s\n' '{"text": "one \u00e9 \ud83d\ude00 line\n", "meta": {"domain": "web"}}' '{"id": 1.5e3, "text": "two", "tags": [null, true, {}]}' >lines
  printf '"model ""size""",tokens,loss\n1e6,2.5e7,4.1\r\n"2e6",\t3,3\n' >"$seeds/table/csv"
  printf '%s\n' '{"status":"finished","name":"a","parameters":1000,"tokens":20000,"flops_exact":1.3e8,"mixer":"mamba","backbone":null,"valid_loss":3.5,"domains":{"web":{"loss":3}}}' >"$seeds/table/runs"
  { printf '\x04'; cat lines; } >"$seeds/jsonl/lines"
  { printf '\x09'; printf 'a\n---\nb\n---\n'; } >"$seeds/jsonl/separated"
  { printf '\x02'; zstd -q -c lines; } >"$seeds/jsonl/zst"
  { printf '\x03'; gzip -c lines; } >"$seeds/jsonl/gz"
)

# Leaks are not looked for: the readers own their memory by containers, and LibTorch's and sentencepiece's globals are
# reported as leaks. Containers: LibTorch's code, which is not instrumented, shares them.
export ASAN_OPTIONS=detect_leaks=0:detect_container_overflow=0:allocator_may_return_null=0 UBSAN_OPTIONS=print_stacktrace=1 OMP_NUM_THREADS=1
if [ -d /dev/shm ] && [ -w /dev/shm ]; then export TMPDIR=/dev/shm; fi  # the readers' files, many a second
fuzz() {  # TARGET
  local name=$1 run=$runs/$1
  rm -rf "$run"
  mkdir -p "$run/corpus"
  # A finding's own report can take for ever (a full memory's), hence the outer limit.
  if timeout -s KILL $((seconds * 2 + 60)) "build/sanitize/tests/fuzz/${name}_fuzz" -seed="${FUZZ_SEED:-1}" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -malloc_limit_mb=512 -max_len=20000 \
    -print_final_stats=1 -artifact_prefix="$run/" "$run/corpus" "$seeds/$name" >"$run/log" 2>&1; then
    say "$name: $(awk '/stat::number_of_executed_units/ {print $2}' "$run/log") inputs in $seconds s, $(ls "$run/corpus" | wc -l) kept, no finding"
  else
    grep -vE '^#[0-9]|^NEW_FUNC' "$run/log" | tail -n 60 >&2
    say "$name: a finding; the input is $(ls "$run" | grep -E '^(crash|oom|timeout|leak)' | head -n 1), in $run"
    return 1
  fi
}
export -f fuzz say
export runs seeds seconds
targets=("$@")
if [ $# = 0 ]; then
  for file in tests/fuzz/*_fuzz.cpp; do file=$(basename "$file"); targets+=("${file%_fuzz.cpp}"); done
fi
printf '%s\n' "${targets[@]}" | xargs -P "$(tools/cores.sh)" -I{} bash -c 'fuzz {}' || { say "findings above"; exit 1; }
