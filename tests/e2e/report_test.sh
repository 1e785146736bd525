#!/usr/bin/env bash
# Two small trainings as one HTML page, and what is refused.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

make_tokens
cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 2, num_heads: 2, intermediate_size: 64}
data: {train: data, valid: data}
train: {context: 64, batch_tokens: 256, steps: 6, threads: 1, device: cpu, eval_every: 3, eval_samples: 4, tensorboard: false}
YAML
for lr in 0.001 0.01; do expect 0 "$TTT" train run.yaml optim.lr=$lr output_dir=runs/lr_$lr; done

expect 0 "$TTT" report runs/lr_0.001 runs/lr_0.01 --output page.html --title "Two rates"
says out.txt "page.html: 2 runs"
says page.html "<h1>Two rates</h1>"
says page.html "<td>lr_0.01</td><td>ttt_linear</td>"
says page.html "<td>6 of 6</td>"
says page.html "<td>optim.lr</td><td>0.001</td><td>0.01</td>"
says page.html "Validation loss by tokens"
says page.html "runs/lr_0.01/metrics.jsonl"
expect 0 "$TTT" report runs/lr_0.001 --output page.html --figures figures
[ "$(ls figures | wc -l)" = 14 ] || die "figures: $(ls figures)"
says figures/valid_loss_by_tokens.svg "<svg"
says figures/valid_loss_by_tokens.csv "lr_0.001,768,"
says page.html "Failures and resumes"

# --watch: the page follows its inputs, and ends with the runs, or whole with a signal.
page_says() { grep -qsF -- "$1" live.html; }
cp -r runs/lr_0.01 live
begin() {
  rm -f live.html
  head -n 3 runs/lr_0.01/metrics.jsonl >live/metrics.jsonl
  "$TTT" report --watch "$@" live --output live.html >watch.txt 2>&1 </dev/null &
  watcher=$!
  wait_until page_says "<td>3 of 6</td>"
}
begin 0.1
cp runs/lr_0.01/metrics.jsonl live/metrics.jsonl
wait "$watcher" || die "--watch ended with $?: $(cat watch.txt)"
page_says "<td>6 of 6</td>" || die "--watch ended before the run did"
says watch.txt "all runs have ended"
begin
kill -TERM "$watcher"
wait "$watcher" || die "--watch ended with $? on SIGTERM: $(cat watch.txt)"
page_says "</html>" || die "the page is not whole"
says watch.txt "stopped by SIGTERM"
refused "--watch" "$TTT" report live --output live.html --watch 0

expect 2 "$TTT" report data --output page.html
says errors.txt "'data' is no run: it has no config.yaml"
expect 2 "$TTT" report runs/lr_0.01
says errors.txt "--output"
echo "a page of two runs"
