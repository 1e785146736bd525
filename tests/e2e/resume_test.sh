#!/usr/bin/env bash
# A run that is killed and resumed, in its first epoch or later, ends with the same bytes as one that ran through.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }

# expect CODE COMMAND...: runs it, output to out.txt.
expect() {
  local code=$1 got=0
  shift
  "$@" >out.txt 2>&1 || got=$?
  [ "$got" -eq "$code" ] || { cat out.txt >&2; die "exit code $got instead of $code: $*"; }
}

# wait_until PID COMMAND...: until the command succeeds, at most 60 s, while the process lives.
wait_until() {
  local pid=$1 i
  shift
  for ((i = 0; i < 6000; ++i)); do
    if "$@"; then return 0; fi
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.01
  done
  die "waited 60 s for: $*"
}

newest() { ls -d "$1"/checkpoints/step_???????? 2>/dev/null | tail -n 1; }
has_newer() { [ "$(newest "$1")" != "$2" ]; }
has_steps() { [ -e "$1/metrics.jsonl" ] && [ "$(grep -c '"train"' "$1/metrics.jsonl")" -ge "$2" ]; }

# The numbers of each step that must not depend on being interrupted.
numbers() { grep '"kind":"train"' "$1/metrics.jsonl" | sed 's/,"seconds".*//'; }

same_end() {
  local file
  for file in model.safetensors optimizer-00000-of-00001.safetensors state.json; do
    cmp "$1/checkpoints/step_00000060/$file" "$2/checkpoints/step_00000060/$file" || die "$2 ended with another $file"
  done
  diff <(numbers "$1") <(numbers "$2") >diff.txt || { head diff.txt >&2; die "$2 has other metrics"; }
}

# About 60 samples of 64 tokens: an epoch is some 15 steps of 4.
"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; die "tokenizer"; }
head -c 9000 "$SOURCE/src/base/files.cpp" >text.cpp
"$TTT" prepare --input text.cpp --tokenizer t.model --output data >out.txt 2>&1 || { cat out.txt; die "prepare"; }
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, backbone: mamba, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data}
train: {context: 64, batch_tokens: 256, steps: 60, threads: 1, device: cpu, seed: 3}
optim: {lr: 0.01, warmup_steps: 10}
checkpoint: {every: 4, keep_last: 3}
output_dir: straight
YAML
expect 0 "$TTT" train run.yaml
[ "$(numbers straight | wc -l)" -eq 60 ] || die "not 60 steps in metrics.jsonl"
[ "$(ls -d straight/checkpoints/* | wc -l)" -eq 3 ] || die "keep_last: 3 left $(ls straight/checkpoints)"
samples=$(sed -n 's/.* epochs of \([0-9]*\) samples.*/\1/p' out.txt)
[ "${samples:-999}" -lt 120 ] || die "$samples samples: the run does not reach its second epoch"
[ -s straight/train.log ] || die "no train.log"

# Killed at random moments after a new checkpoint, until it gets through.
kills=0
for ((i = 0; i < 40; ++i)); do
  before=$(newest killed || true)
  "$TTT" train run.yaml output_dir=killed >killed.txt 2>&1 &
  pid=$!
  if [ "$kills" -lt 4 ] && wait_until "$pid" has_newer killed "$before"; then
    sleep "0.$(printf '%02d' $((RANDOM % 12)))"
    if kill -9 "$pid" 2>/dev/null; then kills=$((kills + 1)); fi
  fi
  code=0
  wait "$pid" 2>/dev/null || code=$?
  [ "$code" -eq 0 ] && break
  [ "$code" -eq 137 ] || { cat killed.txt >&2; die "exit code $code"; }
done
[ "$kills" -ge 1 ] || die "the run was never killed"
same_end straight killed
grep -q 'resuming from' killed/train.log || die "no run resumed"

# Killed before its first checkpoint: starts again.
"$TTT" train run.yaml output_dir=early checkpoint.every=0 >early.txt 2>&1 &
pid=$!
wait_until "$pid" has_steps early 3 || die "ended early"
kill -9 "$pid" 2>/dev/null || die "had ended"
wait "$pid" 2>/dev/null || true
[ -z "$(newest early)" ] || die "there is a checkpoint already"
expect 0 "$TTT" train run.yaml output_dir=early checkpoint.every=0
same_end straight early

# SIGTERM and SIGINT: the step is finished and saved, exit code 75, the same command goes on.
for signal in TERM INT; do
  "$TTT" train run.yaml "output_dir=$signal" checkpoint.every=0 >signal.txt 2>&1 &
  pid=$!
  wait_until "$pid" has_steps "$signal" 3 || die "ended early"
  # A second training in the same folder is refused and disturbs nothing.
  if [ "$signal" = TERM ]; then
    kill -STOP "$pid"
    expect 2 "$TTT" train run.yaml "output_dir=$signal"
    grep -q "another training is running in '$signal'" out.txt || { cat out.txt; die "no sentence about the other training"; }
    kill -CONT "$pid"
  fi
  kill "-$signal" "$pid"
  code=0
  wait "$pid" || code=$?
  [ "$code" -eq 75 ] || { cat signal.txt >&2; die "exit code $code after SIG$signal instead of 75"; }
  [ "$(basename "$(newest "$signal")")" = "$(printf 'step_%08d' "$(numbers "$signal" | wc -l)")" ] || die "the last step is not saved"
  expect 0 "$TTT" train run.yaml "output_dir=$signal" checkpoint.every=0
  same_end straight "$signal"
done

# A finished run says so and changes nothing; more steps go on from it.
sum=$(cat straight/metrics.jsonl | cksum)
expect 0 "$TTT" train run.yaml
grep -q 'is finished' out.txt || { cat out.txt; die "does not say that the run is finished"; }
[ "$(cat straight/metrics.jsonl | cksum)" = "$sum" ] || die "a finished run wrote metrics"
expect 0 "$TTT" train run.yaml train.steps=64
grep -q 'changed since: train.steps was 60, now 64: the run ends elsewhere' out.txt || { cat out.txt; die "does not list the changed key"; }
[ "$(numbers straight | wc -l)" -eq 64 ] || die "not 64 steps"
echo "ok: resumed after $kills kills"
