# Sourced by end-to-end tests: what a command ends with and says. Environment: TTT, the binary; SOURCE, the checkout. The
# working directory is an empty scratch folder.
set -euo pipefail
export OMP_NUM_THREADS=1

die() { echo "FAILED: $*" >&2; exit 1; }
# Ends a test that needs what this machine does not have, and says so; under CI=true that is a failure.
lacks() {
  [ "${CI:-}" != true ] || die "$*"
  echo "skipped: $*"
  exit 0
}

# expect CODE COMMAND...: runs it, output to out.txt and errors.txt.
expect() {
  local code=$1 got=0
  shift
  "$@" >out.txt 2>errors.txt </dev/null || got=$?
  [ "$got" -eq "$code" ] || { cat out.txt errors.txt >&2; die "exit code $got instead of $code: $*"; }
}
says() { grep -qF -- "$2" "$1" || { cat "$1" >&2; die "$1 does not say '$2'"; }; }  # FILE TEXT
# refused TEXT COMMAND...: wrong usage or input, which one sentence with TEXT says.
refused() {
  local text=$1
  shift
  expect 2 "$@"
  says errors.txt "$text"
  [ "$(grep -c '^error: ' errors.txt)" -eq 1 ] || { cat errors.txt >&2; die "not one sentence: $*"; }
}
wait_until() {  # COMMAND...: at most three minutes, for machines that are busy
  local end=$((SECONDS + 180))
  while ((SECONDS < end)); do
    if "$@"; then return 0; fi
    sleep 0.02
  done
  die "waited three minutes for: $*"
}
# state PID: as /proc has it, one letter; nothing where there is no such process.
state() {
  local line
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 0
  line=${line##*) }
  echo "${line%% *}"
}
# children_of PID: the ids of its children that live, in the order of their start.
children_of() {
  local stat line state parent
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } 2>/dev/null || continue
    read -r state parent _ <<<"${line##*) }"
    if [ "$parent" = "$1" ] && [ "$state" != Z ]; then echo "${stat//[^0-9]/}"; fi
  done | sort -n
}
# A process that stopped itself: TTT_FAULT=stop@STEP[:RANK] does that before a step of a training, which makes it wait for its test.
is_stopped() { [ "$(state "$1")" = T ]; }
stopped_children() { local pid; for pid in $(children_of "$1"); do ! is_stopped "$pid" || echo "$pid"; done; }  # PID
# Of the sweep with the process id $sweep. stopped_trainings N: that many of its trainings have stopped themselves; their
# ids: $stopped.
stopped_trainings() { mapfile -t stopped < <(stopped_children "$sweep"); [ "${#stopped[@]}" -ge "$1" ]; }
told() { local mask; mask=$(sed -n 's/^ShdPnd:\t*//p' "/proc/$1/status"); ((16#$mask & 1 << 14)); }  # PID: SIGTERM waits for it
# Kills it. Its trainings are told, and go on, to end.
kill_sweep() {
  local pid
  kill -KILL "$sweep"
  wait "$sweep" 2>/dev/null || true
  for pid in "${stopped[@]}"; do
    wait_until told "$pid"
    kill -CONT "$pid"
  done
}
has_steps() { [ -e "$1/metrics.jsonl" ] && [ "$(grep -c '"train"' "$1/metrics.jsonl")" -ge "$2" ]; }  # RUN STEPS

# use_locale NAME: such as de_DE, for what is started from now on, where this machine can make it.
use_locale() {
  mkdir -p locales
  ! localedef -i "$1" -f UTF-8 "locales/$1.UTF-8" >/dev/null 2>&1 || export LOCPATH=$PWD/locales LC_ALL=$1.UTF-8
}

# A tokenizer of 512 pieces, t.model, and the token set `data` (of the files named, else of a small text).
make_tokens() {
  expect 0 "$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512
  head -c 9000 "$SOURCE/src/base/files.cpp" >text.cpp
  expect 0 "$TTT" prepare --input "${@:-text.cpp}" --tokenizer t.model --output data
}
