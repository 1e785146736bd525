#!/usr/bin/env bash
# tools/cluster/: the scripts are sound shell, and the Slurm one puts a job that was stopped and saved back into the queue, and no other.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }

for script in train.sbatch two_nodes.sh; do
  bash -n "$SOURCE/tools/cluster/$script" || die "$script is not valid bash"
done

# --- train.sbatch, with commands of the same names in the place of Slurm's ---
mkdir bin
cat >bin/srun <<'SH'
#!/bin/bash
echo "srun $*" >>calls.txt
echo $$ >srun.pid
trap 'exit 75' USR1
touch started
[ "$SRUN_CODE" = wait ] || exit "$SRUN_CODE"
while :; do sleep 0.02; done
SH
cat >bin/scancel <<'SH'
#!/bin/bash
echo "scancel $*" >>calls.txt
kill -USR1 "$(cat srun.pid)"
while [ -e "/proc/$(cat srun.pid)" ] && ! grep -qs zombie "/proc/$(cat srun.pid)/status"; do sleep 0.02; done  # the ranks may end before this does
SH
printf '#!/bin/bash\necho "scontrol $*" >>calls.txt\n' >bin/scontrol
chmod +x bin/*
export PATH=$PWD/bin:$PATH SLURM_JOB_ID=42

# submit CODE: the script's exit code, with ranks that end with $SRUN_CODE.
submit() {
  local got=0
  rm -f calls.txt started
  TTT=ttt bash "$SOURCE/tools/cluster/train.sbatch" run.yaml "output_dir=my runs" || got=$?
  [ "$got" -eq "$1" ] || die "exit code $got instead of $1"
}
called() { grep -qFx -- "$1" calls.txt || { cat calls.txt >&2; die "not called: $1"; }; }
not_requeued() { if grep -q scontrol calls.txt; then die "a job that ended with $SRUN_CODE was requeued"; fi; }

export SRUN_CODE=0
submit 0
called "srun --kill-on-bad-exit=0 ttt train run.yaml output_dir=my runs"
not_requeued
SRUN_CODE=1
submit 1
not_requeued
SRUN_CODE=75
submit 75
called "scontrol requeue 42"

# Told by Slurm: the ranks are told, saved, requeued.
SRUN_CODE="wait"
rm -f calls.txt started
TTT=ttt bash "$SOURCE/tools/cluster/train.sbatch" run.yaml &
script=$!
for ((i = 0; i < 600; ++i)); do [ -e started ] && break; sleep 0.05; done
kill -TERM "$script"
code=0
wait "$script" || code=$?
[ "$code" -eq 75 ] || die "exit code $code after SIGTERM"
called "scancel --signal=TERM 42"
called "scontrol requeue 42"

# --- two_nodes.sh: what it runs on each node ---
printf '#!/bin/bash\necho "$1: $2" >>nodes.txt\n[ "$1" = a ] || exit 75\n' >bin/on_node
chmod +x bin/on_node
code=0
SSH=on_node "$SOURCE/tools/cluster/two_nodes.sh" "a b" 8 run.yaml 'output_dir=my runs' || code=$?
[ "$code" -eq 75 ] || die "two_nodes.sh: exit code $code instead of node b's 75"
for node in 0 1; do
  grep -qF -- "exec build/ttt launch -n 8 --nnodes 2 --node-rank $node --master-addr a --master-port 29500 --max-restarts 3 -- train run.yaml output_dir=my\\ runs" nodes.txt ||
    { cat nodes.txt >&2; die "node $node is not told to launch"; }
done
grep -q '^b: .*--node-rank 1 ' nodes.txt || die "node b is not rank 1"
echo "ok"
