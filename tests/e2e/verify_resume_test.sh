#!/usr/bin/env bash
# `ttt verify-resume`: two ranks with ZeRO-1, killed and resumed, also as one rank; its report; a difference is found.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

make_tokens "$SOURCE/src/base"
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, backbone: mamba, vocab_size: 512, hidden_size: 64, num_layers: 2, num_heads: 4, intermediate_size: 128}
data: {train: data}
train: {context: 64, batch_tokens: 512, micro_batch: 2, steps: 1000, threads: 1, device: cpu, dtype: fp32, tensorboard: false}
optim: {lr: 0.01, warmup_steps: 10}
dist: {zero: 1}
output_dir: run
YAML
expect 0 "$TTT" verify-resume run.yaml --steps 12 --kills 2 --ranks 2 --other-ranks 1 --seed 5
says out.txt "EQUAL: samples, loss and gradient norm of all 12 steps"
says out.txt "SAME CURVE: the same samples in all 12 steps"
[ ! -e run-verify-resume ] || die "the runs are left behind"
[ ! -e run ] || die "the run's own folder was touched"

expect 2 "$TTT" verify-resume run.yaml --kills 0
expect 2 "$TTT" verify-resume run.yaml --steps 3
says errors.txt "leaves no room for kills"
expect 2 "$TTT" verify-resume run.yaml train.contxt=1
says errors.txt "did you mean"
