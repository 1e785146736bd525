#!/usr/bin/env bash
# `ttt diff`: equal runs are equal although one was killed; runs with another setting part where it first tells. `ttt doctor` says what it is asked.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }

# expect CODE COMMAND...: runs it, output to out.txt and errors.txt.
expect() {
  local code=$1 got=0
  shift
  "$@" >out.txt 2>errors.txt </dev/null || got=$?
  [ "$got" -eq "$code" ] || { cat out.txt errors.txt >&2; die "exit code $got instead of $code: $*"; }
}
says() { grep -qF -- "$1" out.txt || { cat out.txt >&2; die "the output does not say '$1'"; }; }

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; die "tokenizer"; }
head -c 9000 "$SOURCE/src/base/files.cpp" >text.cpp
"$TTT" prepare --input text.cpp --tokenizer t.model --output data >out.txt 2>&1 || { cat out.txt; die "prepare"; }
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data}
train: {context: 64, batch_tokens: 256, steps: 20, threads: 1, device: cpu, digest_every: 4}
optim: {lr: 0.01, warmup_steps: 4}
checkpoint: {every: 6}
output_dir: a
YAML
expect 0 "$TTT" train run.yaml --quiet
[ "$(wc -l <a/ledger.jsonl)" -eq 20 ] || die "not a line a step in the ledger"

# Stopped, then cut back by a resume from an older checkpoint: the ledger is that of a run that went through.
expect 0 "$TTT" train run.yaml --quiet output_dir=b train.steps=15 optim.decay_steps=20
rm -r b/checkpoints/step_00000015
expect 0 "$TTT" train run.yaml --quiet output_dir=b optim.decay_steps=20
[ "$(grep -c '"step":13,' b/ledger.jsonl)" -eq 1 ] || die "step 13 is not in the ledger once"
expect 0 "$TTT" diff a b
says "equal, bit for bit, in all 20 steps"
says "equal at all 5 steps where both were hashed"
says "config: optim.decay_steps is 0 and 20"

# Another learning rate: the same samples; the loss of the third step is the first to tell (the first update has a rate of 0).
expect 0 "$TTT" train run.yaml --quiet output_dir=c optim.lr=0.02
expect 1 "$TTT" diff a c
says "the runs part at step 3, in: loss, grad_norm"
says "config: optim.lr is 0.01 and 0.02"
expect 1 "$TTT" diff a c --json
says '"first_other_parameters":4'
# Another order of the samples tells at once.
expect 0 "$TTT" train run.yaml --quiet output_dir=d data.order=sequential
expect 1 "$TTT" diff a d
says "the runs part at step 1, in: samples, loss"
expect 2 "$TTT" diff a data
grep -q "has no ledger.jsonl" errors.txt || { cat errors.txt >&2; die "no sentence about the missing ledger"; }

# --- ttt doctor ---
mkdir place
expect 0 "$TTT" doctor --folder place --disk-mb 8
for word in "cores" "memory" "is taken" "GFLOP/s in fp32" "GB/s" "free in 'place'"; do says "$word"; done
[ -z "$(ls -A place)" ] || die "doctor left its test file"
for word in "2, all on this machine, over Gloo" "all-reduce" "reduce-scatter" "all-gather" "GB/s sent by each rank"; do says "$word"; done
expect 0 "$TTT" launch -n 3 -- doctor --folder place --disk-mb 0 --json
says '"gemm_gflops":{"fp32":{"median":'
says '"ranks":3,"ranks_here":3'
echo "ok"
