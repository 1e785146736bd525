#!/usr/bin/env bash
# Scaling laws from CSV and from a sweep's runs.jsonl, as text, JSON and picture; what is refused, and with which words.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

number() { sed -n "s/.*\"$1\":\([-+.e0-9]*\)[,}].*/\1/p" out.txt; }  # KEY: its first number in out.txt
near() { awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { exit !(a / b > 1 - t && a / b < 1 + t) }' || die "$1 is not $2"; }

# --- a published fit: points of Hoffmann et al. 2022, figure 4; its numbers as Besiroglu et al. 2024 have them ---
expect 0 "$TTT" fit "$SOURCE/tests/golden/scaling_chinchilla.csv" --n "Model Size" --c "Training FLOP" --loss loss --drop-highest 5 \
  --bootstrap 20 --json
near "$(number objective)" 1.0182740e-3 1e-5
near "$(number E)" 1.81724 0.005
near "$(number alpha)" 0.34731 0.005
near "$(number beta)" 0.36718 0.005
near "$(number A)" 477.84 0.05
near "$(number B)" 2143.9 0.05
expect 0 "$TTT" fit "$SOURCE/tests/golden/scaling_llama3.csv" --n params --d tokens --loss loss --objective least-squares --json --bootstrap 20
near "$(number objective)" 2.01972e-3 1e-3
near "$(number alpha)" 0.31001 1e-3
near "$(number B)" 155.11 1e-3

# --- two architectures in a sweep's runs.jsonl; the second needs twice the FLOPs, which 2^0.34 in A and B make ---
awk 'BEGIN {
  for (arch = 0; arch < 2; ++arch)
    for (i = 0; i < 6; ++i) for (j = 0; j < 6; ++j) {
      n = 1e6 * 2 ^ i; d = 2e7 * 2 ^ j
      scale = arch ? 2 ^ 0.17 : 1   # C doubled is N and D each times 2^0.5 at alpha = beta = 0.34
      loss = 1.5 + scale * 400 / n ^ 0.34 + scale * 900 / d ^ 0.34
      printf "{\"name\":\"%s_%d_%d\",\"status\":\"%s\",\"mixer\":\"%s\",\"backbone\":null,\"parameters\":%d,\"tokens\":%d,\"flops_exact\":%g,\"valid_loss\":%.12f}\n",
        arch ? "mamba" : "ttt", i, j, i == 5 && j == 5 ? "failed" : "finished", arch ? "mamba" : "ttt_linear", n, d, 6 * n * d, loss
    }
}' >runs.jsonl
expect 0 "$TTT" fit runs.jsonl --bootstrap 30 --plot fit.svg
says out.txt "2 runs are left out: 2 failed"
says out.txt "ttt_linear: 35 points"
says out.txt "FLOPs at equal loss, ttt_linear over the other"
grep -q '^<svg ' fit.svg && grep -q '</svg>' fit.svg || die "fit.svg is no picture"
says fit.svg "ttt_linear, compute-optimal"
expect 0 "$TTT" fit runs.jsonl --bootstrap 30 --json
multiplier=$(sed -n 's/.*"multiplier":\([0-9.]*\).*/\1/p' out.txt)
near "$multiplier" 0.5 0.01
expect 0 "$TTT" fit runs.jsonl --bootstrap 30 --json --baseline mamba
near "$(sed -n 's/.*"multiplier":\([0-9.]*\).*/\1/p' out.txt)" 2 0.02

# --- what cannot be identified, and approaches 1 and 2 ---
grep -E '"name":"ttt_(0_0|1_1|2_2|3_3|4_4)"' runs.jsonl >ray.jsonl
sed 's/"name":"ttt_4_4"/"name":"again"/' ray.jsonl | tail -n 1 >>ray.jsonl
expect 0 "$TTT" fit ray.jsonl
says out.txt "not identified"
says out.txt "all runs have about 20 tokens a parameter"
expect 0 "$TTT" fit ray.jsonl --json
says out.txt '"identified":false'
says out.txt '"alpha":null'
expect 0 "$TTT" fit "$SOURCE/tests/golden/scaling_llama3.csv" --n params --d tokens --loss loss --approach 2 --bootstrap 30 --plot iso.svg
says out.txt "warning: off centre"
says out.txt "the best N grows as C^0.46"
expect 0 "$TTT" fit "$SOURCE/tests/golden/scaling_llama3.csv" --n params --d tokens --loss loss --approach 1 --bootstrap 30 --json
says out.txt '"approach":"1"'

# --- refused in a sentence, with exit code 2 ---
llama=("$SOURCE/tests/golden/scaling_llama3.csv" --n params --d tokens --loss loss --bootstrap 0 --objective least-squares)
expect 2 "$TTT" fit "${llama[@]}" --budget 2e23
says errors.txt "more than ten times beyond the runs (6e+18 to 1e+22)"
expect 0 "$TTT" fit "${llama[@]}" --budget 5e22
expect 2 "$TTT" fit "$SOURCE/tests/golden/scaling_llama3.csv" --n parms --d tokens --loss loss
says errors.txt "has no column 'parms'; it has 'params', 'tokens', 'loss'"
printf 'n,d,loss\n1e6,1e7,3\n1e6,x,3\n' >bad.csv
expect 2 "$TTT" fit bad.csv --n n --d d --loss loss
says errors.txt "'bad.csv', line 3, column 'd': 'x' is no number"
printf 'n,d,loss\n1e6,1e7,3\n1e6,0,3\n' >bad.csv
expect 2 "$TTT" fit bad.csv --n n --d d --loss loss
says errors.txt "0 is not above zero"
printf 'n,d,loss\n1e6,1e7,3\n2e6,3e7,2.9\n' >few.csv
expect 2 "$TTT" fit few.csv --n n --d d --loss loss
says errors.txt "2 points leave nothing over to judge five parameters by"
expect 2 "$TTT" fit runs.jsonl --baseline mambo --bootstrap 0
says errors.txt "there is no architecture 'mambo'"
expect 2 "$TTT" fit missing.jsonl
says errors.txt "missing.jsonl"
expect 2 "$TTT" fit runs.jsonl --objetive huber
says errors.txt "did you mean '--objective'"
echo "fits agree with what is published and refuse what cannot be known"
