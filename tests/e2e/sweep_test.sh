#!/usr/bin/env bash
# A sweep of 2 x 2 small trainings: its costs beforehand, killed half-way, resumed, a failing run shown and retried, a Slurm array.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

# expect CODE COMMAND...: runs it, output to out.txt.
expect() {
  local code=$1 got=0
  shift
  "$@" >out.txt 2>&1 || got=$?
  [ "$got" -eq "$code" ] || { cat out.txt >&2; die "exit code $got instead of $code: $*"; }
}
says() { grep -qE -- "$1" out.txt || { cat out.txt >&2; die "the output has no '$1'"; }; }
# status NAME: of a run, from runs.jsonl
status() { sed -n "s/.*\"name\":\"$1\",\"status\":\"\([a-z]*\)\".*/\1/p" out/runs.jsonl; }
steps_of() { grep -c '"kind":"train"' "out/$1/metrics.jsonl" 2>/dev/null || true; }

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >log.txt 2>&1 || { cat log.txt; die "tokenizer"; }
"$TTT" prepare --input "$SOURCE/src/base" --tokenizer t.model --output data --valid-fraction 0.1 >log.txt 2>&1 || { cat log.txt; die "prepare"; }

cat >base.yaml <<'YAML'
model: {vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data/train, valid: data/valid}
train: {context: 64, batch_tokens: 256, steps: 100, threads: 1, device: cpu, eval_batches: 4, tensorboard: false}
optim: {lr: 0.01}
checkpoint: {every: 5, keep_last: 1}
YAML
cat >sweep.yaml <<'YAML'
base: base.yaml
output_dir: out
axes:
  mixer: {attention: {model.mixer: attention}, ttt_linear: {model.mixer: ttt_linear}}
  train.seed: [1, 2]
YAML

# --- before anything runs ---
expect 0 "$TTT" sweep sweep.yaml --dry-run
says '^attention_seed1 +pending '
says '^4 runs '
says 'speed: unknown'
[ ! -e out ] || die "--dry-run made the output folder"
expect 0 "$TTT" sweep sweep.yaml --dry-run --tokens-per-second 1000 --json
says '"name":"ttt_linear_seed2".*"hours":'
expect 2 "$TTT" sweep swep.yaml
says "did you mean 'sweep.yaml'"
expect 2 "$TTT" sweep sweep.yaml --run attention_seed9
says "did you mean 'attention_seed"
expect 2 "$TTT" sweep sweep.yaml train.stepz=3
says "did you mean 'train.steps'"

# --- SIGTERM: the training saves, the sweep exits with 75 ---
TTT_FAULT=stop@8 "$TTT" sweep sweep.yaml >stopped.txt 2>&1 &
sweep=$!
wait_until stopped_trainings 1
kill -TERM "$sweep"
wait_until told "${stopped[0]}"
kill -CONT "${stopped[@]}"
code=0; wait "$sweep" || code=$?
[ "$code" = 75 ] || { cat stopped.txt; die "exit code $code after SIGTERM instead of 75"; }
grep -q '"status":"interrupted"' out/runs.jsonl || grep -q '"status":"pending"' out/runs.jsonl || die "nothing was left to do"

# --- SIGKILL in the middle: the children do not outlive it ---
TTT_FAULT=stop@60 "$TTT" sweep sweep.yaml --jobs 2 >killed.txt 2>&1 &
sweep=$!
wait_until stopped_trainings 2
kill -CONT "${stopped[@]}"
half_way() { [ "$(grep -o '"status":"finished"' out/runs.jsonl | wc -l)" = 2 ] && stopped_trainings 2; }
wait_until half_way
expect 2 "$TTT" sweep sweep.yaml   # a second one is refused meanwhile
says 'another sweep is running'
kill_sweep

# --- and on: finished runs are not trained again, the others resume from their checkpoints ---
expect 0 "$TTT" sweep sweep.yaml
says '^attention_seed1 +finished '
says 'every run, as JSON: out/runs.jsonl'
[ "$(wc -l <out/runs.jsonl)" = 4 ] || die "runs.jsonl has not 4 lines"
for run in attention_seed1 attention_seed2 ttt_linear_seed1 ttt_linear_seed2; do
  [ "$(status $run)" = finished ] || die "$run is $(status $run)"
  [ "$(steps_of $run)" = 100 ] || die "$run has $(steps_of $run) steps in its metrics"
  grep "\"name\":\"$run\"" out/runs.jsonl | grep -Eq '"valid_loss":[0-9.]+,"perplexity":[0-9.]+,"bits_per_byte":[0-9.]+' || die "$run has no result"
done
grep -q 'resuming from' out/attention_seed1/train.log || die "attention_seed1 did not resume"
grep -q 'resuming from' out/ttt_linear_seed2/train.log || die "ttt_linear_seed2 did not resume"
grep -Eq '"config_hash":"[0-9a-f]{16}","git_revision":"[0-9a-f]+' out/runs.jsonl || die "no hash or revision in runs.jsonl"

# The same numbers as a run that was never interrupted.
expect 0 "$TTT" train out/attention_seed1/sweep.yaml output_dir=straight
cmp straight/checkpoints/step_00000100/model.safetensors out/attention_seed1/checkpoints/step_00000100/model.safetensors ||
  die "interrupting changed the model"

# Nothing is left to do.
expect 0 "$TTT" sweep sweep.yaml --json
says '"status":"finished"'
[ "$(steps_of attention_seed1)" = 100 ] || die "a finished run was trained again"
expect 0 "$TTT" sweep sweep.yaml --dry-run
says 'measured in the run itself'

# --- a failing run is shown, counted, and retried on request only ---
mv data/valid away
expect 1 "$TTT" sweep sweep.yaml train.seed=5 output_dir=bad --only 'attention*'
says '^attention_seed1 +failed '
says "attention_seed1: .*data/valid"
mv away data/valid
expect 1 "$TTT" sweep sweep.yaml train.seed=5 output_dir=bad --only 'attention*'
says 'not tried again \(--retry-failed does\)'
expect 0 "$TTT" sweep sweep.yaml train.seed=5 output_dir=bad --only 'attention*' --retry-failed --jobs 2
says '^attention_seed2 +finished '

# --- one task of a Slurm array, with a scheduler that only writes down what it is given ---
mkdir bin; printf '#!/bin/bash\ncp "$1" submitted.sh; echo "Submitted batch job 7"\n' >bin/sbatch; chmod +x bin/sbatch
printf 'slurm: {partition: gpu}\n' >>sweep.yaml
expect 0 "$TTT" sweep sweep.yaml output_dir=array train.steps=3 --slurm
says '4 runs: sbatch array/sweep.sbatch'
[ ! -e submitted.sh ] || die "--slurm submitted without --submit"
PATH=$PWD/bin:$PATH expect 0 "$TTT" sweep sweep.yaml output_dir=array train.steps=3 --slurm --submit
grep -q '^#SBATCH --partition=gpu$' submitted.sh || die "no partition in the script"
SLURM_ARRAY_TASK_ID=2 expect 0 bash submitted.sh
says '^ttt_linear_seed1 +finished '
expect 0 "$TTT" sweep sweep.yaml output_dir=array train.steps=3 --slurm
grep -q '^#SBATCH --array=0,1,3$' array/sweep.sbatch || die "the finished run is in the next array: $(grep array= array/sweep.sbatch)"
echo "ok"
