#!/usr/bin/env bash
# PyTorch's own torchrun, whose agent keeps the store at which the ranks meet: static, standalone, with a c10d rendezvous and a restart, two
# "nodes" on this machine. Each ends with the bytes of ranks that were started by hand.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
python_env=$("$SOURCE/tools/python_env.sh" --find) || { . "$SOURCE/tests/e2e/check.sh"; lacks "there is no torchrun (tools/setup.sh --test fetches it)"; }
. "$SOURCE/tests/e2e/ranks.sh"
export PYTHONDONTWRITEBYTECODE=1
torchrun() { port=$((port + 1)); "$python_env/bin/torchrun" --no-python --monitor-interval 0.1 "$@"; }
same_end() {
  grep -q '2 processes on cpu' "$1/train.log" || { cat "$1/train.log" >&2; die "$1: not one training of two processes"; }
  cmp {two,"$1"}/checkpoints/step_00000012/model.safetensors || die "$1 ended with another model"
}
ranks 2 two

# --- one agent ---
expect 0 torchrun --master-port $port --nproc-per-node 2 "$TTT" train run.yaml output_dir=static
same_end static
expect 0 torchrun --standalone --nproc-per-node 2 "$TTT" train run.yaml output_dir=standalone
same_end standalone
# A store of rank 0's own, where the agent is told not to share its.
TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 expect 0 torchrun --standalone --nproc-per-node 2 "$TTT" train run.yaml output_dir=unshared
same_end unshared
expect 0 torchrun --standalone --nproc-per-node 1 "$TTT" train run.yaml output_dir=alone train.steps=2

# --- a rank is killed: all start again, in the same store, and go on from the checkpoint ---
# The second rank stops itself before step 7, after a checkpoint; started again it comes there again.
stopped_rank() { stopped=$(stopped_children "$agent"); [[ -n "$stopped" && "$stopped" != "${killed:-}" ]]; }
restarts_of() { tr '\0' '\n' <"/proc/$1/environ" | sed -n 's/^TORCHELASTIC_RESTART_COUNT=//p'; }
port=$((port + 1))
TTT_FAULT=stop@7:1 "$python_env/bin/torchrun" --no-python --monitor-interval 0.1 --nproc-per-node 2 --max-restarts 1 --rdzv-backend c10d --rdzv-id job \
  --rdzv-endpoint 127.0.0.1:$port "$TTT" train run.yaml output_dir=killed >out.txt 2>errors.txt </dev/null & agent=$!
wait_until stopped_rank
[ "$(restarts_of "$stopped")" = 0 ] || die "not the first start"
wait_until test -e killed/checkpoints/step_00000004
killed=$stopped
kill -9 "$killed"
wait_until stopped_rank
[ "$(restarts_of "$stopped")" = 1 ] || die "not the second start"
kill -CONT "$stopped"
code=0
wait "$agent" || code=$?
[ "$code" -eq 0 ] || { cat out.txt errors.txt >&2; die "exit code $code after a restart"; }
grep -q "resuming from 'killed/checkpoints/step_00000004" killed/train.log || { cat killed/train.log >&2; die "the restarted ranks did not resume"; }
same_end killed

# --- two nodes ---
two_nodes() {  # NAME OPTION...: an agent for each
  local name=$1 node code=0 agents=()
  shift
  for node in 0 1; do
    "$python_env/bin/torchrun" --no-python --monitor-interval 0.1 --nnodes 2 --nproc-per-node 1 "${@//NODE/$node}" "$TTT" train run.yaml "output_dir=$name" \
      >"$name.$node.txt" 2>&1 </dev/null & agents+=($!)
  done
  for node in 0 1; do wait "${agents[node]}" || code=$?; done
  [ "$code" -eq 0 ] || { cat "$name".?.txt >&2; die "$name: exit code $code"; }
  same_end "$name"
}
port=$((port + 1))
two_nodes nodes_static --node-rank NODE --master-addr 127.0.0.1 --master-port $port
port=$((port + 1))
two_nodes nodes_c10d --rdzv-backend c10d --rdzv-id nodes --rdzv-endpoint 127.0.0.1:$port --local-addr 127.0.0.1

# --- SIGTERM to the agent: the ranks save, and the same command goes on ---
"$python_env/bin/torchrun" --no-python --monitor-interval 0.1 --standalone --nproc-per-node 2 "$TTT" train run.yaml output_dir=told checkpoint.every=0 train.steps=400 \
  optim.decay_steps=400 >out.txt 2>&1 </dev/null & agent=$!
wait_until has_steps told 2
kill -TERM "$agent"
wait "$agent" && die "a run that was told to stop ended with 0"
ls told/checkpoints/step_*/DONE >/dev/null 2>&1 || ls told/checkpoints/step_*/state.json >/dev/null || { cat out.txt >&2; die "SIGTERM to torchrun: nothing saved"; }
echo ok
