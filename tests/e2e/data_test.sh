#!/usr/bin/env bash
# From text to a data set by the commands alone, and what they say about input that they cannot take.
# Environment: TTT the binary, SOURCE the checkout; the working directory is an empty scratch folder.
set -euo pipefail

failed() { echo "FAILED: $*" >&2; exit 1; }

# expect_error CODE 'TEXT' COMMAND...: the command ends with CODE, its last line of stderr holds TEXT and is one sentence.
expect_error() {
  local code=$1 text=$2 got=0
  shift 2
  "$@" >stdout 2>stderr || got=$?
  [[ $got == "$code" ]] || failed "exit code $got instead of $code: $* ($(cat stderr))"
  grep -qF -- "$text" stderr || failed "'$(cat stderr)' does not mention '$text': $*"
  [[ $(grep -c '^error: ' stderr) == 1 ]] || failed "not one error line: $(cat stderr)"
}

# number_of KEY: the first number behind "KEY": in JSON on stdin.
number_of() { grep -o "\"$1\":[0-9.]*" | head -1 | cut -d: -f2; }

# --- the way through ---
mkdir text
cp "$SOURCE"/src/base/*.h "$SOURCE"/src/base/*.cpp "$SOURCE"/src/data/*.h "$SOURCE"/src/data/*.cpp "$SOURCE"/src/tokenizer/*.cpp text/
"$TTT" tokenizer train --input text --extension .h .cpp --output t.model --vocab-size 600
"$TTT" prepare --tokenizer t.model --input text --extension .h .cpp --output data --valid-fraction 0.1 | tee prepared
grep -q 'wrote data/train: .* bytes a token' prepared || failed "prepare does not say what it wrote"
"$TTT" inspect data >inspected
grep -q 'whole' inspected || failed "a fresh data set is not whole"
"$TTT" inspect data/train --json | grep -q '"problems":\[\]' || failed "inspect --json"
"$TTT" inspect data data/train --windows 3 --context 20 --seed 5 --json >windows.json
[[ $(grep -o '"first_token"' windows.json | wc -l) == 3 ]] || failed "three windows"
"$TTT" inspect data data/train --windows 3 --context 20 --seed 5 --json | cmp - windows.json || failed "windows are not those of the seed"
"$TTT" inspect data data/train >inspected
grep -q 'BOS tokens .*, every document begins with it' inspected || failed "BOS against documents: $(cat inspected)"
grep -q 'document length .* median' inspected || failed "document lengths"
bytes=$(cat text/*.h text/*.cpp | wc -c)
train=$("$TTT" inspect data/train --json | number_of text_bytes)
valid=$("$TTT" inspect data/valid --json | number_of text_bytes)
[[ $((train + valid)) == "$bytes" ]] || failed "$train + $valid bytes of text instead of $bytes"

# Lossless through the command line, line ends and runs of spaces included.
file=text/files.cpp
"$TTT" tokenizer encode --model t.model --file $file >ids
"$TTT" tokenizer decode --model t.model <ids | cmp - $file || failed "decode(encode(x)) is not x"
"$TTT" tokenizer encode --model t.model <$file | cmp - ids || failed "encode from stdin differs"
# shellcheck disable=SC2046
[[ $("$TTT" tokenizer decode --model t.model $("$TTT" tokenizer encode --model t.model 'a  b')) == 'a  b' ]] || failed "ids as arguments"
"$TTT" tokenizer encode --model t.model --pieces 'return 0;' | grep -q '^"' || failed "--pieces"

# Duplicates are found, counted and shown.
mkdir twice && cp text/*.h twice/ && cp text/timer.h twice/again.h && cp text/timer.h twice/zzz.h
"$TTT" prepare --tokenizer t.model --input twice --output duplicates >/dev/null
"$TTT" inspect duplicates >inspected
grep -q 'duplicates  *2 documents' inspected || failed "duplicates: $(cat inspected)"
grep -q 'document [0-9]* is document [0-9]* again' inspected || failed "an example of a duplicate"

# n-grams: each order is better than the one below.
"$TTT" baseline --train data/train --valid data/valid --json >baseline.json
losses=$(grep -o '"loss":[0-9.]*' baseline.json | cut -d: -f2)
[[ $(sort -rn <<<"$losses") == "$losses" && $(wc -l <<<"$losses") == 3 ]] || failed "n-gram losses: $losses"

# A token array, by exactly the words that scripts use. numpy.save(array([0..210], dtype=uint16)), written by hand.
header="{'descr': '<u2', 'fortran_order': False, 'shape': (211,), }"
{
  printf '\x93NUMPY\x01\x00\x76\x00%-117s\n' "$header"
  for ((i = 0; i < 211; ++i)); do printf "\\x$(printf %02x "$i")\\x00"; done
} >stream.npy
"$TTT" prepare --tokens stream.npy --vocab-size 211 --output tokens >/dev/null
[[ $("$TTT" inspect tokens --json | number_of tokens) == 211 ]] || failed "tokens of an array"
[[ $(od -An -tu2 -j420 -N2 tokens/tokens-00000.bin | tr -d ' ') == 210 ]] || failed "the last token"

# --- input that cannot be taken: exit code 2, one sentence, nothing destroyed ---
cp -r data before
expect_error 2 'already holds a data set' "$TTT" prepare --tokenizer t.model --input text --output data/train
expect_error 2 '--force' "$TTT" prepare --tokens stream.npy --vocab-size 211 --output tokens
printf 'caf\xe9\n' >text/latin.h
expect_error 2 'text/latin.h' "$TTT" prepare --tokenizer t.model --input text --output data --valid-fraction 0.1 --force
expect_error 2 'byte 3' "$TTT" tokenizer train --input text --output new.model --vocab-size 400
rm text/latin.h
diff -r data before || failed "a refused command changed the data"
[[ ! -e new.model ]] || failed "a refused training left a model"
: >empty.txt
expect_error 2 'empty' "$TTT" prepare --tokenizer t.model --input empty.txt --output out
expect_error 2 'empty' "$TTT" tokenizer train --input empty.txt --output new.model
expect_error 2 'nowhere' "$TTT" prepare --tokenizer t.model --input nowhere --output out
expect_error 2 'nothere.model' "$TTT" prepare --tokenizer nothere.model --input text --output out
expect_error 2 'too large' "$TTT" tokenizer train --input text/timer.h --output new.model --vocab-size 30000
expect_error 2 'value 210 is 210' "$TTT" prepare --tokens stream.npy --vocab-size 210 --output out
expect_error 2 '--tokenizer' "$TTT" prepare --input text --output out
expect_error 2 '--input' "$TTT" prepare --output out
expect_error 2 'not a NumPy' "$TTT" prepare --tokens t.model --vocab-size 211 --output out
expect_error 2 'empty.txt' "$TTT" prepare --tokens stream.npy --vocab-size 211 --output empty.txt/out
expect_error 2 'train, encode or decode' "$TTT" tokenizer learn
expect_error 2 'neither' "$TTT" inspect text
expect_error 2 'nowhere' "$TTT" inspect nowhere
expect_error 2 'not something to inspect' "$TTT" inspect dta data
expect_error 2 'not a checkpoint' "$TTT" inspect checkpoint data
expect_error 2 'not the output_dir of a run' "$TTT" inspect run data
expect_error 2 'nothing' "$TTT" baseline --train nothing --valid data/valid

# --- damage ---
damaged() {  # DIR TEXT: inspect ends with 2 and says TEXT
  local got=0
  "$TTT" inspect "$1" >stdout 2>stderr || got=$?
  [[ $got == 2 ]] || failed "inspect of a damaged $1 ends with $got"
  grep -q "DAMAGED.*$2" stdout || failed "inspect says: $(cat stdout stderr)"
}
printf '\x01' | dd of=before/train/tokens-00000.bin bs=1 seek=100 conv=notrunc status=none
cmp -s before/train/tokens-00000.bin data/train/tokens-00000.bin && printf '\x00' | dd of=before/train/tokens-00000.bin bs=1 seek=100 conv=notrunc status=none
damaged before/train tokens-00000.bin
damaged before tokens-00000.bin
truncate -s -2 before/valid/tokens-00000.bin
damaged before/valid 'truncated'
expect_error 2 'truncated' "$TTT" baseline --train data/train --valid before/valid
echo "data: all well"
