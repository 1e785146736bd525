#!/usr/bin/env bash
# Several processes train together over loopback: the curve of one process up to rounding, the same bits each time, over
# resumes with other numbers of processes, with ZeRO-1 and accumulation; signals and deaths of a rank.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail
export OMP_NUM_THREADS=1

die() { echo "FAILED: $*" >&2; exit 1; }

port=$((20000 + $$ % 9000))
# start_ranks N NAME [key=value ...]: `ttt train run.yaml` as N ranks in the background, output to NAME.RANK.txt; their
# ids in pids.
start_ranks() {
  local n=$1 name=$2 rank
  shift 2
  port=$((port + 1))
  pids=()
  for ((rank = 0; rank < n; ++rank)); do
    RANK=$rank WORLD_SIZE=$n LOCAL_RANK=$rank LOCAL_WORLD_SIZE=$n MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
      "$TTT" train run.yaml "output_dir=$name" "$@" >"$name.$rank.txt" 2>&1 &
    pids+=($!)
  done
}
# end_ranks NAME CODE...: waits for them; rank R must have exited with the R-th code, or the last.
end_ranks() {
  local name=$1 rank code want
  shift
  for ((rank = 0; rank < ${#pids[@]}; ++rank)); do
    code=0
    wait "${pids[rank]}" 2>/dev/null || code=$?
    want=$1
    [ $# -eq 1 ] || shift
    [ "$code" -eq "$want" ] || { tail -n 5 "$name".*.txt >&2; die "rank $rank of $name: exit code $code instead of $want"; }
  done
}
ranks() { start_ranks "$@"; end_ranks "$2" 0; }
wait_until() {  # COMMAND...: at most 60 s
  local i
  for ((i = 0; i < 6000; ++i)); do
    if "$@"; then return 0; fi
    sleep 0.01
  done
  die "waited 60 s for: $*"
}
has_steps() { [ -e "$1/metrics.jsonl" ] && [ "$(grep -c '"train"' "$1/metrics.jsonl")" -ge "$2" ]; }

# What must be equal bit for bit.
numbers() { sed 's/,"seconds".*//' "$1/metrics.jsonl"; }
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

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; die "tokenizer"; }
head -c 9000 "$SOURCE/src/base/files.cpp" >text.cpp
"$TTT" prepare --input text.cpp --tokenizer t.model --output data >out.txt 2>&1 || { cat out.txt; die "prepare"; }
cat >run.yaml <<'YAML'
model: {mixer: [ttt_linear, mamba, attention], backbone: mamba, vocab_size: 512, hidden_size: 32, num_layers: 3, num_heads: 2, intermediate_size: 64}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 512, micro_batch: 2, steps: 12, threads: 1, device: cpu, dtype: fp32, seed: 3, eval_every: 6, eval_batches: 5, stats_every: 0}
optim: {lr: 0.01, warmup_steps: 2}
checkpoint: {every: 4, keep_last: 0}
dist: {timeout_seconds: 60}
YAML

# One process, two and four (which accumulate 4, 2 and 1 micro-batches) follow one curve.
"$TTT" train run.yaml output_dir=one >out.txt 2>&1 || { cat out.txt; die "one process"; }
ranks 2 two
ranks 4 four
near one two
near one four
# At an equal number of processes runs are equal, bit for bit, also with ZeRO-1, whose moments are whole when they are saved.
ranks 2 again
same_run two again
ranks 2 zero dist.zero=1
same_run two zero
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

# SIGTERM to one rank: all save and exit 75, and the same command goes on to the same end.
start_ranks 2 stopped checkpoint.every=0
wait_until has_steps stopped 3
kill -TERM "${pids[1]}"
end_ranks stopped 75
ranks 2 stopped checkpoint.every=0
for file in model.safetensors optimizer-00000-of-00001.safetensors; do
  cmp {two,stopped}/checkpoints/step_00000012/$file || die "the stopped run ended with another $file"
done
diff <(numbers two | sort) <(numbers stopped | sort) >diff.txt || { head diff.txt >&2; die "the stopped run has other metrics"; }

# kill -9 of one rank: the others say which one is gone, and the run resumes.
start_ranks 3 killed train.batch_tokens=384 train.steps=1000
wait_until has_steps killed 6
kill -9 "${pids[2]}"
end_ranks killed 1 1 137
grep -qE 'error: rank 0, step [0-9]+: .* failed, and rank 2 does not answer' killed.0.txt || { cat killed.0.txt; die "rank 0 does not name rank 2"; }
grep -qE 'rank 1, step [0-9]+: .* failed, and rank 2 does not answer' killed.1.txt || { cat killed.1.txt; die "rank 1 does not name rank 2"; }
ranks 3 killed train.batch_tokens=384 train.steps=12
grep -q 'resuming from' killed/train.log || die "the killed run did not resume"

# What does not fit is one sentence on every rank, and exit code 2.
start_ranks 3 unfit
end_ranks unfit 2
grep -q 'makes 8 sequences a step, which 3 processes in micro-batches of 2 cannot share evenly; use train.batch_tokens 384 or 768' unfit.1.txt ||
  { cat unfit.1.txt; die "no numbers that would fit"; }
[ ! -e unfit ] || die "a refused run left a folder"
pids=()
port=$((port + 1))
for rank in 0 1; do
  RANK=$rank WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$TTT" train run.yaml output_dir=differ optim.lr=0.0$((rank + 1)) >differ.$rank.txt 2>&1 &
  pids+=($!)
done
end_ranks differ 2
grep -q 'rank 1 has optim.lr 0.02 where rank 0 has optim.lr 0.01' differ.0.txt || { cat differ.0.txt; die "the key that differs is not named"; }
RANK=1 "$TTT" train run.yaml output_dir=differ >out.txt 2>&1 && die "RANK without WORLD_SIZE was taken"
grep -q 'RANK but not WORLD_SIZE' out.txt || { cat out.txt; die "no sentence about WORLD_SIZE"; }
# What rank 0 alone finds wrong ends all.
exec 9>two/.lock
flock -n 9 || die "flock"
start_ranks 2 two train.steps=14
end_ranks two 2
exec 9>&-
grep -q "another training is running in 'two'" two.0.txt || { cat two.0.txt; die "rank 0 does not say that the folder is taken"; }
grep -q "rank 0 stopped: another training is running in 'two'" two.1.txt || { cat two.1.txt; die "rank 1 does not say why"; }
echo ok
