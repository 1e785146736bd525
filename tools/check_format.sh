#!/usr/bin/env bash
# Fails when a C++ file differs from what .clang-format makes of it. usage: tools/check_format.sh [--fix]
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t files < <(find src tests -name '*.cpp' -o -name '*.h' -o -name '*.cu' | sort)
if [ "${1:-}" = --fix ]; then clang-format -i "${files[@]}"; exit; fi
clang-format --dry-run -Werror "${files[@]}" || { echo "error: run tools/check_format.sh --fix" >&2; exit 1; }
echo "format: ${#files[@]} files are as .clang-format wants them"
