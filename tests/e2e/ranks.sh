# Sourced by the tests of several processes over loopback: starting and ending ranks, a small set of tokens and a config,
# run.yaml. Environment: TTT, the binary; SOURCE, the checkout.
. "$SOURCE/tests/e2e/check.sh"

port=$((15000 + $$ * 37 % 15000))
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
make_tokens
cat >run.yaml <<'YAML'
model: {mixer: [ttt_linear, mamba, attention], backbone: mamba, vocab_size: 512, hidden_size: 32, num_layers: 3, num_heads: 2, intermediate_size: 64}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 512, micro_batch: 2, steps: 12, threads: 1, device: cpu, dtype: fp32, seed: 3, eval_every: 6, eval_batches: 5, stats_every: 0}
optim: {lr: 0.01, warmup_steps: 2}
checkpoint: {every: 4, keep_last: 0}
dist: {timeout_seconds: 60}
YAML

# The metrics without what depends on time.
numbers() { sed 's/,"seconds".*//' "$1/metrics.jsonl"; }
