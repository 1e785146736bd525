#!/usr/bin/env bash
# What a training shows: a redrawn line that fits a terminal of any width, colours only where they are wanted, plain lines
# in a file. Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail

die() { echo "FAILED: $*" >&2; exit 1; }
escape=$'\033'

"$TTT" tokenizer train --input "$SOURCE/src/base" --output t.model --vocab-size 512 >out.txt 2>&1 || { cat out.txt; die "tokenizer"; }
"$TTT" prepare --input "$SOURCE/src/base" --tokenizer t.model --output data >out.txt 2>&1 || { cat out.txt; die "prepare"; }
cat >run.yaml <<'YAML'
model: {mixer: attention, vocab_size: 512, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32}
data: {train: data}
train: {context: 32, batch_tokens: 128, steps: 40, threads: 1, device: cpu}
checkpoint: {every: 20}
output_dir: run
YAML

# on_terminal COLUMNS [NAME=VALUE ...]: trains on a terminal (of util-linux's script) of that width; what it got is in shown.
on_terminal() {
  local columns=$1
  shift
  rm -rf run
  env -u NO_COLOR TERM=xterm "$@" script -qefc "stty cols $columns rows 24; '$TTT' train run.yaml" typescript >shown </dev/null ||
    { cat shown; die "training on a terminal: $*"; }
}
# The texts that were drawn over one another, one a line.
drawn() { tr '\r' '\n' <shown | grep -F "${escape}[J" | sed "s/$escape\[J//; s/$escape\[[0-9]*m.*//" | grep '^step'; }

on_terminal 100
grep -qF "${escape}[2m" shown || die "no colours on a terminal"
[ "$(drawn | wc -l)" -ge 2 ] || { cat -v shown; die "the progress line is not redrawn"; }
drawn | grep -q '\[#' || { drawn; die "no bar on a wide terminal"; }
drawn | grep -q 'tokens/s' || { drawn; die "no speed on a wide terminal"; }
on_terminal 40
drawn | grep -q 'ETA' || { drawn; die "no ETA at 40 columns"; }
[ "$(drawn | awk '{ if (length($0) > longest) longest = length($0) } END { print longest }')" -le 39 ] || { drawn; die "a line is longer than the terminal is wide"; }
on_terminal 80 NO_COLOR=1
! grep -q "$escape\[[0-9;]*m" shown || die "colours in spite of NO_COLOR"
[ "$(drawn | wc -l)" -ge 2 ] || die "not redrawn without colours"
on_terminal 80 TERM=dumb
! grep -qF "$escape" shown || die "escapes on a dumb terminal"
grep -q 'step 40/40' shown || die "no progress on a dumb terminal"

# Redirected: plain lines, of the first and the last step and every ten seconds.
rm -rf run
"$TTT" train run.yaml >shown 2>&1 || { cat shown; die "redirected"; }
! grep -q "[$escape"$'\r'"]" shown || die "control characters in a file"
grep -q 'step 1/40  loss' shown && grep -q 'step 40/40  loss' shown || { cat shown; die "first and last step are not there"; }
[ "$(grep -c 'step [0-9]*/40' shown)" -le 8 ] || { cat shown; die "more than a line in ten seconds"; }
! grep -q "[$escape"$'\r'"]" run/train.log || die "control characters in train.log"
grep -q 'step 40/40' run/train.log || die "no progress in train.log"

# --json: one object on standard output, nothing else.
rm -rf run
"$TTT" train run.yaml --json >result.json 2>log.txt || { cat log.txt; die "--json"; }
[ "$(wc -l <result.json)" -eq 1 ] || { cat result.json; die "not one line of JSON"; }
for text in '"status":"finished"' '"checkpoint":"run/checkpoints/step_00000040"' '"steps":40' '"tokens":5120' '"loss":[0-9]' '"validation":null' '"tokens_per_second":[0-9]'; do
  grep -q "$text" result.json || { cat result.json; die "no $text"; }
done

# An error is red on a terminal.
env -u NO_COLOR TERM=xterm script -qfc "'$TTT' train nowhere.yaml" typescript >shown </dev/null || true
grep -qF "${escape}[1;31merror:${escape}[0m there is no config file" shown || { cat -v shown; die "an error is not red"; }
echo "ok"
