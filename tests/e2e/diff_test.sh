#!/usr/bin/env bash
# `ttt diff`: equal runs are equal although one was killed; runs with another setting part where it first tells. `ttt doctor` says what it is asked.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

make_tokens
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
says out.txt "equal, bit for bit, in all 20 steps"
says out.txt "equal at all 5 steps where both were hashed"
says out.txt "config: optim.decay_steps is 0 and 20"

# Another learning rate: the same samples; the loss of the third step is the first to tell (the first update has a rate of 0).
expect 0 "$TTT" train run.yaml --quiet output_dir=c optim.lr=0.02
expect 1 "$TTT" diff a c
says out.txt "the runs part at step 3, in: loss, grad_norm"
says out.txt "config: optim.lr is 0.01 and 0.02"
expect 1 "$TTT" diff a c --json
says out.txt '"first_other_parameters":4'
# Another order of the samples tells at once.
expect 0 "$TTT" train run.yaml --quiet output_dir=d data.order=sequential
expect 1 "$TTT" diff a d
says out.txt "the runs part at step 1, in: samples, loss"
expect 2 "$TTT" diff a data
says errors.txt "has no ledger.jsonl"

# --- ttt doctor ---
expect 2 "$TTT" doctor --folder place
says errors.txt "there is no folder 'place'"
[ ! -e place ] || die "doctor made the folder that it was to measure"
mkdir place
expect 0 "$TTT" doctor --folder place --disk-mb 8
for word in "cores" "memory" "is taken" "in fp32 (" "in bf16 (" "GB/s" "free in 'place'"; do says out.txt "$word"; done
[ -z "$(ls -A place)" ] || die "doctor left its test file"
for word in "2, all on this machine, over Gloo" "all-reduce" "reduce-scatter" "all-gather" "GB/s sent by each rank"; do says out.txt "$word"; done
expect 0 "$TTT" launch -n 3 -- doctor --folder place --disk-mb 0 --json
says out.txt '"gemm_gflops":{"fp32":{"median":'
says out.txt '"ranks":3,"ranks_here":3'

# --- without bf16 instructions, which libraries can be told to leave out ---
slow=(env ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2)
bf16=(train run.yaml train.dtype=bf16 output_dir=bf16 optim.warmup_steps=1 optim.decay_steps=20)
if [ "$(uname -m)" = x86_64 ]; then
  expect 0 "${slow[@]}" "$TTT" doctor --folder place --disk-mb 0 --ranks 1
  says out.txt "bf16 is multiplied through fp32 here"
  expect 0 "${slow[@]}" "$TTT" "${bf16[@]}" train.steps=2
  says bf16/train.log "train.bf16_products: fp32_panels (auto)"
  expect 0 "$TTT" "${bf16[@]}" train.steps=4  # perhaps on another machine
  says bf16/train.log "fp32_panels (as the run began)"
  grep -q fp32_panels bf16/checkpoints/step_*/state.json || die "the run did not keep its products"
  expect 0 "${slow[@]}" "$TTT" train run.yaml train.dtype=bf16 output_dir=native train.bf16_products=native train.steps=2 \
    optim.warmup_steps=1
  says errors.txt "times slower on this machine than fp32_panels"
  expect 0 "${slow[@]}" "$TTT" eval --checkpoint bf16 --data data --dtype bf16 --context 32 --json
fi
expect 2 "$TTT" "${bf16[@]}" train.bf16_products=nativ
says errors.txt "native"
echo "ok"
