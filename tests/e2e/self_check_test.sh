#!/usr/bin/env bash
# The self-check, with the rows made for CPUs in the place of a GPU's: what computes wrong numbers, aborts or hangs in the
# child is not used, with one loud line; the verdict is kept, once for all processes; who forces such a row is told why.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/ranks.sh"

export TTT_SELF_CHECK_DEVICE=cpu XDG_CACHE_HOME=$PWD/cache
export TTT_SELF_CHECK_SECONDS=90  # for machines that are busy; a check takes a hundredth of a second
run=("$TTT" train run.yaml train.steps=2 train.eval_every=0 checkpoint.every=0)
log() { cat "$1/train.log"; }
verdicts() { find cache -name 'self_check_*.json' 2>/dev/null | wc -l; }
times() { grep -cF -- "$2" "$1" || true; }  # FILE TEXT

# judge_fault KIND TEXT OUTPUT: of a run in the folder KIND, with a fault of that kind in swiglu's row. It has ended well on another
# row, and said so once, on standard error, which is in OUTPUT.
judge_fault() {
  local kind=$1 text=$2 output=$3
  [ "$(times "$output" 'kernel fused of swiglu is NOT used on CPU: in the self-check it')" -eq 1 ] || { cat "$output"; die "no line, or several, of $kind"; }
  [ "$(times "$output" NOT)" -eq 1 ] || { cat "$output"; die "other rows failed, too"; }
  says "$output" "warning: self-check: kernel fused of swiglu"
  says "$output" "$text"
  says "$output" "swiglu runs on composed. Please report"
  grep -q 'rows agree with fp64' "$output" || die "no word of the others"
  grep -q 'kernel fused of swiglu is NOT used' "$kind/train.log" || die "the log does not say it"
  grep -q 'swiglu runs on kernel composed' "$kind/train.log" || { log "$kind"; die "another kernel than composed"; }
  grep -q 'rms_norm runs on kernel fused' "$kind/train.log" || { log "$kind"; die "the other rows are not used either"; }
}

# A row that hangs is waited for beside the other runs, and keeps its verdict elsewhere. With so short a limit for all, others would fail
# where the machine is busy.
TTT_SELF_CHECK_FAULT=swiglu/fused:hang TTT_SELF_CHECK_SECONDS=15 XDG_CACHE_HOME=$PWD/cache_of_hang "${run[@]}" output_dir=hang \
  >hang.txt 2>hang_errors.txt </dev/null &
hanging=$!

# Without the variable a run on a CPU has no self-check.
expect 0 env -u TTT_SELF_CHECK_DEVICE "${run[@]}" output_dir=none
[ ! -e cache ] && ! grep -q self-check errors.txt || die "a self-check on a CPU"

# All is well: one line, and the verdict is kept. The second run has it from there.
expect 0 "${run[@]}" output_dir=first
grep -Eq 'self-check: [0-9]+ fused rows agree with fp64 \([0-9.]+ s; kept for CPU\)' errors.txt || { cat errors.txt; die "no line"; }
[ "$(verdicts)" -eq 1 ] || die "not one verdict"
expect 0 "${run[@]}" output_dir=second
! grep -q self-check errors.txt || die "it is said on the terminal again"
grep -q "rows agree with fp64 (on CPU, as 'cache\|rows agree with fp64 (on CPU, as '$PWD/cache" second/train.log || { log second; die "the log does not say whence the verdict is"; }
cmp {first,second}/checkpoints/step_00000002/model.safetensors || die "the self-check changes the run"
cmp {none,first}/checkpoints/step_00000002/model.safetensors || die "the self-check changes the run"
expect 0 "$TTT" doctor --disk-mb 0 --ranks 1
grep -Eq "^ +self-check +[0-9]+ of [0-9]+ fused rows agree with fp64 on CPU; kept in '" out.txt || { cat out.txt; die "doctor does not show it"; }

# A damaged file is as none.
file=$(find cache -name 'self_check_*.json')
head -c 100 "$file" >cut && mv cut "$file"
expect 0 "${run[@]}" output_dir=damaged
says errors.txt 'kept for CPU'
[ "$(stat -c %s "$file")" -gt 100 ] || die "the damaged verdict is still there"

# fault KIND TEXT: runs with a fault of that kind.
fault() {
  export TTT_SELF_CHECK_FAULT=swiglu/fused:$1
  expect 0 "${run[@]}" "output_dir=$1"
  judge_fault "$1" "$2" errors.txt
}
fault wrong 'computed wrong numbers: its output was off by 0.5'
[ "$(verdicts)" -eq 2 ] || die "the verdict about a planted fault is not one of its own"
expect 0 "${run[@]}" output_dir=kept
says errors.txt 'kernel fused of swiglu is NOT used'  # as loud from the file
says errors.txt "Removing '"
! grep -q 'in a process of their own' errors.txt || die "it was checked again"
expect 0 "$TTT" doctor --disk-mb 0 --ranks 1
grep -Eq '^ +swiglu +fused +in the self-check it computed wrong numbers' out.txt && grep -Eq '^ +swiglu +composed +is taken' out.txt &&
  grep -Eq '^ +NOT used: swiglu/fused computed' out.txt || { cat out.txt; die "doctor does not show the fault"; }
expect 0 "$TTT" doctor --disk-mb 0 --ranks 1 --json
grep -q '"self_check":{.*"row":"swiglu/fused","state":"fails"' out.txt || die "nor its JSON"
expect 0 "$TTT" bench op swiglu --heads 1 --head-dim 16 --context 20 --repeats 1 --threads 1
says out.txt 'left out: fused: in the self-check it computed'
expect 0 "$TTT" bench op swiglu --heads 1 --head-dim 16 --context 20 --repeats 1 --threads 1 --no-self-check
grep -q '^fused ' out.txt || die "bench op --no-self-check does not use it"
expect 0 "$TTT" bench op swiglu --check --row fused --threads 1  # looks into it all the same

# Who forces the row is told why not, or takes it at his own risk.
expect 2 "${run[@]}" output_dir=forced train.kernels=swiglu=fused
says errors.txt 'error: kernel fused of swiglu, set by train.kernels, is not to be trusted: in the self-check it computed wrong numbers'
expect 2 env TTT_KERNELS=swiglu=fused "${run[@]}" output_dir=forced
says errors.txt 'set by the environment variable TTT_KERNELS, is not to be trusted'
expect 0 "${run[@]}" output_dir=forced --no-self-check train.kernels=swiglu=fused
says errors.txt 'self-check: left out; rows are used unchecked'
expect 0 "${run[@]}" output_dir=key train.self_check=false
grep -q 'swiglu runs on kernel fused' key/train.log || { log key; die "train.self_check: false does not use it"; }

# eval, generate and bench go by it, too.
for command in "eval --checkpoint none --data data --max-samples 1" "generate --checkpoint none x --max-tokens 1" \
  "bench model run.yaml --context 32 --batch-tokens 64 --steps 1" "bench decode run.yaml --prompts 8 --tokens 1 --repeats 1"; do
  read -ra words <<<"$command"
  expect 0 "$TTT" "${words[@]}" --threads 1
  [ "$(times errors.txt 'kernel fused of swiglu is NOT used')" -eq 1 ] || { cat errors.txt; die "not a word from: $command"; }
  expect 0 "$TTT" "${words[@]}" --threads 1 --no-self-check
  ! grep -q NOT errors.txt || die "--no-self-check is nothing to: $command"
done

fault abort 'crashed: signal 6, Aborted (2 x 3 heads of 64, 37 tokens, fp32)'

# Nothing can be kept: it is checked all the same, each time.
unset TTT_SELF_CHECK_FAULT
expect 0 env XDG_CACHE_HOME=/dev/null "${run[@]}" output_dir=unkept
says errors.txt 'not kept'
# The child cannot be made sense of: the rows are used, and that is said.
expect 0 env TTT_SELF_CHECK_FAULT=nonsense "${run[@]}" output_dir=unchecked
says errors.txt 'warning: self-check: could not be done (its process ended early: TTT_SELF_CHECK_FAULT "nonsense" is not OP/ROW:wrong'
grep -q 'swiglu runs on kernel fused' unchecked/train.log || die "the rows are not used"

# Several processes that start at a time check once, and the ranks of a job agree.
rm -rf cache
for i in 1 2 3 4; do "$TTT" eval --checkpoint none --data data --max-samples 1 --threads 1 >"many.$i.txt" 2>&1 & pids[i]=$!; done
for i in 1 2 3 4; do wait "${pids[i]}" || { cat "many.$i.txt"; die "process $i"; }; done
[ "$(cat many.*.txt | grep -c 'in a process of their own')" -eq 1 ] || { grep self-check many.*.txt; die "more than one check, or none"; }
[ "$(verdicts)" -eq 1 ] || die "not one verdict of many"
rm -rf cache
TTT_SELF_CHECK_FAULT=rope/fused:abort,rms_norm/fused:wrong ranks 2 pair train.steps=2
[ "$(cat pair.*.txt | grep -c 'kernel fused of rms_norm is NOT used')" -eq 1 ] || { cat pair.*.txt; die "ranks say it as often as they are"; }
grep -q 'rms_norm runs on kernel composed' pair/train.log || die "rank 0 uses it"
# One rank alone finds a fault: nobody uses the row.
port=$((port + 1))
pids=()
for rank in 0 1; do
  RANK=$rank WORLD_SIZE=2 LOCAL_RANK=$rank LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port \
    TTT_SELF_CHECK_FAULT=$([ $rank = 0 ] || echo swiglu/fused:wrong) "$TTT" train run.yaml output_dir=odd train.steps=2 >"odd.$rank.txt" 2>&1 &
  pids+=($!)
done
end_ranks odd 0
grep -q 'kernel fused of swiglu is NOT used on CPU: in the self-check it computed wrong numbers.*(on rank 1, CPU)' odd/train.log || { cat odd.*.txt; die "rank 0 does not say what rank 1 found"; }
grep -q 'swiglu runs on kernel composed' odd/train.log || die "rank 0 uses what failed on rank 1"
! find cache -name '*.tmp' | grep -q . || die "a half-written verdict is left"

code=0
wait "$hanging" || code=$?
[ "$code" -eq 0 ] || { cat hang.txt hang_errors.txt; die "exit code $code with a row that hangs"; }
judge_fault hang 'hung: no answer in 15 s (2 x 3 heads of 64, 37 tokens, fp32)' hang_errors.txt
echo ok
