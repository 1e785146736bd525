#!/usr/bin/env bash
# Sets up, builds, and runs every check and test that this machine can run. usage: tools/test.sh [ctest options]
set -euo pipefail
cd "$(dirname "$0")/.."
tools/setup.sh --test
tools/build.sh >&2
tools/check_format.sh
tools/check_layers.sh
# Two tests at a time share the cores; more threads a test would only slow both.
OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} exec ctest --test-dir build --output-on-failure -j "$(nproc)" "$@"
