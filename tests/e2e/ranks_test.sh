#!/usr/bin/env bash
# Several processes train together over loopback: the curve of one process up to rounding, the same bits each time, over
# resumes with other numbers of processes, with ZeRO-1 and accumulation.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/ranks.sh"

# Bit for bit.
same_run() {  # A B
  local file
  for file in model.safetensors optimizer-00000-of-00001.safetensors state.json; do
    cmp "$1/checkpoints/step_00000012/$file" "$2/checkpoints/step_00000012/$file" || die "$2 ended with another $file than $1"
  done
  diff <(numbers "$1") <(numbers "$2") >diff.txt || { head diff.txt >&2; die "$2 has other metrics than $1"; }
}
# near A B: every loss and gradient norm, and the last validation, agree to a relative 1e-5. fp32 sums in another order
# differ by some 1e-7, and each step builds on the one before.
curve() { { grep '"train"' "$1/metrics.jsonl"; grep '"valid"' "$1/metrics.jsonl" | tail -n 1; } | grep -oE '"(loss|grad_norm)":[0-9.e-]+'; }
near() {
  paste <(curve "$1") <(curve "$2") | awk -F '[:\t]' -v pair="$1 and $2" '
      { ++count; d = ($2 - $4) / $2; if (d < 0) d = -d; if (d > worst) worst = d; if ($1 != $3 || !(d < 1e-5)) { print NR ": " $0; bad = 1 } }
      END { print pair ": " count " numbers, largest relative difference " worst; exit bad || count != 25 }' || die "$2 is another curve than $1"
}

# One process, two and four (which accumulate 4, 2 and 1 micro-batches) follow one curve.
"$TTT" train run.yaml output_dir=one >out.txt 2>&1 || { cat out.txt; die "one process"; }
ranks 2 two
ranks 4 four
near one two
near one four
# At an equal number of processes runs are equal, bit for bit, also with ZeRO-1, where each process saves its part of the moments.
ranks 2 again
same_run two again
ranks 2 zero dist.zero=1
"$TTT" diff two zero >diff.txt || { cat diff.txt >&2; die "ZeRO-1 is another run"; }
cmp {two,zero}/checkpoints/step_00000012/model.safetensors || die "ZeRO-1 ended with another model"
ls zero/checkpoints/step_00000012/optimizer-0000{0,1}-of-00002.safetensors >out.txt || die "not a file of moments from each process"
"$TTT" inspect zero >out.txt || { cat out.txt >&2; die "what ZeRO-1 saved is not whole"; }
# What they saved is what one process saves: without ZeRO-1 the run goes on to the same bytes.
ranks 2 back train.steps=8 optim.decay_steps=12 dist.zero=1
ranks 2 back optim.decay_steps=12
for file in model.safetensors optimizer-00000-of-00001.safetensors; do
  cmp {two,back}/checkpoints/step_00000012/$file || die "after ZeRO-1 the run ended with another $file"
done
[ "$(ls -A two | tr '\n' ' ')" = "$(ls -A one | tr '\n' ' ')" ] || die "another run folder than one process leaves"
grep -q '2 processes (ZeRO-1) on cpu with 1 threads' zero/train.log || die "train.log does not say who trains"
[ ! -s two.1.txt ] || { cat two.1.txt; die "rank 1 has something to say"; }
# Another number of processes goes on with the same samples and the same curve; with ZeRO-1 on the way.
ranks 2 mixed train.steps=4 optim.decay_steps=12
ranks 4 mixed train.steps=8 optim.decay_steps=12 dist.zero=1
"$TTT" train run.yaml output_dir=mixed optim.decay_steps=12 >out.txt 2>&1 || { cat out.txt; die "mixed"; }
near one mixed
# bf16 sums are other sums, and near.
ranks 2 rounded dist.reduce_dtype=bf16
cmp -s two/checkpoints/step_00000012/model.safetensors rounded/checkpoints/step_00000012/model.safetensors && die "bf16 sums have fp32's bits"
a=$(grep '"valid"' two/metrics.jsonl | tail -n 1 | grep -oE '"loss":[0-9.]+' | cut -d: -f2)
b=$(grep '"valid"' rounded/metrics.jsonl | tail -n 1 | grep -oE '"loss":[0-9.]+' | cut -d: -f2)
awk -v a="$a" -v b="$b" 'BEGIN { exit !((a - b) ^ 2 < 0.02 ^ 2) }' || die "bf16 sums: a loss of $b instead of $a"
echo ok
