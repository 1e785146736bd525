#!/usr/bin/env bash
# ttt prepare by the command alone: every kind of input, every kind of bad input, kills at random moments, a full disk.
# Environment: TTT the binary, SOURCE the checkout; the working directory is an empty scratch folder.
set -euo pipefail

failed() { echo "FAILED: $*" >&2; exit 1; }

# expect_error CODE 'TEXT' COMMAND...: the command ends with CODE, stderr holds TEXT and one line that says "error: ".
expect_error() {
  local code=$1 text=$2 got=0
  shift 2
  "$@" >stdout 2>stderr || got=$?
  [[ $got == "$code" ]] || failed "exit code $got instead of $code: $* ($(cat stderr))"
  grep -qF -- "$text" stderr || failed "'$(cat stderr)' does not mention '$text': $*"
  [[ $(grep -c '^error: ' stderr) == 1 ]] || failed "not one error line: $(cat stderr)"
}

number_of() { grep -o "\"$1\":[0-9.]*" | head -1 | cut -d: -f2; }
prepare() { "$TTT" prepare --tokenizer t.model "$@"; }

# --- inputs: source files as documents of JSON Lines, with their folder as domain ---
json_string() { sed -e 's/\\/\\\\/g' -e 's/"/\\"/g' -e 's/\t/\\t/g' "$1" | awk '{printf "%s\\n", $0}'; }
for folder in base data tokenizer; do
  for file in "$SOURCE"/src/$folder/*; do
    printf '{"id": 1, "text": "%s", "meta": {"set": "%s"}}\n' "$(json_string "$file")" $folder
  done
done >all.jsonl
mkdir corpus corpus/base corpus/data corpus/tokenizer
for folder in base data tokenizer; do cp "$SOURCE"/src/$folder/* corpus/$folder/; done
for file in corpus/*/*; do cat "$file"; printf '<|endoftext|>\n'; done >all.txt
bytes=$(cat corpus/*/* | wc -c)
documents=$(ls corpus/*/* | wc -l)
"$TTT" tokenizer train --input corpus --output t.model --vocab-size 600 2>/dev/null >&2

"$TTT" tokenizer train --input all.jsonl --output from_lines.model --vocab-size 600 2>/dev/null >&2
cmp t.model from_lines.model || failed "a tokenizer of JSON Lines differs from that of the same documents in files"
expect_error 2 "there is no field 'content'" "$TTT" tokenizer train --input all.jsonl --text-field content --output no.model

# The same documents in the same order give the same tokens, however they come.
zstd -q all.jsonl -o all.jsonl.zst
gzip -k all.jsonl
zstd -q all.txt -o all.txt.zst
prepare --input corpus --output files >/dev/null
[[ $("$TTT" inspect files --json | number_of text_bytes) == "$bytes" ]] || failed "bytes of text"
[[ $("$TTT" inspect files --json | number_of documents) == "$documents" ]] || failed "number of documents"
for input in all.jsonl all.jsonl.zst all.jsonl.gz all.txt all.txt.zst; do
  prepare --input $input --separator '<|endoftext|>' --output one --threads 1 >/dev/null
  cmp one/tokens-00000.bin files/tokens-00000.bin || failed "the tokens of $input differ"
  cmp one/documents-00000.bin files/documents-00000.bin || failed "the documents of $input differ"
  [[ ! -e one/.prepare ]] || failed "a finished preparation left .prepare"
  rm -r one
done

# Domains: by a field of the lines, by folder; each has a set of its own, which domains.json counts.
prepare --input all.jsonl.gz --domain-field meta.set --output by_field >/dev/null
prepare --input corpus --domain-by folder --output by_folder | grep -q 'wrote by_folder/tokenizer: ' || failed "sets of domains"
for folder in base data tokenizer; do
  cmp by_field/$folder/tokens-00000.bin by_folder/$folder/tokens-00000.bin || failed "the domain $folder differs"
done
grep -q '"name": "tokenizer"' by_field/domains.json || failed "domains.json"
expect_error 2 'already holds data sets by domain' prepare --input corpus --domain-by folder --output by_folder

# --- bad input: exit code 2, one sentence that says where, and nothing left behind ---
refused() {  # TEXT COMMAND...: with --output new/out
  expect_error 2 "$@" --output new/out
  [[ ! -e new ]] || failed "a refused preparation left something: $(find new)"
}
head -c 20000 all.jsonl.zst >short.jsonl.zst
head -c 20000 all.jsonl.gz >short.jsonl.gz
refused "'short.jsonl.zst' is truncated" prepare --input short.jsonl.zst
refused "'short.jsonl.gz' is truncated" prepare --input short.jsonl.gz
cp all.txt wrong.zst
refused 'not whole Zstandard data' prepare --input wrong.zst
{ head -3 all.jsonl; echo '{"text": "cut off'; } >broken.jsonl
refused "'broken.jsonl' line 4 is broken JSON" prepare --input broken.jsonl
{ head -1 all.jsonl; echo '{"body": "x", "id": 3}'; } >field.jsonl
refused "'field.jsonl' line 2: there is no field 'text'; the fields here are: body, id" prepare --input field.jsonl
refused "line 1: there is no field 'content'; the fields here are: id, text, meta" prepare --input all.jsonl --text-field content
refused "line 1: the field 'id' is a number, not a string" prepare --input all.jsonl --text-field id
refused "line 1: there is no field 'meta.kind'; the fields here are: set" prepare --input all.jsonl --domain-field meta.kind
echo '["text"]' >array.jsonl
refused "'array.jsonl' line 1 is an array, not an object" prepare --input array.jsonl
printf '{"text": "caf\xe9"}\n' >latin.jsonl
refused "'latin.jsonl' line 1 is not UTF-8 text" prepare --input latin.jsonl
printf 'caf\xe9\n' | gzip >latin.txt.gz
refused "'latin.txt.gz' is not UTF-8 text: byte 3 is 0xE9" prepare --input latin.txt.gz
printf '{"text": ""}\n\n' >empty.jsonl
refused "the text is empty: 'empty.jsonl'" prepare --input empty.jsonl
printf '<|endoftext|>\n<|endoftext|>' >empty.txt
refused "the text is empty: 'empty.txt'" prepare --input empty.txt --separator '<|endoftext|>'
refused "'all.txt' is plain text" prepare --input all.jsonl all.txt --domain-field meta.set
refused '--domain-by' prepare --input all.jsonl --domain-by language
refused 'excludes' prepare --input all.jsonl --domain-by file --domain-field meta.set

# --- nothing that was named, or lies below a folder that was, is left out without a word ---
mkdir -p tree/locked elsewhere
cp corpus/base/files.cpp tree/; cp corpus/base/hash.cpp elsewhere/; cp corpus/base/log.cpp tree/locked/
ln -s ../elsewhere tree/linked
ln -s ../tree elsewhere/up  # in a circle
prepare --input tree tree/files.cpp --output tree_set --json >report.json 2>log
[[ $(number_of text_bytes <report.json) == $(cat tree/files.cpp elsewhere/hash.cpp tree/locked/log.cpp | wc -c) ]] ||
  failed "a linked folder: $(cat report.json log)"
grep -q 'reached more than once and taken once' log || failed "a circle and a file named twice: $(cat log)"
unprivileged() {
  if [[ $(id -u) == 0 ]]; then setpriv --bounding-set=-dac_override,-dac_read_search --inh-caps=-dac_override,-dac_read_search "$@"; else "$@"; fi
}
chmod 000 tree/locked
refused "cannot read the folder 'tree/locked': Permission denied" unprivileged "$TTT" prepare --tokenizer t.model --input tree
chmod 755 tree/locked; chmod 000 tree/locked/log.cpp
refused "cannot open 'tree/locked/log.cpp': Permission denied" unprivileged "$TTT" prepare --tokenizer t.model --input tree
chmod 644 tree/locked/log.cpp
ln -s nowhere.txt tree/lost.txt
refused "'tree/lost.txt' is a link to 'nowhere.txt', which does not exist" prepare --input tree
expect_error 2 "'tree/lost.txt' is a link" "$TTT" tokenizer train --input tree --output no.model
rm tree/lost.txt
refused "'/dev/stdin' is a pipe" prepare --input /dev/stdin < <(cat all.txt)
refused "is a pipe" prepare --input <(cat all.txt)
rm -rf one; prepare --input /dev/stdin --separator '<|endoftext|>' --output one <all.txt >/dev/null  # a file can be read again
cmp one/tokens-00000.bin files/tokens-00000.bin || failed "the tokens of a redirected file differ"

# --- what a file is: by its name, whatever its case, or a look at it; --format overrules both ---
rm -rf one; cp all.jsonl part-0000; cp all.jsonl all.JSON; cp all.jsonl.gz ALL.JSONL.GZ
for input in part-0000 all.JSON ALL.JSONL.GZ; do
  prepare --input $input --output one >/dev/null 2>log
  cmp one/tokens-00000.bin files/tokens-00000.bin || failed "the tokens of $input differ"
  grep -q "read as JSON Lines: '$input'" log || failed "it does not say how it reads $input: $(cat log)"
  rm -r one
done
prepare --input part-0000 --format plain --output one --json >report.json 2>/dev/null; rm -r one
[[ $(number_of text_bytes <report.json) == $(stat -c %s part-0000) ]] || failed "--format plain"
tar cf all.dat corpus
refused "'all.dat' is not text: it seems to be a tar archive" prepare --input all.dat
printf 'id,text\n1,one\n' >table.csv
refused "'table.csv' is a table" prepare --input table.csv
printf 'version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n' >pointer.jsonl
refused "'pointer.jsonl' is not text: it seems to be a pointer to a file in Git LFS" prepare --input pointer.jsonl
refused "--separator holds a line end" prepare --input all.txt --separator $'---\n'
refused "--format" prepare --input all.txt --format json

# --- JSON Lines as Python writes them ---
{
  printf '{"text": "one", "hash": 123456789012345678901234567890, "n": 1e400}\n{"text": "two", "score": NaN, "low": -Infinity}\n'
  printf '{"text": "half \\ud83d", "other": "\\ud83d"}\n{"text": "", "x": 1}\n{"text": "old", "text": "new"}\n'
  printf '{"tree": %s%s, "text": "deep"}\n' "$(printf '[%.0s' {1..3000})" "$(printf ']%.0s' {1..3000})"
} >python.jsonl
prepare --input python.jsonl --output one >out 2>/dev/null
grep -q ' tokens in 5 documents' out || failed "lines that Python writes: $(cat out)"
grep -q 'left out 1 document without text' out || failed "documents without text are not counted: $(cat out)"
grep -q '1 document holds half of a surrogate pair' out || failed "replaced characters are not counted: $(cat out)"
"$TTT" inspect data one --json | grep -q '"problems":\[\]' || failed "the set of such lines is not whole"
rm -r one

# --- text without spaces: memory for each thread is bounded ---
head -c 4000000 /dev/urandom | od -An -v -tx1 | tr -d ' \n' | tr '0-9a-f' 'ACGTACGTACGTACGT' >dna.txt
prepare --threads 8 --input dna.txt --output one >/dev/null 2>&1 &
peak=0
while kill -0 $! 2>/dev/null; do  # the highest resident size so far, as the kernel keeps it
  now=$(awk '/VmHWM/ {print $2}' "/proc/$!/status" 2>/dev/null || true)
  [[ ${now:-0} -le $peak ]] || peak=$now
  sleep 0.05
done
wait $! || failed "text without spaces"
[[ $peak -gt 0 && $peak -lt 700000 ]] || failed "8 threads took $peak KB for 8 MB of text without spaces"
rm -r one

# --- the output within the input: killed, the same command goes on; with --force it begins anew ---
mkdir within; cp all.txt within/; for i in 1 2 3 4 5 6 7 8; do cp all.jsonl within/$i.jsonl; done
(
  cd within
  options=(prepare --tokenizer ../t.model --input . --output ./tokens --save-every 200000 --threads 1)
  "$TTT" "${options[@]}" >said.txt 2>said.log &
  for ((i = 0; i < 400; ++i)); do
    if grep -q '"offset":[1-9]' tokens/.prepare/journal.json 2>/dev/null; then break; fi
    sleep 0.02
  done
  kill -9 $!; wait $! 2>/dev/null || true
  [[ -e tokens/.prepare/journal.json ]] || failed "it was not killed in time"
  "$TTT" "${options[@]}" >said.txt 2>said.log || failed "it does not go on: $(cat said.log)"
  grep -q 'going on with the preparation' said.log || failed "it does not say that it goes on: $(cat said.log)"
  grep -q 'left out' said.log || failed "it does not say that it leaves out its own files: $(cat said.log)"
  rm said.txt said.log
  "$TTT" "${options[@]}" --force >../said.txt 2>../said.log || failed "--force: $(cat ../said.log)"
)
mv within/tokens .
prepare --input within --output apart >/dev/null 2>&1
cmp apart/tokens-00000.bin tokens/tokens-00000.bin || failed "the output within the input was taken for text"

# --- kills at random moments: the same command ends with the same bytes ---
for ((i = 0; i < 8; ++i)); do cat all.jsonl; done | zstd -q -o many.jsonl.zst
options=(--input many.jsonl.zst all.jsonl.gz --domain-field meta.set --valid-fraction 0.1
         --shard-tokens 200000 --save-every 400000 --threads 2)
prepare "${options[@]}" --output whole >/dev/null
unfinished() { [[ -e killed/.prepare/journal.json || ! -e killed/domains.json ]]; }
kills=0
for ((round = 0; round < 3 || (kills < 4 && round < 12); ++round)); do
  rm -rf killed
  for ((i = 0; i < 6; ++i)); do
    "$TTT" prepare --tokenizer t.model "${options[@]}" --output killed >/dev/null 2>log &
    sleep "0.$((RANDOM % 9))$((RANDOM % 10))"
    if kill -9 $! 2>/dev/null; then kills=$((kills + 1)); fi
    wait $! 2>/dev/null || true
    unfinished || break
  done
  if unfinished; then prepare "${options[@]}" --output killed >/dev/null 2>log; fi
  rmdir killed/.prepare 2>/dev/null || true  # killed in its very last act
  diff -r whole killed || failed "a preparation that was killed differs"
done
[[ $kills -gt 3 ]] || failed "only $kills kills"

# Another command does not go on from there, and says so; --force drops what was left.
rm -rf killed
"$TTT" prepare --tokenizer t.model "${options[@]}" --output killed >/dev/null 2>&1 &
for ((i = 0; i < 100; ++i)); do [[ ! -e killed/.prepare/journal.json ]] || break; sleep 0.05; done
kill -9 $!; wait $! 2>/dev/null || true
expect_error 2 'an unfinished preparation with other options' prepare --input all.jsonl --output killed
prepare --input all.jsonl --output killed --force >/dev/null
cmp killed/tokens-00000.bin files/tokens-00000.bin || failed "forced after a kill"

# --- a full disk: exit code 1, one sentence, and the same command goes on when there is room ---
full() (
  trap '' XFSZ
  ulimit -f 200  # KiB a file
  exec "$TTT" prepare --tokenizer t.model "${options[@]}" --output full
)
expect_error 1 'the same command goes on from it' full
[[ -e full/.prepare ]] || failed "the work before the disk was full is lost"
prepare "${options[@]}" --output full >/dev/null 2>log
grep -q 'going on with the preparation' log || failed "it does not say that it goes on: $(cat log)"
diff -r whole full || failed "a preparation that ran out of disk differs"
# --- what was prepared by domain is trained on as it is, each domain with its validation loss; wrong mixtures are named ---
tiny=("$SOURCE"/configs/run/quickstart.yaml model.hidden_size=32 model.num_layers=1 model.num_heads=2 model.intermediate_size=64
      model.vocab_size=600 train.context=64 train.batch_tokens=256 train.steps=3 optim.warmup_steps=1 train.stats_every=0
      train.eval_every=0 train.eval_batches=2 train.threads=1 output_dir=run)
"$TTT" train "${tiny[@]}" data.train=whole data.valid=whole >log 2>&1 || failed "training on domains: $(cat log)"
grep -q "data 'tokenizer': .* % of the tokens, .* epochs" log || failed "epochs are not stated: $(cat log)"
grep '"kind":"valid"' run/metrics.jsonl | grep -q '"domains":{"base":{"loss":' || failed "no validation loss by domain"
expect_error 2 'other weights' "$TTT" train "${tiny[@]}" data.valid=whole \
  'data.train=[{path: whole/base/train, weight: 1}, {path: whole/data/train, weight: 1}]'
expect_error 2 "the weights of 'data.train' sum to nothing" "$TTT" train "${tiny[@]}" data.valid= 'data.train=[{path: whole, weight: 0}]'
"$TTT" tokenizer train --input corpus/base --output other.model --vocab-size 600 2>/dev/null >&2
"$TTT" prepare --tokenizer other.model --input corpus/base --output other >/dev/null
expect_error 2 'prepare both with one tokenizer' "$TTT" train "${tiny[@]}" data.valid= output_dir=new \
  'data.train=[{path: files}, {path: other}]'
expect_error 2 "data.valid 'other' was prepared with another tokenizer" "$TTT" train "${tiny[@]}" data.train=files data.valid=other output_dir=new
expect_error 2 'another tokenizer' "$TTT" train "${tiny[@]}" data.train=files data.valid= output_dir=new tokenizer=other.model
[[ ! -e new ]] || failed "a refused training left its folder"
echo "prepare: all well, after $kills kills"
