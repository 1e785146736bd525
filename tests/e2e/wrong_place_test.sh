#!/usr/bin/env bash
# What users hand to a command that wants something else, or that is not as it was written: a folder for a file, a part for the
# whole, a sweep for a run, files of another version, damaged lines. One sentence each, and nothing is left out silently.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

make_tokens
cat >run.yaml <<'YAML'
model: {mixer: attention, vocab_size: 512, hidden_size: 16, num_layers: 1, num_heads: 2, intermediate_size: 32}
data: {train: data}
train: {context: 64, batch_tokens: 256, steps: 3, threads: 1, device: cpu, dtype: fp32, tensorboard: false}
checkpoint: {every: 1, keep_last: 3}
output_dir: run
YAML
printf 'base: run.yaml\noutput_dir: sweep\nruns: {only: }\n' >sweep.yaml
expect 0 "$TTT" train run.yaml --quiet
refused() { local text=$1; shift; expect 2 "$@"; says errors.txt "$text"; }  # TEXT COMMAND...

# --- a config ---
refused "'run' is a folder, not a config file; name a file, such as 'run/config.yaml'" "$TTT" plan run
refused "'data' is a folder, not a config file; name a file" "$TTT" verify-resume data
refused "sweep.yaml:1: 'base' is a key of sweeps" "$TTT" config sweep.yaml
refused "must be a number above 0, not 'inf'" "$TTT" plan run.yaml --tokens-per-second inf
refused "more tokens than can be counted" "$TTT" plan run.yaml train.steps=9223372036854775807
# A folder that is gone.
mkdir gone
got=0; (cd gone; rmdir ../gone; exec "$TTT" --version) >out.txt 2>errors.txt || got=$?
[ "$got" = 2 ] || die "exit code $got without a working directory"
says errors.txt "the working directory does not exist any more"
# More memory than there is.
expect 1 env OMP_NUM_THREADS=1 "$TTT" bench op rope --device cpu --context 100000000000
says errors.txt "error: out of memory: "

# --- a run, a checkpoint, a set ---
refused "'run/config.yaml' is a part of what is in 'run'; inspect that" "$TTT" inspect run/config.yaml
refused "is in 'run'" "$TTT" inspect run/checkpoints/
refused "is in 'run/checkpoints/step_00000003'" "$TTT" inspect run/checkpoints/step_00000003/model.safetensors
refused "there is no 'nowhere'" "$TTT" diff run nowhere
cp -r run other
printf '{"kind":5,"step":4}\n' >>other/metrics.jsonl
mv other/checkpoints/step_00000001 other/checkpoints/step_00000001.damaged
expect 0 "$TTT" inspect other
says out.txt "set aside as damaged  other/checkpoints/step_00000001.damaged"
rm other/checkpoints/step_00000003/COMPLETE
expect 2 "$TTT" inspect other
says out.txt "DAMAGED: step_00000003: it has no file COMPLETE"
# A damaged line, and a config of another version, are no reason to be silent, nor not to compare the rest.
sed -i '2s/.*/damaged/' other/ledger.jsonl
echo 'later_key: 1' >>other/config.yaml
expect 0 "$TTT" diff run other
says out.txt "equal, bit for bit, in all 2 steps"
says out.txt "line 2 of 'other/ledger.jsonl' is damaged and left out"
says out.txt "the configs are not compared: other/config.yaml:"
printf '{"text": "one", "of": "a"}\n{"text": "two", "of": "b"}\n' >lines.jsonl
expect 0 "$TTT" prepare --input lines.jsonl --tokenizer t.model --domain-field of --output domains
refused "name the set of one of its domains" "$TTT" baseline --train domains --valid data

# --- weights ---
refused "'run' has no config.json; name a folder with config.json" "$TTT" convert --from huggingface --input run --output converted
cp -r run/checkpoints/step_00000003 diverged
printf '\377\377\377\377' | dd of=diverged/model.safetensors bs=1 seek=$(($(stat -c %s diverged/model.safetensors) - 4)) conv=notrunc status=none
refused "has values that are not finite" "$TTT" convert --from huggingface --input diverged --output converted
[ ! -e converted ] || die "a checkpoint of weights that are not finite"

# --- a corrected command finds nothing in its way ---
refused "no data set at 'nowhere'" "$TTT" verify-resume run.yaml --steps 4 --kills 1 data.train=nowhere
[ ! -e run-verify-resume ] || die "what was refused left its folder behind"
echo ok
