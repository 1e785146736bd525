#!/usr/bin/env bash
# What commands print reaches its place or is missed; names of files that are not UTF-8 or look like lists stay what they are.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

make_tokens
cat >run.yaml <<'YAML'
model: {mixer: attention, vocab_size: 512, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 256, steps: 2, threads: 1, device: cpu, dtype: fp32, eval_samples: 8, tensorboard: false}
optim: {lr: 1e-3}
output_dir: run
YAML
printf 'base: run.yaml\noutput_dir: sweep\nruns: {only: }\n' >sweep.yaml

# --- a full disk behind standard output, or none: 1 and a sentence, whatever the command did ---
lost() {
  local got=0
  "$@" >/dev/full 2>errors.txt </dev/null || got=$?
  [ "$got" = 1 ] || { cat errors.txt; die "exit code $got instead of 1 with a full disk: $*"; }
  says errors.txt "error: cannot write to standard output: "
}
lost "$TTT" --help
says errors.txt "No space left on device"
lost "$TTT" --version
lost "$TTT" --version --json
lost "$TTT" train --help
lost "$TTT" train --help-config
lost "$TTT" tokenizer encode --model t.model "hello there"
lost "$TTT" tokenizer decode --model t.model 363 376
lost "$TTT" tokenizer train --input text.cpp --output u.model --vocab-size 400
lost "$TTT" prepare --tokenizer t.model --input text.cpp --output full --json
lost "$TTT" config run.yaml
lost "$TTT" plan run.yaml --json
lost "$TTT" sweep sweep.yaml --dry-run
lost "$TTT" baseline --train data --valid data
lost "$TTT" train run.yaml --json
lost "$TTT" sweep sweep.yaml --json
lost "$TTT" eval --checkpoint run --data data
lost "$TTT" eval --checkpoint run --data data --json
lost "$TTT" generate --checkpoint run --max-tokens 3 "the"
lost "$TTT" inspect run
lost "$TTT" inspect data --json
lost "$TTT" diff run sweep/only --json
lost "$TTT" convert --from huggingface --input run/checkpoints/step_00000002 --output converted --json
[ -e converted/COMPLETE ] && [ -e run/checkpoints/step_00000002/COMPLETE ] || die "what could not be printed was not done"

# More than fits a buffer: the beginning is lost before the end is written.
seq 20000 | sed 's|.*|363|' >ids.txt
got=0; "$TTT" tokenizer decode --model t.model <ids.txt >/dev/full 2>errors.txt || got=$?
[ "$got" = 1 ] || die "exit code $got instead of 1 for a long text"
says errors.txt "cannot write to standard output"
# What the ranks of a job print goes through their launcher.
got=0; "$TTT" launch -n 1 -- config run.yaml >/dev/full 2>errors.txt || got=$?
[ "$got" = 1 ] || { cat errors.txt; die "exit code $got instead of 1 from ttt launch"; }
says errors.txt "cannot write to standard output"
# Wrong input stays 2.
got=0; "$TTT" eval --checkpoint absent --data data >/dev/full 2>errors.txt || got=$?
[ "$got" = 2 ] || die "exit code $got instead of 2 for wrong input"
# A command that prints nothing has lost nothing.
expect 0 "$TTT" train run.yaml train.steps=3
got=0; "$TTT" train run.yaml train.steps=4 >/dev/full 2>errors.txt || got=$?
[ "$got" = 0 ] || { cat errors.txt; die "exit code $got for a training that prints nothing"; }
# Without a standard output what is printed goes nowhere, above all not into the file that is opened next.
got=0; "$TTT" eval --checkpoint run --data data --context 50 --token-loss loss.npy --json >&- 2>errors.txt || got=$?
[ "$got" = 1 ] || die "exit code $got instead of 1 without a standard output"
says errors.txt "cannot write to standard output: Bad file descriptor"
windows=$((($(stat -c %s loss.npy) - 128) / 200))
[ "$(stat -c %s loss.npy)" = $((128 + windows * 50 * 4)) ] || die "loss.npy has $(stat -c %s loss.npy) bytes"
expect 0 "$TTT" eval --checkpoint run --data data --context 50 --token-loss again.npy --json
cmp loss.npy again.npy || die "standard output was written into a file"

# A standard input that cannot be read is not an empty one.
got=0; "$TTT" tokenizer encode --model t.model <&- >out.txt 2>errors.txt || got=$?
[ "$got" = 2 ] || die "exit code $got instead of 2 without a standard input"
says errors.txt "cannot read standard input: Bad file descriptor"
got=0; "$TTT" generate --checkpoint run --max-tokens 2 <. >out.txt 2>errors.txt || got=$?
[ "$got" = 2 ] || die "exit code $got instead of 2 with a folder as standard input"
says errors.txt "cannot read standard input: Is a directory"

# --- the user's language: numbers have a point, keys and words do not depend on what is an i ---
in_turkish() {
  expect 0 "$TTT" "$@"
  mv out.txt plain.txt
  (use_locale tr_TR; expect 0 "$TTT" "$@")
  cmp plain.txt out.txt || die "in Turkish it prints something else: $*"
}
in_turkish config run.yaml optim.lr=2.5e-4
in_turkish plan run.yaml --tokens-per-second 1234.5 --json
in_turkish tokenizer encode --model t.model "TITLE INFO 1.5"

# --- names that are not UTF-8: JSON stays JSON ---
odd=$(printf 'caf\xe9')
mkdir "$odd"; cp text.cpp "$odd/text.cpp"
is_json() { expect 0 "$@"; iconv -f UTF-8 -t UTF-8 out.txt >/dev/null || die "not UTF-8: $*"; says out.txt "$(printf 'caf\xef\xbf\xbd')"; }
is_json "$TTT" tokenizer train --input "$odd" --output "$odd/t.model" --vocab-size 400 --json
is_json "$TTT" prepare --tokenizer t.model --input "$odd" --extension .cpp --output "$odd/data" --json
is_json "$TTT" inspect "$odd/data" --json
is_json "$TTT" baseline --train "$odd/data" --valid "$odd/data" --json
is_json "$TTT" eval --checkpoint run --data "$odd/data" --json
cp -r run "$odd/run"
is_json "$TTT" eval --checkpoint "$odd/run" --data data --json
is_json "$TTT" convert --from huggingface --input "$odd/run/checkpoints/step_00000004" --output "$odd/model" --json
is_json "$TTT" inspect "$odd/run" --json

# --- names that look like lists ---
mkdir '[2024]' '[a, b]'; cp text.cpp '[2024]/one.cpp'; cp text.cpp '[a, b]/two.cpp'; cp text.cpp '[draft] x,y'
expect 0 "$TTT" prepare --tokenizer t.model --input '[2024]' '[a, b]' '[draft] x,y' --output '[out]'
documents() { expect 0 "$TTT" inspect "$1" --json; grep -o '"documents":[0-9]*' out.txt | head -1; }
[ "$(documents '[out]')" = '"documents":3' ] || die "not three documents: $(documents '[out]')"
expect 0 "$TTT" prepare --tokenizer t.model --input='[a, b]' --output listed
[ "$(documents listed)" = '"documents":1' ] || die "--input='[a, b]' was split"
expect 0 "$TTT" tokenizer train --input '[a, b]' --output '[a, b]/t.model' --vocab-size 400
expect 0 "$TTT" tokenizer encode --model '[a, b]/t.model' '[1, 2]'
expect 0 "$TTT" tokenizer decode --model t.model '[363, 376]'
cp out.txt listed.txt
expect 0 "$TTT" tokenizer decode --model t.model 363 376
cmp out.txt listed.txt || die "a list of ids in brackets is not what it holds"
expect 2 "$TTT" prepare --tokenizer t.model --input '[none, there]' --output other
says errors.txt "'[none, there]'"

# --- names that no file can have ---
long=$(printf 'x%.0s' $(seq 300))
refused() { expect 2 "$@"; says errors.txt "File name too long"; ! grep -q 'filesystem error' errors.txt || die "a raw message: $*"; }
refused "$TTT" train run.yaml output_dir="$long"
refused "$TTT" prepare --tokenizer t.model --input text.cpp --output "$long"
refused "$TTT" tokenizer train --input text.cpp --output "$long" --vocab-size 400
refused "$TTT" tokenizer encode --model "$long" x
refused "$TTT" convert --from huggingface --input run/checkpoints/step_00000004 --output "$long"
refused "$TTT" eval --checkpoint "$long" --data data
refused "$TTT" eval --checkpoint run --data "$long"
refused "$TTT" eval --checkpoint run --data data --token-loss "$long"
refused "$TTT" inspect "$long"
refused "$TTT" sweep sweep.yaml output_dir="$long"
refused "$TTT" plan "$long"

echo ok
