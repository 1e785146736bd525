#!/usr/bin/env bash
# A run that is killed and resumed, in its first epoch or later, ends with the same bytes as one that ran through.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

said() { grep -q -- "$1" out.txt errors.txt || { cat out.txt errors.txt >&2; die "does not say '$1'"; }; }
newest() { ls -d "$1"/checkpoints/step_???????? 2>/dev/null | tail -n 1; }

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
make_tokens
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
samples=$(cat out.txt errors.txt | sed -n 's/.* epochs of \([0-9]*\) samples.*/\1/p')
[ "${samples:-999}" -lt 120 ] || die "$samples samples: the run does not reach its second epoch"
[ -s straight/train.log ] || die "no train.log"

# Killed four times, each at a random step, where it stopped itself; a save of the steps before may be under way.
for ((i = 0; i < 4; ++i)); do
  TTT_FAULT=stop@$((6 + 13 * i + RANDOM % 12)) "$TTT" train run.yaml output_dir=killed >killed.txt 2>&1 &
  pid=$!
  wait_until is_stopped "$pid"
  kill -9 "$pid"
  wait "$pid" 2>/dev/null || true
done
expect 0 "$TTT" train run.yaml output_dir=killed
same_end straight killed
grep -q 'resuming from' killed/train.log || die "no run resumed"

# Killed before its first checkpoint: starts again.
TTT_FAULT=stop@4 "$TTT" train run.yaml output_dir=early checkpoint.every=0 >early.txt 2>&1 &
pid=$!
wait_until is_stopped "$pid"
has_steps early 3 || die "not 3 steps"
kill -9 "$pid"
wait "$pid" 2>/dev/null || true
[ -z "$(newest early)" ] || die "there is a checkpoint already"
expect 0 "$TTT" train run.yaml output_dir=early checkpoint.every=0
same_end straight early

# SIGTERM, SIGINT and SIGHUP: the step is finished and saved, exit code 75, the same command goes on.
for signal in TERM INT HUP; do
  TTT_FAULT=stop@4 "$TTT" train run.yaml "output_dir=$signal" checkpoint.every=0 >signal.txt 2>&1 &
  pid=$!
  wait_until is_stopped "$pid"
  # A second training in the same folder is refused and disturbs nothing.
  if [ "$signal" = TERM ]; then
    expect 2 "$TTT" train run.yaml "output_dir=$signal"
    said "another training is running in '$signal'"
  fi
  kill "-$signal" "$pid"
  kill -CONT "$pid"
  code=0
  wait "$pid" || code=$?
  [ "$code" -eq 75 ] || { cat signal.txt >&2; die "exit code $code after SIG$signal instead of 75"; }
  [ "$(basename "$(newest "$signal")")" = "$(printf 'step_%08d' "$(numbers "$signal" | wc -l)")" ] || die "the last step is not saved"
  expect 0 "$TTT" train run.yaml "output_dir=$signal" checkpoint.every=0
  same_end straight "$signal"
done

# Under nohup, and with nobody who reads what it says (`| tee log`, and Ctrl-C ends tee, too): it trains on.
(trap '' HUP; TTT_FAULT=stop@4 exec "$TTT" train run.yaml output_dir=unread >/dev/null 2> >(head -n 1 >first.txt)) &
pid=$!
wait_until is_stopped "$pid"
kill -HUP "$pid"
kill -CONT "$pid"
code=0
wait "$pid" || code=$?
[ "$code" -eq 0 ] || die "exit code $code under nohup, without a reader"
same_end straight unread

# A finished run says so and changes nothing; more steps go on from it.
sum=$(cat straight/metrics.jsonl | cksum)
expect 0 "$TTT" train run.yaml
said 'is finished'
[ "$(cat straight/metrics.jsonl | cksum)" = "$sum" ] || die "a finished run wrote metrics"
expect 0 "$TTT" train run.yaml train.steps=64
said 'changed since: train.steps was 60, now 64: the run ends elsewhere'
[ "$(numbers straight | wc -l)" -eq 64 ] || die "not 64 steps"
echo ok
