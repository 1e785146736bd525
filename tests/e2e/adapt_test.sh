#!/usr/bin/env bash
# `ttt eval --adapt` and `--recall-probe`, and a sweep that trains and evaluates with and without inner steps.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

number() { grep -oE "\"$1\":-?[0-9.e+-]+" "${2:-out.txt}" | head -1 | cut -d: -f2; }
below() { awk -v a="$1" -v b="$2" 'BEGIN {exit !(a < b && a != "" && b != "")}' || die "$1 is not below $2: $3"; }

seq 1 3000 | sed 's/$/ is a number, and so is the one before it/' > numbers.txt
"$TTT" tokenizer train --input numbers.txt --vocab-size 300 --output t.model > log.txt 2>&1 || { cat log.txt; die "tokenizer"; }
"$TTT" prepare --input numbers.txt --tokenizer t.model --output data > log.txt 2>&1 || { cat log.txt; die "prepare"; }
cat > sweep.yaml <<'EOF'
output_dir: sweep
set:
  model: {mixer: ttt_linear, vocab_size: 300, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 48}
  data: {train: data, valid: data}
  train: {context: 64, batch_tokens: 512, steps: 20, threads: 1, device: cpu, dtype: fp32, eval_samples: 8, eval_inner_lr_scales: [0, 1]}
  optim: {lr: 0.01, warmup_steps: 5}
axes:
  trained: {with: {train.inner_lr_scale: 1}, without: {train.inner_lr_scale: 0}}
EOF

# --- two by two ---
expect 0 "$TTT" sweep sweep.yaml
says out.txt "loss, inner lr x 0"
says out.txt "loss, inner lr x 1"
grep '"name":"without"' sweep/runs.jsonl > without.json
grep '"name":"with"' sweep/runs.jsonl > with.json
grep -q '"inner_lr_scale":0.0' without.json || die "no scale: $(cat without.json)"
at() { grep -oE "\"$2\":\{[^}]*\"loss\":[0-9.]+" "$1.json" | grep -oE '[0-9.]+$'; }
[ "$(at with 1)" = "$(number valid_loss with.json)" ] || die "as trained, with: $(cat with.json)"
[ "$(at without 0)" = "$(number valid_loss without.json)" ] || die "as trained, without: $(cat without.json)"
[ "$(at with 0)" != "$(at with 1)" ] || die "inner steps change nothing"
[ "$(at without 0)" != "$(at without 1)" ] || die "inner steps change nothing"
expect 0 "$TTT" eval --checkpoint sweep/without --data data --max-samples 8 --inner-lr-scale 0 --json
below "$(awk -v a="$(number loss)" -v b="$(at without 0)" 'BEGIN {print (a > b ? a - b : b - a)}')" 1e-6 "eval and validation differ"
refused "is about TTT layers" "$TTT" sweep sweep.yaml model.mixer=mamba output_dir=other
refused "list of numbers of at least 0" "$TTT" sweep sweep.yaml 'train.eval_inner_lr_scales=[-1]' output_dir=other
run=sweep/with
export OMP_NUM_THREADS=1

# --- dynamic evaluation ---
eval_loss() { expect 0 "$TTT" eval --checkpoint $run --data data --max-samples 40 --threads 1 --json "$@"; number loss; }
plain=$(eval_loss)
still=$(eval_loss --adapt sgd --adapt-lr 0)
below "$(awk -v a="$plain" -v b="$still" 'BEGIN {print (a > b ? a - b : b - a)}')" 1e-6 "a rate of 0 is not plain evaluation"
below "$(eval_loss --adapt sgd --adapt-lr 0.1)" "$plain" "sgd learns nothing"
below "$(eval_loss --adapt adamw --adapt-lr 0.003 --adapt-chunk 16 --adapt-layers 0-1)" "$plain" "adamw learns nothing"
expect 0 "$TTT" eval --checkpoint $run --data data --max-samples 20 --adapt sgd --adapt-lr 0.1 --adapt-chunk 128 --adapt-reset document --by-position --json
grep -q '"adapt":{"method":"sgd","lr":0.1,"chunk":128,"layers":"all","reset":"document"}' out.txt || die "adapt: $(cat out.txt)"
expect 0 "$TTT" eval --checkpoint $run --data data --max-samples 20 --adapt sgd --adapt-lr 0.1
says out.txt "adapted        by sgd, lr 0.1, after each 64 targets, layers all"
[ "$(eval_loss)" = "$plain" ] || die "the checkpoint has changed"
refused "requires --adapt-lr" "$TTT" eval --checkpoint $run --data data --adapt sgd
refused "requires --adapt" "$TTT" eval --checkpoint $run --data data --adapt-lr 0.1
refused "no multiple of the sequences of 64 tokens; give 64," "$TTT" eval --checkpoint $run --data data --adapt sgd --adapt-lr 0.1 --adapt-chunk 100
refused "has layers 0 to 1" "$TTT" eval --checkpoint $run --data data --adapt sgd --adapt-lr 0.1 --adapt-layers 2
refused "leave out --carry-state" "$TTT" eval --checkpoint $run --data data --adapt sgd --adapt-lr 0.1 --carry-state
refused "leave out --dtype bf16" "$TTT" eval --checkpoint $run --data data --adapt sgd --adapt-lr 0.1 --dtype bf16

# --- recall probe ---
expect 0 "$TTT" eval --checkpoint $run --data data --recall-probe --recall-passage 8 --max-samples 4 --recall-plot recall.svg --json
grep -qE '"context":64,"passage":8,"probes":4,"recall":\[\{"distance":8,"gain":-?[0-9.e-]+,"low":-?[0-9.e-]+,"high":-?[0-9.e-]+,"planted":[0-9.]+,"fresh":[0-9.]+\},\{"distance":16,' out.txt || die "recall: $(cat out.txt)"
grep -q '^<svg' recall.svg || die "no picture"
expect 0 "$TTT" eval --checkpoint $run sweep/without --data data --recall-probe --recall-passage 8 --recall-distances 8,40 --max-samples 4
[ "$(grep -cE '^ +40 ' out.txt)" = 2 ] || die "two tables: $(cat out.txt)"
refused "from 8 to 56" "$TTT" eval --checkpoint $run --data data --recall-probe --recall-passage 8 --recall-distances 57
refused "leave out --by-position" "$TTT" eval --checkpoint $run --data data --recall-probe --by-position
refused "there is no folder '$(pwd -P)/nowhere' for --recall-plot" \
  "$TTT" eval --checkpoint $run --data data --recall-probe --recall-plot nowhere/x.svg
