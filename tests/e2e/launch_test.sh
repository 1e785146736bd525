#!/usr/bin/env bash
# `ttt launch`: ranks are this very program; what they print is marked, the first failing one is shown, and nothing outlives the launcher.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

# --- output: rank 0's as it is, the others' marked ---
expect 0 "$TTT" launch -n 2 -- --version
[ "$(grep -c '^ttt ' out.txt)" -eq 1 ] && [ "$(grep -c '^\[1\] ttt ' out.txt)" -eq 1 ] || { cat out.txt >&2; die "not one plain and one marked line"; }
expect 0 "$TTT" launch -n 2 --prefix -- --version
[ "$(grep -c '^\[0\] ttt ' out.txt)" -eq 1 ] || { cat out.txt >&2; die "--prefix leaves rank 0 unmarked"; }

# --- a failing rank ---
expect 2 "$TTT" launch -n 2 --max-restarts 3 -- inspect nowhere
says errors.txt "there is nothing at 'nowhere'"
says errors.txt "(exit code 2) failed first"
if grep -q restart errors.txt; then die "refused input was tried again"; fi

# --- wrong usage ---
expect 2 "$TTT" launch -n 2 train run.yaml
says errors.txt "error: "
expect 2 "$TTT" launch -n 2
says errors.txt 'ttt launch -n 2 -- train CONFIG.yaml'
expect 2 "$TTT" launch -n 2 --nnodes 2 -- --version
says errors.txt "--master-addr and --master-port"
expect 2 "$TTT" launch -n 2 --nnodes 2 --node-rank 2 --master-addr a --master-port 1 -- --version
says errors.txt "--node-rank 2 is not one of 2 machines"

# --- signals, with ranks that wait for a model which never comes ---
mkfifo hang.model
start() { "$TTT" launch "$@" -- tokenizer encode --model hang.model text >out.txt 2>errors.txt </dev/null & launcher=$!; }
two_ranks() { [ "$(children_of "$launcher" | wc -l)" -eq 2 ]; }
gone() { [[ "$(state "$1")" = [Z]* || -z "$(state "$1")" ]]; }  # also one that nobody has reaped yet

start -n 2
wait_until two_ranks
ranks=$(children_of "$launcher")
kill -9 "$launcher"
wait "$launcher" 2>/dev/null || true
for rank in $ranks; do wait_until gone "$rank"; done

start -n 2 --max-restarts 1
wait_until two_ranks
kill -TERM "$launcher"
code=0
wait "$launcher" || code=$?
[ "$code" -eq 75 ] || { cat errors.txt >&2; die "exit code $code instead of 75 after SIGTERM"; }

# A rank that is killed: the others end, all start again, and the second time is one too many.
start -n 2 --max-restarts 1
wait_until two_ranks
first=$(children_of "$launcher")
kill -9 "$(tail -n 1 <<<"$first")"
restarted() { two_ranks && [ -z "$(comm -12 <(sort <<<"$first") <(children_of "$launcher" | sort))" ]; }
wait_until restarted
says errors.txt "restart 1 of 1: rank 1 (killed by SIGKILL) failed"
kill -9 "$(children_of "$launcher" | head -n 1)"
code=0
wait "$launcher" || code=$?
[ "$code" -eq 1 ] || { cat errors.txt >&2; die "exit code $code instead of 1 after a killed rank"; }
tail -n 1 errors.txt | grep -q 'rank 0 (killed by SIGKILL) failed first' || { cat errors.txt >&2; die "the last line does not name the rank"; }
# --- ranks that train together: stopped, killed and started again, they end with the bytes of ranks that were left alone ---
make_tokens
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 1, num_heads: 2, intermediate_size: 64}
data: {train: data}
train: {context: 64, batch_tokens: 128, steps: 24, threads: 1, device: cpu, dtype: fp32, stats_every: 0, tensorboard: false, digest_every: 1}
optim: {lr: 0.01, warmup_steps: 2}
checkpoint: {every: 4, keep_last: 0}
dist: {zero: 1, timeout_seconds: 60}
output_dir: straight
YAML
same_end() {
  "$TTT" diff straight "$1" >diff.txt || { cat diff.txt >&2; die "$1 is another run"; }
  cmp {straight,"$1"}/checkpoints/step_00000024/model.safetensors || die "$1 ended with another model"
}
expect 0 "$TTT" launch -n 2 -- train run.yaml

# The second rank stops itself before step 11, after a checkpoint and before the next, and is killed there; started again it comes there again.
stopped_rank() { stopped=$(stopped_children "$launcher"); [[ -n "$stopped" && "$stopped" != "${killed:-}" ]]; }
TTT_FAULT=stop@11:1 "$TTT" launch -n 2 --max-restarts 1 --grace 5 -- train run.yaml output_dir=killed >out.txt 2>errors.txt </dev/null & launcher=$!
wait_until stopped_rank
killed=$stopped
kill -9 "$killed"
wait_until stopped_rank
kill -CONT "$stopped"
code=0
wait "$launcher" || code=$?
[ "$code" -eq 0 ] || { cat errors.txt >&2; die "exit code $code after a restart"; }
says errors.txt "restart 1 of 1: rank 1 (killed by SIGKILL) failed"
grep -q "resuming from 'killed/checkpoints/step_" killed/train.log || die "the restarted ranks did not resume"
same_end killed
echo "ok"
