#!/usr/bin/env bash
# ttt eval by position, with states that go on, and on tasks; the data sets of tasks and of prompts with answers.
. "$SOURCE/tests/e2e/check.sh"

# number KEY [FILE]: the first number behind "KEY": in out.txt.
number() { grep -oE "\"$1\":-?[0-9.e+-]+" "${2:-out.txt}" | head -1 | cut -d: -f2; }
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN {exit !(a - b <= t && b - a <= t && a != "" && b != "")}' || die "$1 is not within $3 of $2"; }

make_tokens
cat >run.yaml <<YAML
model: {mixer: ttt_linear, backbone: mamba, pre_conv: true, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 256, steps: 4, threads: 1, device: cpu, dtype: fp32, eval_samples: 8, position_loss_every: 2}
optim: {lr: 1e-2, warmup_steps: 1}
output_dir: run
YAML

# --- by position, in training ---
expect 0 "$TTT" train run.yaml
[ "$(grep -c '"kind":"position_loss"' run/metrics.jsonl)" = 2 ] || die "position losses: $(grep -c position_loss run/metrics.jsonl)"
grep '"kind":"position_loss","step":4' run/metrics.jsonl | grep -qE '"positions":\[\{"from":1,"to":1,.*"to":64,' || die "no positions"
grep -qa 'position_loss/to_00000064' run/tensorboard/* || die "TensorBoard has no losses by position"
refused "train.position_loss_every needs data.valid" "$TTT" train run.yaml data.valid= output_dir=other

# --- by position, in eval ---
expect 0 "$TTT" eval --checkpoint run --data data --by-position --json
cp out.txt plain.json
grep -qE '"positions":\[\{"from":1,"to":1,"loss":[0-9.]+,"low":[0-9.]+,"high":[0-9.]+,"bits_per_byte":[0-9.]+,"units":[0-9]+,"tokens":[0-9]+\},\{"from":2,"to":2,' out.txt || die "positions: $(cat out.txt)"
grep -q '"over":"windows"' out.txt || die "one document: intervals are over windows"
expect 0 "$TTT" eval --checkpoint run --data data --by-position
says out.txt "bootstrap over"
says out.txt "   55-64  "
# Positions add up to the whole.
awk -v RS='{' '/"from"/ {match($0, /"loss":[0-9.]+/); l = substr($0, RSTART + 7, RLENGTH - 7)
    match($0, /"tokens":[0-9]+/); t = substr($0, RSTART + 9, RLENGTH - 9); nats += l * t; tokens += t}
  END {printf "%.12f %d\n", nats / tokens, tokens}' plain.json >sums
read -r loss tokens <sums
near "$loss" "$(number loss plain.json)" 1e-9
grep -q "\"tokens\":$tokens,\"samples\"" plain.json || die "$tokens tokens in positions"

# --- one sequence, however it is computed ---
expect 0 "$TTT" eval --checkpoint run --data data --context 100000 --piece 100000 --json
whole=$(number loss)
expect 0 "$TTT" eval --checkpoint run --data data --context 100000 --json
near "$(number loss)" "$whole" 1e-5
expect 0 "$TTT" eval --checkpoint run --data data --carry-state --json
near "$(number loss)" "$whole" 1e-5
expect 0 "$TTT" eval --checkpoint run --data data --context 48 --carry-state --piece 7 --by-position --token-loss losses.npy --json
near "$(number loss)" "$whole" 1e-5
expect 0 "$TTT" eval --checkpoint run --data data --stride 64 --json
near "$(number loss)" "$(number loss plain.json)" 1e-12
expect 0 "$TTT" eval --checkpoint run --data data --stride 16 --by-position --json
says out.txt "\"samples\":$((($(number tokens) - 64 + 15) / 16 + 1))"

# --- several checkpoints; what does not fit together ---
expect 0 "$TTT" eval --checkpoint run run/checkpoints/step_00000004 --data data --by-position --plot loss.svg --json
[ "$(grep -o '"checkpoint":' out.txt | wc -l)" = 2 ] || die "two checkpoints: $(cat out.txt)"
says loss.svg "run/checkpoints/step_00000004"
says loss.svg "bootstrap over"
refused "there is no folder" "$TTT" eval --checkpoint run --data data --by-position --plot nowhere/loss.svg
refused "is a folder; name a file" "$TTT" eval --checkpoint run --data data --by-position --plot run
refused "there is no checkpoint 'typo'" "$TTT" eval --checkpoint run typo --data data
[ ! -s out.txt ] || die "the first checkpoint was evaluated before the second was looked for: $(cat out.txt)"
refused "--plot requires --by-position" "$TTT" eval --checkpoint run --data data --plot loss.svg
expect 0 "$TTT" eval --checkpoint run --checkpoint run --data data
[ "$(grep -c '^checkpoint ' out.txt)" = 2 ] || die "two checkpoints: $(cat out.txt)"
refused "--token-loss writes the losses of one checkpoint" "$TTT" eval --checkpoint run run --data data --token-loss x.npy
refused "--stride 100 is more than the --context of 64" "$TTT" eval --checkpoint run --data data --context 64 --stride 100
refused "--stride 100 is more than the context of 64" "$TTT" eval --checkpoint run --data data --stride 100
refused "--carry-state excludes --stride" "$TTT" eval --checkpoint run --data data --carry-state --stride 8
refused "nothing is drawn at random; leave out --seed" "$TTT" eval --checkpoint run --data data --seed 3
refused "--reset-at-documents excludes --piece" "$TTT" eval --checkpoint run --data data --reset-at-documents --piece 8
refused "no document of the data set 'data' holds a window of 100000" "$TTT" eval --checkpoint run --data data --documents --context 100000

# --- tasks ---
expect 0 "$TTT" prepare --list-tasks
for task in mqar copy selective_copy induction palindrome stack parity modular group regression memorisation compression fuzzy_recall; do
  grep -q "^$task: " out.txt || die "no task $task"
done
prepare_mqar() { "$TTT" prepare --task mqar --set length=16 pairs=2 --set vocab_size=16 --samples "$1" --seed "$2" --output "$3" "${@:4}"; }
expect 0 prepare_mqar 2048 1 mqar
says out.txt "wrote mqar: 32768 tokens in 2048 documents, 4096 of them scored"
expect 0 prepare_mqar 64 2 mqar_test --json
says out.txt '"scored_tokens":128'
expect 0 "$TTT" inspect data mqar --json
says out.txt '"samples":2048,"scored_tokens":4096,"task":{"name":"mqar","settings":{"length":16,"pairs":2,"vocab_size":16'
says out.txt '"problems":[]'
expect 0 "$TTT" inspect mqar
says out.txt "scored_tokens   4096"
says out.txt "whole"
expect 0 prepare_mqar 2048 1 again
cmp mqar/tokens-00000.bin again/tokens-00000.bin && cmp mqar/scored-00000.bin again/scored-00000.bin || die "a task is no pure function"
refused "already holds a data set" prepare_mqar 2 1 mqar
refused "did you mean 'mqar'" "$TTT" prepare --task mqra --samples 2 --output x
refused "did you mean 'pairs'" "$TTT" prepare --task mqar --set pair=2 --samples 2 --output x
refused "at least 16" "$TTT" prepare --task mqar --set length=14 --samples 2 --output x
refused "--task needs --samples" "$TTT" prepare --task mqar --output x
refused "--samples requires --task" "$TTT" prepare --tokens text.cpp --samples 2 --output x
refused "leave --input and --tokenizer out" "$TTT" prepare --task mqar --samples 2 --tokenizer t.model --output x
refused "give it with --input" "$TTT" prepare --task needle --samples 2 --output x
refused "asks nothing" "$TTT" prepare --task stack --set length=3 --samples 2 --output x
refused "at least 4 pairs" "$TTT" prepare --task mqar --set kind=compositional pairs=2 --samples 2 --output x
refused "at least 2" "$TTT" prepare --task needle --set kind=multi_key needles=1 --samples 2 --input text.cpp --tokenizer t.model --output x
refused "too few for samples" "$TTT" prepare --task needle --set length=100000 --samples 2 --input text.cpp --tokenizer t.model --output x
refused "has no room for" "$TTT" prepare --task needle --set length=64 --samples 2 --input text.cpp --tokenizer t.model --output x
refused "--valid-fraction has no use with --task" "$TTT" prepare --task needle --samples 2 --input text.cpp --tokenizer t.model --valid-fraction 0.1 --output x
[ ! -e x ] || die "a refused preparation leaves a folder"

# Needles: every one stands in the text before the question, the answer behind it.
for kind in single multi_key multi_value variable_tracking; do
  expect 0 "$TTT" prepare --task needle --set length=640 kind=$kind --samples 3 --input text.cpp --tokenizer t.model --output needle_$kind
  expect 0 "$TTT" inspect data needle_$kind --windows 1 --context 1920 --json
  says out.txt '"samples":3,'
  expect 0 "$TTT" eval --checkpoint run --data needle_$kind --json
  says out.txt '"by_length":[{"length":640,"samples":3,'
  says out.txt '"answers":3,'
done
cat >task.yaml <<YAML
model: {mixer: attention, vocab_size: 16, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: mqar, valid: mqar_test}
train: {context: 16, batch_tokens: 1Ki, steps: 40, threads: 1, device: cpu, dtype: fp32, stats_every: 0, tensorboard: false}
optim: {lr: 1e-2, warmup_steps: 5}
output_dir: task
YAML
expect 0 "$TTT" train task.yaml
grep -q '"kind":"valid".*"accuracy":.*"answer_accuracy":' task/metrics.jsonl || die "validation has no accuracy"
expect 0 "$TTT" eval --checkpoint task --data mqar_test --json
says out.txt '"tokens":128,"samples":64'
says out.txt '"by_length":[{"length":16,"samples":64,"tokens":128,'
says out.txt '"by_items":[{"items":2,"samples":64,"tokens":128,'
loss=$(number loss)
awk -v l="$loss" 'BEGIN {exit !(l < 2.3)}' || die "trained on answers alone, the model does not know that they are values: $loss"
expect 0 "$TTT" eval --checkpoint task --data mqar_test
says out.txt "whole answers"
expect 0 "$TTT" eval --checkpoint task --data mqar_test --context 16 --by-position --json
near "$(number loss)" "$loss" 1e-5
grep -q '"to":1,"loss":null' out.txt || die "positions without a scored target have no loss"
# N-gram models know no better than chance, log 8.
expect 0 "$TTT" baseline --train mqar --valid mqar_test --json
for loss in $(grep -o '"loss":[0-9.]*' out.txt | cut -d: -f2); do
  awk -v l="$loss" 'BEGIN {exit !(l > 2.03)}' || die "an n-gram model reads values off the tokens before: $(cat out.txt)"
done

# In-context regression: the same errors where samples are computed in parts.
expect 0 "$TTT" prepare --task regression --set dimension=2 points=6 --samples 30 --output regression
expect 0 "$TTT" train task.yaml data.train=regression data.valid= model.vocab_size=256 train.steps=6 output_dir=regressor
expect 0 "$TTT" eval --checkpoint regressor --data regression --json
errors() { grep -o '"squared_error":[0-9.]*' out.txt; }
whole=$(errors)
[ "$(wc -l <<<"$whole")" = 6 ] || die "errors by points: $whole"
expect 0 "$TTT" eval --checkpoint regressor --data regression --piece 7 --json
paste -d' ' <(cut -d: -f2 <<<"$whole") <(errors | cut -d: -f2) | while read -r a b; do near "$a" "$b" 1e-5; done

# --- prompts with answers ---
cat >pairs.jsonl <<'JSON'
{"question": {"text": "int a = "}, "reply": "42;"}
{"question": {"text": "return "}, "reply": "false;"}
JSON
expect 0 "$TTT" prepare --input pairs.jsonl --tokenizer t.model --prompt-field question.text --answer-field reply --output pairs --json
expect 0 "$TTT" inspect data pairs --json
says out.txt '"samples":2,'
expect 0 "$TTT" eval --checkpoint run --data pairs --json
says out.txt '"answers":2,'
says out.txt '"by_items":[]'
refused "name one by --answer-field" "$TTT" prepare --input pairs.jsonl --tokenizer t.model --prompt-field question.text --answer-field answer --output x
refused "name one by --prompt-field" "$TTT" prepare --input pairs.jsonl --tokenizer t.model --answer-field reply --output x
refused "has no use with --answer-field" "$TTT" prepare --input pairs.jsonl --tokenizer t.model --prompt-field question.text --answer-field reply --valid-fraction 0.5 --output x
[ ! -e x ] || die "a refused preparation leaves a folder"
echo "all passed"
