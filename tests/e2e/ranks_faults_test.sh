#!/usr/bin/env bash
# Signals to a rank, its death, and what the ranks find out about one another before they train.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/ranks.sh"

# SIGTERM to one rank: all save and exit 75, and the same command goes on to the same end.
TTT_FAULT=stop@4:1 start_ranks 2 stopped checkpoint.every=0
wait_until is_stopped "${pids[1]}"
kill -TERM "${pids[1]}"
kill -CONT "${pids[1]}"
end_ranks stopped 75
ranks 2 stopped checkpoint.every=0
ranks 2 two
for file in model.safetensors optimizer-00000-of-00001.safetensors; do
  cmp {two,stopped}/checkpoints/step_00000012/$file || die "the stopped run ended with another $file"
done
diff <(numbers two | sort) <(numbers stopped | sort) >diff.txt || { head diff.txt >&2; die "the stopped run has other metrics"; }

# A signal during an evaluation ends it; what was due is made up for by the next start.
"$TTT" prepare --input "$SOURCE/src" --tokenizer t.model --output long >out.txt 2>&1 || { cat out.txt; die "prepare"; }
start_ranks 2 evaluating train.steps=1 optim.warmup_steps=0 data.valid=long train.eval_batches=400
wait_until has_steps evaluating 1
kill -TERM "${pids[0]}"
end_ranks evaluating 75
grep -q '"valid"' evaluating/metrics.jsonl && die "the evaluation was not interrupted"
grep -q '"owes_validation": true' evaluating/checkpoints/step_00000001/state.json || die "the interrupted evaluation is forgotten"
ranks 2 evaluating train.steps=1 optim.warmup_steps=0 data.valid=long train.eval_batches=400
[ "$(grep -c '"valid"' evaluating/metrics.jsonl)" -eq 1 ] || die "the interrupted evaluation was not made up for"
grep -q 'owes_validation' evaluating/checkpoints/step_00000001/state.json && die "the evaluation is owed still"
ranks 2 evaluating train.steps=1 optim.warmup_steps=0 data.valid=long train.eval_batches=400
grep -q 'is finished' evaluating.0.txt || { cat evaluating.0.txt; die "a finished run goes on"; }

# kill -9 of one rank: the others say which one is gone, and the run resumes.
TTT_FAULT=stop@7:2 start_ranks 3 killed train.batch_tokens=384
wait_until is_stopped "${pids[2]}"
kill -9 "${pids[2]}"
end_ranks killed 1 1 137
grep -qE 'error: rank 0, step [0-9]+: .* failed, and rank 2 does not answer' killed.0.txt || { cat killed.0.txt; die "rank 0 does not name rank 2"; }
grep -qE 'rank 1, step [0-9]+: .* failed, and rank 2 does not answer' killed.1.txt || { cat killed.1.txt; die "rank 1 does not name rank 2"; }
ranks 3 killed train.batch_tokens=384
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
# A rank of another job that comes to the same port is turned away by name; this job goes on as if nobody had come.
TTT_FAULT=stop@7:1 start_ranks 2 visited
wait_until is_stopped "${pids[1]}"
expect 2 env RANK=1 WORLD_SIZE=2 LOCAL_RANK=1 LOCAL_WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=$port "$TTT" train run.yaml output_dir=visitor
says errors.txt "the ranks of another job meet, 'visited' with 2 processes, and this is rank 1 of 'visitor' with 2 processes; give each job a MASTER_PORT of its own"
kill -CONT "${pids[1]}"
end_ranks visited 0
cmp {two,visited}/checkpoints/step_00000012/model.safetensors || die "the visited run ended with another model"
# What rank 0 alone finds wrong ends all.
exec 9>two/.lock
flock -n 9 || die "flock"
start_ranks 2 two train.steps=14
end_ranks two 2
exec 9>&-
grep -q "another training is running in 'two'" two.0.txt || { cat two.0.txt; die "rank 0 does not say that the folder is taken"; }
grep -q "rank 0 stopped: another training is running in 'two'" two.1.txt || { cat two.1.txt; die "rank 1 does not say why"; }
echo ok
