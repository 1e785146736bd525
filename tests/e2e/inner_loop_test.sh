#!/usr/bin/env bash
# `ttt eval` and `ttt generate` with inner loops scaled, frozen and shown.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

seq 1 4000 | sed 's/$/ is a number, and so is the one before it/' > numbers.txt
"$TTT" tokenizer train --input numbers.txt --vocab-size 300 --output t.model > log.txt 2>&1 || { cat log.txt; die "tokenizer"; }
"$TTT" prepare --input numbers.txt --tokenizer t.model --output data > log.txt 2>&1 || { cat log.txt; die "prepare"; }
cat > run.yaml <<'EOF'
model: {mixer: ttt_linear, vocab_size: 300, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 48}
data: {train: data}
train: {context: 64, batch_tokens: 512, steps: 30, threads: 1, device: cpu, dtype: fp32}
optim: {lr: 0.01, warmup_steps: 5}
output_dir: run
EOF
"$TTT" train run.yaml > log.txt 2>&1 || { cat log.txt; die "train"; }
loss() {
  "$TTT" eval --checkpoint run --data data --max-samples 20 --json "$@" 2>log.txt | grep -o '"loss":[0-9.]*' | cut -d: -f2
}
as_trained=$(loss)
[ "$(loss --inner-lr-scale 1)" = "$as_trained" ] || die "a scale of 1 changes the loss"
[ "$(loss --freeze-inner-after 64)" = "$as_trained" ] || die "a freeze behind the context changes the loss"
still=$(loss --inner-lr-scale 0)
[ "$(loss --freeze-inner-after 0)" = "$still" ] || die "frozen from the start is not the same as a scale of 0"
awk -v a="$as_trained" -v b="$still" 'BEGIN { exit !(b > a) }' || die "without its inner loop the model is no worse: $still, $as_trained"
"$TTT" generate --checkpoint run "12 is" --max-tokens 5 --inner-lr-scale 0 > log.txt 2>&1 || { cat log.txt; die "generate"; }

"$TTT" eval --checkpoint run --data data --max-samples 5 --inner-loop --inner-loop-plot loop.svg > table.txt 2>log.txt || { cat log.txt; die "--inner-loop"; }
grep -Eq '^ +1  49..64 ' table.txt || { cat table.txt; die "the table has no last mini-batch of layer 1"; }
grep -q '^<svg' loop.svg || die "no picture"
"$TTT" eval --checkpoint run --data data --max-samples 5 --inner-loop --json 2>log.txt > table.json || { cat log.txt; die "--json"; }
for text in '"windows":5' '"from":\[1,17,33,49\]' '"loss_before":\[' '"learning_rate":\[' '"checkpoint":"run'; do
  grep -q -- "$text" table.json || { cat table.json; die "no $text"; }
done

refused "leave out --token-loss" "$TTT" eval --checkpoint run --data data --inner-loop --token-loss x.npy
refused "inner-lr-scale" "$TTT" eval --checkpoint run --data data --inner-lr-scale -1
refused "requires --inner-loop" "$TTT" eval --checkpoint run --data data --inner-loop-plot x.svg
"$TTT" train run.yaml model.mixer=attention train.steps=5 output_dir=attention > log.txt 2>&1 || { cat log.txt; die "train attention"; }
refused "has no TTT layer" "$TTT" eval --checkpoint attention --data data --freeze-inner-after 3
refused "its mixer is attention" "$TTT" eval --checkpoint attention --data data --inner-loop
