#!/usr/bin/env bash
# Small models on synthetic tasks: writes the data sets of configs/sweep/tasks_mini.yaml and trains its runs. A second call goes on
# from where the first one stopped.
#
# usage: tools/tasks_mini.sh [--data-only] [OPTION of `ttt sweep` ...]      e.g. tools/tasks_mini.sh --only 'mqar_*' --jobs 2
# environment: TTT=PROGRAM   the program, default build/ttt
set -euo pipefail
cd "$(dirname "$0")/.."
ttt=${TTT:-build/ttt}
data_only=
case "${1:-}" in
  -h|--help) sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 0 ;;
  --data-only) data_only=yes; shift ;;
esac
[ -x "$ttt" ] || { echo "error: there is no program '$ttt'; build it with tools/build.sh ttt_main, or set TTT" >&2; exit 2; }
data=runs/tasks_mini/data

# task NAME TASK SAMPLES SETTING...: NAME/train of SAMPLES, NAME/valid of 1000.
task() {
  local name=$1 task=$2 samples=$3
  shift 3
  [ -e "$data/$name/train/manifest.json" ] ||
    "$ttt" prepare --task "$task" --set "$@" --samples "$samples" --seed 1 --output "$data/$name/train" --force
  [ -e "$data/$name/valid/manifest.json" ] ||
    "$ttt" prepare --task "$task" --set "$@" --samples 1000 --seed 2 --output "$data/$name/valid" --force
}

task mqar mqar 100000 length=64 pairs=4 vocab_size=512
task mqar_hard mqar 100000 length=64 pairs=8 vocab_size=512
task mqar_forgetting mqar 100000 length=64 pairs=4 vocab_size=512 kind=forgetting
task mqar_compositional mqar 100000 length=64 pairs=4 vocab_size=512 kind=compositional
task copy copy 100000 items=16 vocab_size=32
task parity parity 100000 min_length=3 max_length=40
task s5 group 100000 min_length=3 max_length=16 group=s5
task s3 group 100000 min_length=3 max_length=16 group=s3
task a5 group 100000 min_length=3 max_length=16 group=a5
task modular modular 100000 min_length=3 max_length=16
task selective_copy selective_copy 50000 length=64 items=16
task induction induction 50000 length=128
task palindrome palindrome 100000 items=16
task stack stack 50000 length=96 stacks=8 symbols=32
task compression compression 100000 items=16
task fuzzy_recall fuzzy_recall 50000 pairs=8
task memorisation memorisation 100000 length=32
task regression regression 50000 dimension=5 points=16
[ -z "$data_only" ] || exit 0
exec "$ttt" sweep configs/sweep/tasks_mini.yaml "$@"
