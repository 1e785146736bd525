#!/usr/bin/env bash
# The mpirun of Open MPI and the one of MPICH: their processes train together, and end with the bytes of ranks that were started by hand.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
for program in mpirun.openmpi mpirun.mpich; do
  command -v "$program" >/dev/null || { . "$SOURCE/tests/e2e/check.sh"; lacks "there is no $program (tools/setup.sh --test installs it)"; }
done
. "$SOURCE/tests/e2e/ranks.sh"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1

ranks 2 two
for program in mpirun.openmpi mpirun.mpich; do
  port=$((port + 1))
  MASTER_PORT=$port "$program" -n 2 "$TTT" train run.yaml "output_dir=$program" >out.txt 2>&1 </dev/null || { cat out.txt >&2; die "$program"; }
  grep -q '2 processes on cpu' "$program/train.log" || { cat out.txt >&2; die "$program: not one training of two processes"; }
  cmp {two,"$program"}/checkpoints/step_00000012/model.safetensors || die "$program ended with another model"
  expect 0 "$program" -n 1 "$TTT" train run.yaml "output_dir=one.$program" train.steps=4
  # Which key differs is said to both, as it is with every launcher.
  port=$((port + 1))
  expect 2 env MASTER_PORT=$port "$program" -n 1 "$TTT" train run.yaml output_dir=differ optim.lr=0.01 : -n 1 "$TTT" train run.yaml output_dir=differ optim.lr=0.02
  cat out.txt errors.txt >said.txt
  says said.txt 'rank 1 has optim.lr 0.02 where rank 0 has optim.lr 0.01'
done
# What is one process's work says that it is done several times.
expect 0 mpirun.mpich -n 2 "$TTT" inspect two
says errors.txt "this is process 1 of 2 by mpirun of MPICH or Intel MPI, and \`ttt inspect\` is not divided among processes: each does all of it"
expect 0 mpirun.mpich -n 1 "$TTT" inspect two
if grep -q 'this is process' errors.txt; then cat errors.txt >&2; die "one process alone is told of others"; fi
echo ok
