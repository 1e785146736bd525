#!/usr/bin/env bash
# What clusters do to a training, done to small ones here, in a random order: after each fault the run must end or go on as promised, and what it
# ends with must be, byte for byte, what an undisturbed run ends with. Prints a line a round and a table; exit code 1 when anything was lost.
#
# usage: tools/fault_suite.sh [--rounds N] [--seed S] [--ranks W] [--steps N] [--only FAULT[,FAULT...]] [--keep]
#     default: 100 rounds, 2 ranks, trainings of 40 steps (at least 20), every fault that this machine can be given (--list names them)
# environment: TTT, the binary (default build/ttt)
set -euo pipefail
source_dir=$(cd "$(dirname "$0")/.." && pwd)
TTT=$(realpath "${TTT:-$source_dir/build/ttt}")
all_faults=(kill_rank kill_launcher kill_in_save term_storm stop_rank disk_full flipped_byte truncated_file missing_file damaged_shard nan_gradient
            unreachable_rank clock_jump)
rounds=100 seed=$RANDOM ranks=2 steps=40 only='' keep=0
while [ $# -gt 0 ]; do
  case $1 in
    --rounds) rounds=$2; shift 2 ;;
    --seed) seed=$2; shift 2 ;;
    --ranks) ranks=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    --only) only=$2; shift 2 ;;
    --keep) keep=1; shift ;;
    --list) printf '%s\n' "${all_faults[@]}"; exit 0 ;;
    -h | --help) sed -n '2,8s/^# \{0,1\}//p' "$0"; exit 0 ;;
    *) echo "error: unknown option $1; see --help" >&2; exit 2 ;;
  esac
done
case $steps in '' | *[!0-9]*) echo "error: --steps is a number, not '$steps'" >&2; exit 2 ;; esac
[ "$steps" -ge 20 ] || { echo "error: --steps is at least 20, so that there are checkpoints before a fault and steps behind it" >&2; exit 2; }
[ -x "$TTT" ] || { echo "error: no program at '$TTT'; build it (tools/build.sh) or set TTT" >&2; exit 2; }
command -v pgrep >/dev/null || { echo "error: the program pgrep is missing; install the package procps" >&2; exit 2; }
RANDOM=$seed
scratch=$(mktemp -d)
cleanup() {
  local status=$?
  for pid in $(jobs -p); do kill -9 "$pid" 2>/dev/null || true; done
  remove_network
  if [ "$keep" = 1 ] || [ "$status" -ne 0 ]; then echo "the runs are in $scratch"; else rm -rf "$scratch"; fi
}
remove_network() {
  for space in "${spaces[@]:-}"; do
    [ -n "$space" ] || continue
    kill -9 "$space" 2>/dev/null || true
    wait "$space" 2>/dev/null || true
  done
  spaces=()
}
spaces=()  # processes that keep a network namespace each
trap cleanup EXIT
cd "$scratch"
export OMP_NUM_THREADS=1

lost() { echo "LOST: $*" >&2; failed_now=1; }
random_between() { echo $(($1 + RANDOM % ($2 - $1 + 1))); }
pause() { sleep "$1.$(printf '%02d' $((RANDOM % 100)))"; }  # SECONDS and up to one more

# --- the run: steps of some tens of milliseconds, a checkpoint every 4 (config.yaml names the folder, and so its hashes differ) ---
prepare_run() {
  "$TTT" tokenizer train --input "$source_dir/src/base" --output t.model --vocab-size 512 >log.txt 2>&1
  "$TTT" prepare --input "$source_dir/src/base" --tokenizer t.model --output data >log.txt 2>&1
  cat >run.yaml <<YAML
model: {mixer: [ttt_linear, attention], backbone: mamba, vocab_size: 512, hidden_size: 128, num_layers: 4, num_heads: 4, intermediate_size: 256}
data: {train: data}
train: {context: 64, batch_tokens: 1024, micro_batch: 4, steps: $steps, threads: 1, device: cpu, dtype: fp32, seed: 3, tensorboard: false, digest_every: 5}
optim: {lr: 0.01, warmup_steps: 10}
checkpoint: {every: 4, keep_last: 4}
dist: {zero: 1, timeout_seconds: 60}
output_dir: run
YAML
}
last_step() { printf 'step_%08d' "$steps"; }
# launch DIR [OPTION...]: the training in DIR, in the foreground. Its output: DIR.txt.
launch() {
  local dir=$1
  shift
  "$TTT" launch -n "$ranks" --grace 5 "$@" -- train run.yaml "output_dir=$dir" "${extra[@]}" >>"$dir.txt" 2>&1 </dev/null
}
extra=()  # settings
silent=dist.timeout_seconds=6  # where a rank gives no answer: that soon the others notice
start() {  # DIR [OPTION...]: the same in the background; its pid: $pid
  launch "$@" 2>/dev/null &  # the shell would say "Killed"
  pid=$!
  # The subshell's child is the launcher.
  launcher=''
  for _ in $(seq 200); do
    launcher=$(pgrep -P "$pid" | head -n 1) && [ -n "$launcher" ] && break
    sleep 0.01
  done
}
recorded() { grep -c '"kind":"train"' "$1/metrics.jsonl" 2>/dev/null || true; }
wait_for_step() {  # DIR STEP: until that step is recorded, while the run lives
  for _ in $(seq 2400); do
    [ "$(recorded "$1")" -ge "$2" ] 2>/dev/null && return 0
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.05
  done
  lost "no step $2 in two minutes"
  return 1
}
ranks_of() { pgrep -P "$launcher" || true; }
random_rank() { ranks_of | shuf -n 1 --random-source=<(yes "$RANDOM"); }
end_of() { code=0; wait "$pid" || code=$?; }  # of $pid: $code
expect_code() { [[ " $1 " == *" $code "* ]] || lost "exit code $code instead of $1 ($2)"; }
finish() {  # DIR: the same command until it is done
  for _ in 1 2 3; do
    code=0
    launch "$1" || code=$?
    [ "$code" -eq 75 ] || break
  done
  [ "$code" -eq 0 ] || lost "the run does not go on: exit code $code"
}
newest() { ls -d "$1"/checkpoints/step_???????? 2>/dev/null | tail -n 1; }
same_as() {  # UNDISTURBED DIR
  local file a b
  for file in "$1/checkpoints/$(last_step)"/*; do
    case $(basename "$file") in config.yaml | manifest.json | COMPLETE) continue ;; esac
    cmp -s "$file" "$2/checkpoints/$(last_step)/$(basename "$file")" || lost "another $(basename "$file") than an undisturbed run's"
  done
  "$TTT" diff "$1" "$2" >diff.txt 2>&1 || lost "$(head -n 3 diff.txt | tr '\n' ' ')"
}
no_rank_left() {  # DIR: within 10 s
  for _ in $(seq 100); do
    pgrep -f "output_dir=$1( |\$)" >/dev/null || return 0
    sleep 0.1
  done
  lost "processes of the run are left behind"
}

# --- the faults: each leaves a finished run in $dir ---
fault_kill_rank() {
  start "$dir" --max-restarts 3
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  victim=$(random_rank)
  [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
  end_of
  expect_code 0 "with --max-restarts"
}
fault_kill_launcher() {
  start "$dir"
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  kill -9 "$launcher" 2>/dev/null || true
  end_of
  no_rank_left "$dir"
  finish "$dir"
}
fault_kill_in_save() {
  start "$dir" --max-restarts 3
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  for _ in $(seq 3000); do
    ls -d "$dir"/checkpoints/*.tmp >/dev/null 2>&1 && break
    kill -0 "$pid" 2>/dev/null || break
  done
  victim=$(random_rank)
  [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
  end_of
  expect_code 0 "with --max-restarts"
}
fault_term_storm() {
  start "$dir"
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  for _ in 1 2 3 4 5; do
    kill -TERM "$launcher" 2>/dev/null || true
    victim=$(random_rank)
    [ -z "$victim" ] || kill -TERM "$victim" 2>/dev/null || true
    sleep 0.0$((RANDOM % 9 + 1))
  done
  end_of
  expect_code "75 0" "after SIGTERM"
  finish "$dir"
}
fault_stop_rank() {
  extra=("$silent")
  start "$dir" --max-restarts 3
  extra=()
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  victim=$(random_rank)
  [ -z "$victim" ] || kill -STOP "$victim" 2>/dev/null || true
  end_of
  expect_code 0 "with --max-restarts"
  grep -q 'rank' "$dir.txt" || lost "nothing says which rank did not answer"
}
fault_disk_full() {  # a limit on the size of files, which the largest of a checkpoint passes
  local limit
  limit=$(($(stat -c %s "straight/checkpoints/$(last_step)/model.safetensors") / 2 / 1024))
  pid='' code=0
  (ulimit -f "$limit"; exec "$TTT" launch -n "$ranks" --grace 5 -- train run.yaml "output_dir=$dir" >>"$dir.txt" 2>&1 </dev/null) || code=$?
  expect_code 1 "on a full disk"
  finish "$dir"
}
stop_half_way() {
  start "$dir"
  wait_for_step "$dir" "$(random_between 10 $((steps - 10)))" || true
  for _ in $(seq 600); do  # what is damaged has one before it, which may still be on its way to the disk
    [ "$(ls "$dir"/checkpoints/step_????????/COMPLETE 2>/dev/null | wc -l)" -lt 2 ] && kill -0 "$pid" 2>/dev/null || break
    sleep 0.05
  done
  kill -9 "$launcher" 2>/dev/null || true
  end_of
  no_rank_left "$dir"
}
random_file() { find "$(newest "$dir")" -type f | sort | shuf -n 1 --random-source=<(yes "$RANDOM"); }
is_set_aside() {  # WHAT CHECKPOINT
  finish "$dir"
  ls -d "$dir"/checkpoints/*.damaged* >/dev/null 2>&1 || lost "the damaged checkpoint ($1) was not set aside"
  grep -q "$(basename "$2")" "$dir.txt" || lost "nothing names the damaged $(basename "$2")"
}
fault_flipped_byte() {
  stop_half_way
  local file size at byte
  file=$(random_file)
  size=$(stat -c %s "$file")
  [ "$size" -gt 0 ] || { file=$(newest "$dir")/model.safetensors; size=$(stat -c %s "$file"); }
  at=$(((RANDOM * 32768 + RANDOM) % size))
  byte=$(od -An -tu1 -j "$at" -N 1 "$file" | tr -d ' ')
  printf "\\x$(printf %02x $((byte ^ (1 << RANDOM % 8))))" | dd of="$file" bs=1 seek="$at" conv=notrunc status=none
  is_set_aside "bit flipped in byte $at of $(basename "$file")" "$(newest "$dir")"
}
fault_truncated_file() {
  stop_half_way
  local file
  file=$(newest "$dir")/$(printf '%s\n' model.safetensors state.json manifest.json | shuf -n 1 --random-source=<(yes "$RANDOM"))
  truncate -s $(($(stat -c %s "$file") * (RANDOM % 100) / 100)) "$file"
  is_set_aside "truncated $(basename "$file")" "$(newest "$dir")"
}
fault_missing_file() {
  stop_half_way
  local file
  file=$(random_file)
  rm "$file"
  is_set_aside "missing $(basename "$file")" "$(newest "$dir")"
}
fault_damaged_shard() {
  stop_half_way
  cp data/tokens-00000.bin shard.bak
  printf '\x00\x01' | dd of=data/tokens-00000.bin bs=1 seek=$((RANDOM % 1000 * 2)) conv=notrunc status=none
  if ! cmp -s data/tokens-00000.bin shard.bak; then
    code=0
    launch "$dir" || code=$?
    expect_code 2 "with a damaged shard"
    grep -q 'tokens-00000.bin' "$dir.txt" || lost "nothing names the damaged shard"
  fi
  mv shard.bak data/tokens-00000.bin
  finish "$dir"
}
fault_nan_gradient() {  # the step is passed over; a run that meets it and is killed besides ends with the same bytes
  local step victim_rank
  step=$(random_between 3 $((steps - 8))) victim_rank=$((RANDOM % ranks))
  export TTT_FAULT="nan_gradient@$step:$victim_rank"
  launch "$dir-once" || lost "the run with a gradient that is not finite ended with $?"
  grep -q '"kind":"skipped"' "$dir-once/metrics.jsonl" || lost "the skipped step is not recorded"
  start "$dir" --max-restarts 3
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  victim=$(random_rank)
  [ -z "$victim" ] || kill -9 "$victim" 2>/dev/null || true
  end_of
  expect_code 0 "with --max-restarts"
  unset TTT_FAULT
  undisturbed=$dir-once
}
fault_unreachable_rank() {  # two network namespaces; the link goes down
  local address=10.77.0
  spaces=()
  for i in 0 1; do
    unshare --net sleep infinity &
    spaces+=($!)
  done
  for i in 0 1; do
    while [ "$(readlink "/proc/${spaces[i]}/ns/net")" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.01; done
  done
  ip link add v0 netns "${spaces[0]}" type veth peer name v1 netns "${spaces[1]}"
  in_space() { nsenter --net="/proc/${spaces[$1]}/ns/net" "${@:2}"; }
  for i in 0 1; do
    in_space $i ip addr add "$address.$((i + 1))/24" dev "v$i"
    in_space $i ip link set lo up
    in_space $i ip link set "v$i" up
  done
  run_in_spaces() {  # [SETTING...]
    pids=()
    for i in 0 1; do
      RANK=$i WORLD_SIZE=2 LOCAL_RANK=0 LOCAL_WORLD_SIZE=1 MASTER_ADDR=$address.1 MASTER_PORT=29571 \
        nsenter --net="/proc/${spaces[i]}/ns/net" "$TTT" train run.yaml "output_dir=$dir" "$@" >>"$dir.txt" 2>&1 </dev/null &
      pids+=($!)
    done
    pid=${pids[0]}
  }
  run_in_spaces "$silent"
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  in_space 0 ip link set v0 down
  for i in 0 1; do
    code=0
    for _ in $(seq 600); do kill -0 "${pids[i]}" 2>/dev/null || break; sleep 0.1; done
    kill -0 "${pids[i]}" 2>/dev/null && lost "rank $i still waits a minute after the link went down"
    kill -9 "${pids[i]}" 2>/dev/null || true
    wait "${pids[i]}" || code=$?
    [ "$code" -ne 0 ] || [ "$(newest "$dir")" = "$dir/checkpoints/$(last_step)" ] || lost "rank $i ended with 0 though it could not reach the other"
  done
  in_space 0 ip link set v0 up
  sleep 0.5
  run_in_spaces
  for i in 0 1; do
    code=0
    wait "${pids[i]}" || code=$?
    expect_code 0 "when the link is up again"
  done
  remove_network
}
fault_clock_jump() {  # the wall clock jumps by days, forwards or backwards, in the middle
  local clock=$PWD/clock jump
  jump=$([ $((RANDOM % 2)) = 0 ] && echo +9d || echo -9d)
  echo '+0' >"$clock"
  export LD_PRELOAD=$faketime DONT_FAKE_MONOTONIC=1 FAKETIME_TIMESTAMP_FILE=$clock FAKETIME_NO_CACHE=1
  start "$dir"
  export -n LD_PRELOAD DONT_FAKE_MONOTONIC FAKETIME_TIMESTAMP_FILE FAKETIME_NO_CACHE
  unset LD_PRELOAD DONT_FAKE_MONOTONIC FAKETIME_TIMESTAMP_FILE FAKETIME_NO_CACHE
  wait_for_step "$dir" "$(random_between 1 $((steps - 8)))" || true
  echo "$jump" >"$clock"
  end_of
  expect_code 0 "though the clock jumped by $jump"
}

# --- which faults this machine can be given ---
faketime=$(ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null | head -n 1 || true)
faults=()
for fault in "${all_faults[@]}"; do
  if [ -n "$only" ] && [[ ",$only," != *",$fault,"* ]]; then continue; fi
  case $fault in
    unreachable_rank)
      if [ "$ranks" -ne 2 ] || ! unshare --net ip link add v0 type veth peer name v1 >/dev/null 2>&1; then
        echo "left out: unreachable_rank (needs 2 ranks, root and iproute2)"; continue
      fi ;;
    clock_jump) [ -n "$faketime" ] || { echo "left out: clock_jump (needs the package faketime)"; continue; } ;;
    *) ;;
  esac
  faults+=("$fault")
done
[ ${#faults[@]} -gt 0 ] || { echo "error: no fault is called '$only'; --list names them" >&2; exit 2; }

prepare_run || { cat log.txt >&2; exit 1; }
launch straight || { cat straight.txt >&2; echo "error: the undisturbed run failed" >&2; exit 1; }
echo "$rounds rounds, $ranks ranks, seed $seed; faults: ${faults[*]}"
declare -A done_of lost_of
failures=0
for ((round = 1; round <= rounds; ++round)); do
  # Every fault once, then at random.
  if [ "$round" -le ${#faults[@]} ]; then fault=${faults[round - 1]}; else fault=${faults[RANDOM % ${#faults[@]}]}; fi
  # A name that no other suite's processes have.
  dir=run$round-$$ undisturbed=straight failed_now=0 begin=$SECONDS
  "fault_$fault"
  if [ "$failed_now" = 0 ]; then same_as "$undisturbed" "$dir"; fi
  done_of[$fault]=$((${done_of[$fault]:-0} + 1))
  if [ "$failed_now" = 0 ]; then
    echo "round $round: $fault: ok ($((SECONDS - begin)) s)"
    rm -rf "$dir" "$dir.txt" "$dir-once" "$dir-once.txt"
  else
    lost_of[$fault]=$((${lost_of[$fault]:-0} + 1)) failures=$((failures + 1))
    echo "round $round: $fault: FAILED, see $scratch/$dir.txt"
  fi
done
echo
printf '%-18s %7s %7s\n' fault rounds lost
for fault in "${faults[@]}"; do printf '%-18s %7d %7d\n' "$fault" "${done_of[$fault]:-0}" "${lost_of[$fault]:-0}"; done
printf '%-18s %7d %7d\n' all "$rounds" "$failures"
[ "$failures" -eq 0 ]
