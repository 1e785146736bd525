#!/usr/bin/env bash
# `ttt verify-resume`: two ranks with ZeRO-1, killed and resumed, also as one rank; its report; a difference is found.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail
die() { echo "FAILED: $*" >&2; exit 1; }
says() { grep -qF -- "$2" "$1" || { cat "$1" >&2; die "$1 does not say '$2'"; }; }
export OMP_NUM_THREADS=1

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >log.txt 2>&1
"$TTT" prepare --input "$SOURCE/src/base" --tokenizer t.model --output data >log.txt 2>&1
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, backbone: mamba, vocab_size: 512, hidden_size: 64, num_layers: 2, num_heads: 4, intermediate_size: 128}
data: {train: data}
train: {context: 64, batch_tokens: 512, micro_batch: 2, steps: 1000, threads: 1, device: cpu, dtype: fp32, tensorboard: false}
optim: {lr: 0.01, warmup_steps: 10}
dist: {zero: 1}
output_dir: run
YAML
"$TTT" verify-resume run.yaml --steps 12 --kills 2 --ranks 2 --other-ranks 1 --seed 5 >out.txt 2>errors.txt || { cat out.txt errors.txt >&2; die "exit code $?"; }
says out.txt EQUAL
[ ! -e run-verify-resume ] || die "the runs are left behind"
[ ! -e run ] || die "the run's own folder was touched"

code=0
"$TTT" verify-resume run.yaml --kills 0 >out.txt 2>errors.txt || code=$?
[ "$code" -eq 2 ] || die "exit code $code instead of 2 for --kills 0"
code=0
"$TTT" verify-resume run.yaml train.contxt=1 >out.txt 2>errors.txt || code=$?
[ "$code" -eq 2 ] || die "exit code $code instead of 2 for an unknown key"
says errors.txt "did you mean"
