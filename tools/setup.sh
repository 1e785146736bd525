#!/usr/bin/env bash
# Installs what ttt.cpp is built from: Debian/Ubuntu packages (with apt, as root or through sudo) and LibTorch 2.11 (PyPI's torch
# wheel, unpacked into ~/.cache/ttt.cpp; no Python package is installed). Does nothing when everything is there.
#
# usage: tools/setup.sh [--test]      --test: also what the tests need (clang: formatting, fuzzing; mpirun; a private Python with torch,
#                                     tools/python_env.sh, without which some tests are skipped, or fail under CI=true)
# environment: LIBTORCH=DIR           use this LibTorch 2.11 (holds lib/ and include/) instead of fetching one
#              TTT_CUDA=OFF                 nothing for GPUs
#              TTT_CACHE=DIR          where LibTorch goes, default ~/.cache/ttt.cpp
set -euo pipefail

cache=${TTT_CACHE:-${HOME:?}/.cache/ttt.cpp}
packages=(g++ cmake ninja-build ccache mold unzip libyaml-cpp-dev libspdlog-dev libsentencepiece-dev libcli11-dev
          nlohmann-json3-dev libeigen3-dev liblbfgspp-dev libxxhash-dev libzstd-dev zlib1g-dev libgloo-dev libgtest-dev zstd)
test=false
[ "${1:-}" = --test ] && test=true
$test && packages+=(clang-format clang libclang-rt-dev llvm procps iproute2 faketime openmpi-bin mpich python3-pip python3-venv)

say() { printf '[setup] %s\n' "$*" >&2; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 2; }

install_packages() {
  command -v dpkg-query >/dev/null || die "this is not a Debian or Ubuntu system; install the equivalents of: ${packages[*]}"
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} = 0 ] && return
  local as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || die "these packages are missing and neither root nor sudo is at hand; have them installed: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing packages: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq >&2
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$cache/apt.log" 2>&1 ||
    { tail -n 5 "$cache/apt.log" >&2; die "apt-get could not install: ${missing[*]} (log: $cache/apt.log)"; }
}

# fetch_wheel PACKAGE==VERSION PATTERN...: unpacks the members that match from the wheel into $site.
fetch_wheel() {
  local wheel=$1; shift
  local download=$cache/download
  rm -rf "$download"; mkdir -p "$download"
  python3 -m pip download --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check -d "$download" "$wheel" >&2 ||
    die "cannot download $wheel from PyPI; check the network, or set LIBTORCH to a LibTorch 2.11 folder"
  unzip -q -o "$download"/*.whl "$@" -d "$site"
  # tools/python_env.sh takes the rest of this one.
  case $test:$wheel in true:torch==*) mv "$download"/*.whl "$cache/" ;; esac
  rm -rf "$download"
}

mkdir -p "$cache" || die "cannot write to $cache; set TTT_CACHE to a folder with 2 GB free"
install_packages "${packages[@]}"

nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
if [ -n "${LIBTORCH:-}" ]; then
  [ -e "$LIBTORCH/lib/libtorch_cpu.so" ] || die "LIBTORCH=$LIBTORCH holds no lib/libtorch_cpu.so"
  say "using LibTorch at $LIBTORCH"
else
  site=$cache/libtorch-2.11.0
  if [ ! -e "$site/COMPLETE" ]; then
    install_packages python3-pip
    free=$(df -Pk "$cache" | awk 'NR == 2 {print $4}')
    [ "$free" -gt 2500000 ] || die "LibTorch needs 2.5 GB in $cache while it is unpacked; $((free / 1000)) MB are free (set TTT_CACHE)"
    say "fetching LibTorch 2.11.0 (530 MB) into $site"
    fetch_wheel torch==2.11.0 'torch/lib/*' 'torch/include/*'
    fetch_wheel nvidia-cuda-runtime==13.0.96 '*.so*'
    fetch_wheel nvidia-cuda-cupti==13.0.85 '*.so*'
    rm -f "$site"/torch/lib/libtorch_python.so
    touch "$site/COMPLETE"
  fi
  # With a CUDA toolkit, LibTorch's CUDA half is linked too; it wants three libraries that the toolkit lacks.
  if [ -n "$nvcc" ] && [ "${TTT_CUDA:-AUTO}" != OFF ] && [ ! -e "$site/COMPLETE-CUDA" ]; then
    install_packages python3-pip
    say "found a CUDA toolkit ($nvcc): fetching cuSPARSELt, NVSHMEM and cuFile for LibTorch's CUDA half"
    fetch_wheel nvidia-cusparselt-cu13==0.8.0 '*.so*'
    fetch_wheel nvidia-nvshmem-cu13==3.4.5 '*.so*'
    fetch_wheel 'nvidia-cufile>=1.15,<2' '*.so*'
    touch "$site/COMPLETE-CUDA"
  fi
fi
if $test && ! "${BASH_SOURCE%/*}/python_env.sh" >/dev/null; then
  [ "${CI:-}" != true ] || die "the tests of torchrun need the Python environment that could not be made"
  say "without that Python environment the tests of torchrun are skipped"
fi
say "everything is there"
