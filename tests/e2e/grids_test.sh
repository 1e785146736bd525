#!/usr/bin/env bash
# Sweeps whose runs follow from others, with real trainings: branches of a trunk and a search for the learning rate, killed
# half-way and resumed; a grid's dry run.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"
make_tokens
cat >base.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 256, threads: 1, device: cpu, dtype: fp32, eval_samples: 8, digest_every: 1, tensorboard: false}
optim: {lr: 0.01, end_lr: 1e-5}
checkpoint: {every: 7, keep_last: 1}
YAML

# sweep_stopped STEP SWEEP ARGUMENTS...: starts it; its trainings stop themselves before that step.
sweep_stopped() { TTT_FAULT=stop@$1 "$TTT" sweep "${@:2}" >stopped.txt 2>&1 & sweep=$!; }
is_finished() { grep -q "\"name\":\"$2\",\"status\":\"finished\"" "$1/runs.jsonl"; }

# --- a branch begins while its trunk still trains, and both equal the runs of their lengths ---
cat >branches.yaml <<'YAML'
base: base.yaml
output_dir: branches
set: {optim: {schedule: wsd, warmup_steps: 4}}
branches: true
axes: {train.steps: [20, 30]}
YAML
sweep_stopped 26 branches.yaml --jobs 2
wait_until stopped_trainings 1  # the trunk, beyond the 16 steps that the branch shares
wait_until is_finished branches steps20
kill_sweep
grep -q "a branch of 'branches/steps30/checkpoints/step_00000016' at step 16" branches/steps20/train.log || die "steps20 is no branch"
expect 0 "$TTT" sweep branches.yaml
[ -e branches/steps30/checkpoints/step_00000016/COMPLETE ] || die "the trunk did not keep what its branch needs"
grep -q 'resuming from' branches/steps30/train.log || die "the trunk did not resume"
for steps in 20 30; do
  expect 0 "$TTT" train "branches/steps$steps/sweep.yaml" branch_from= checkpoint.keep_steps= "output_dir=separate$steps"
  expect 0 "$TTT" diff "branches/steps$steps" "separate$steps" --json
  says out.txt "\"steps_compared\":$steps"
  for file in model.safetensors optimizer-00000-of-00001.safetensors; do
    cmp "separate$steps/checkpoints/step_000000$steps/$file" "branches/steps$steps/checkpoints/step_000000$steps/$file" ||
      die "steps$steps is not the separate run"
  done
done
expect 2 "$TTT" sweep branches.yaml --slurm
says errors.txt 'run the sweep inside one job instead, with --jobs'

# --- a search that is killed ends with the same rates and losses ---
cat >search.yaml <<'YAML'
base: base.yaml
output_dir: straight
lr_search: {low: 1e-3, high: 1e-1, evaluations: 4}
ladder: {sizes: {small: {}}, tokens_per_parameter: [0.05], min_steps: 8}
YAML
table() { grep -o '"\(name\|status\|lr\|valid_loss\|search_best\)":[^,}]*' "$1/runs.jsonl"; }
expect 0 "$TTT" sweep search.yaml
says out.txt 'lr search of small_tpp0.05, 4 of 4 evaluations: best '
sweep_stopped 5 search.yaml output_dir=killed --jobs 2
wait_until stopped_trainings 2
kill_sweep
sweep_stopped 5 search.yaml output_dir=killed
wait_until stopped_trainings 1
kill_sweep
expect 0 "$TTT" sweep search.yaml output_dir=killed --jobs 2
diff <(table straight) <(table killed) || die "a killed search has another table"
expect 2 "$TTT" sweep search.yaml output_dir=other --slurm
says errors.txt 'has lr_search'
expect 2 "$TTT" sweep search.yaml output_dir=other --run small_tpp0.05_search4
says errors.txt "gets its learning rate from 'small_tpp0.05_search1'"

# --- before anything runs ---
cat >grid.yaml <<'YAML'
base: base.yaml
output_dir: grid
isoflop: {budgets: [3e10, 1e11], convention: six_nd, sizes: {d16: {model.hidden_size: 16}, d32: {}, d64: {model.hidden_size: 64}}}
YAML
expect 0 "$TTT" sweep grid.yaml --dry-run
says out.txt 'iso1e11_d64 '
says out.txt 'edge: iso3e10_d64: '
says out.txt 'ttt_linear/mamba identifies L = '
expect 0 "$TTT" sweep grid.yaml --dry-run --json --only 'iso1e11_*'
says out.txt '"law":"ttt_linear/mamba does not identify'
expect 2 "$TTT" sweep grid.yaml train.steps=10
says errors.txt "command line: 'train.steps' is given, and isoflop sets it from the budgets; remove one of the two"
[ ! -e grid ] || die "--dry-run made the output folder"
sed 's/\[3e10/[1e6, 3e10/' grid.yaml >small.yaml
expect 0 "$TTT" sweep small.yaml --slurm
says errors.txt "'iso1e6_d16' is left out: 1e6 FLOPs would be less than half a step"
says out.txt '6 runs: sbatch grid/sweep.sbatch'
echo ok
