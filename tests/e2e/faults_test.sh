#!/usr/bin/env bash
# tools/fault_suite.sh, every fault once, to trainings of few steps: what a cluster does to a training, and nothing is lost.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
set -euo pipefail
faults=$("$SOURCE/tools/fault_suite.sh" --list | wc -l)
TMPDIR=$PWD "$SOURCE/tools/fault_suite.sh" --rounds "$faults" --steps 28 --seed 1
