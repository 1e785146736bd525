#!/usr/bin/env bash
# Installs what ttt.cpp is built from: Debian/Ubuntu packages (with apt, as root or through sudo) and LibTorch 2.11 (PyPI's torch
# wheel, unpacked into ~/.cache/ttt.cpp; no Python package is installed). Does nothing when everything is there.
#
# usage: tools/setup.sh [--test]      --test: also what the tests need (clang: formatting, fuzzing; mpirun; a private Python with torch,
#                                     tools/python_env.sh, without which some tests are skipped, or fail under CI=true)
# environment: LIBTORCH=DIR           use this LibTorch 2.11 (holds lib/ and include/) instead of fetching one
#              TTT_CUDA=AUTO|ON|OFF   what GPUs need (libraries, headers, nvcc; from PyPI where the machine lacks them): where there is an NVIDIA
#                                     driver or a CUDA toolkit (AUTO, the default), always, never
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

# --- what LibTorch's CUDA half wants ---

nvcc=$(command -v nvcc || ls "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc" 2>/dev/null || true)
has_driver() { [ -e /proc/driver/nvidia/version ] || nvidia-smi -L >/dev/null 2>&1; }
# CUDA 13, which LibTorch 2.11 was built with.
nvcc_fits() { [ -n "$nvcc" ] && "$nvcc" --version | grep -q 'release 13\.'; }
toolkit() { nvcc_fits && realpath "$(dirname "$(realpath "$nvcc")")/.."; }

# The wheel that holds a library: versions are those that torch 2.11.0 requires (cuda-toolkit 13.0.2).
wheel_of() {
  case $1 in
    libcublas*) echo nvidia-cublas==13.1.0.3 ;;
    libcudart.*) echo nvidia-cuda-runtime==13.0.96 ;;
    libcudnn*) echo nvidia-cudnn-cu13==9.19.0.56 ;;
    libcufft*) echo nvidia-cufft==12.0.0.61 ;;
    libcufile*) echo nvidia-cufile==1.15.1.6 ;;
    libcupti*) echo nvidia-cuda-cupti==13.0.85 ;;
    libcurand*) echo nvidia-curand==10.4.0.35 ;;
    libcusolver*) echo nvidia-cusolver==12.0.4.66 ;;
    libcusparse.*) echo nvidia-cusparse==12.6.3.3 ;;
    libcusparseLt*) echo nvidia-cusparselt-cu13==0.8.0 ;;
    libnccl*) echo nvidia-nccl-cu13==2.28.9 ;;
    libnvJitLink*) echo nvidia-nvjitlink==13.0.88 ;;
    libnvrtc*) echo nvidia-cuda-nvrtc==13.0.88 ;;
    libnvshmem*) echo nvidia-nvshmem-cu13==3.4.5 ;;
    libnvToolsExt*|libnvtx*) echo nvidia-nvtx==13.0.85 ;;
  esac
}

# What the loader does not find of what LibTorch's CUDA half needs; the driver's own libraries are not asked for.
missing_libraries() {
  local library home
  home=$(toolkit || true)
  for library in libtorch_cuda.so libtorch_cuda_linalg.so libcaffe2_nvrtc.so; do
    LD_LIBRARY_PATH="$home/lib64:$home/lib:$site/nvidia/cu13/lib:$site/nvidia/cudnn/lib:$site/nvidia/nccl/lib:$site/nvidia/cusparselt/lib:$site/nvidia/nvshmem/lib" \
      ldd "$site/torch/lib/$library" 2>/dev/null | awk '/=> not found/ && $1 !~ /^libcuda\.so|^libnvidia-/ {print $1}'
  done | sort -u
}

fetch_cuda() {
  local library wheel before='' missing home
  install_packages python3-pip
  while missing=$(missing_libraries) && [ -n "$missing" ]; do
    [ "$missing" != "$before" ] || die "LibTorch's CUDA half does not find $(echo $missing), and no wheel has brought them; TTT_CUDA=OFF builds for the CPU alone"
    before=$missing
    local wheels=()
    for library in $missing; do
      wheel=$(wheel_of "$library")
      [ -n "$wheel" ] || die "LibTorch's CUDA half needs $library, which no known wheel holds; TTT_CUDA=OFF builds for the CPU alone"
      case " ${wheels[*]} " in *" $wheel "*) ;; *) wheels+=("$wheel") ;; esac
    done
    say "$1: fetching what LibTorch's CUDA half lacks: ${wheels[*]}"
    free=$(df -Pk "$cache" | awk 'NR == 2 {print $4}')
    [ "$free" -gt 5000000 ] || die "CUDA's libraries need 5 GB in $cache; $((free / 1000)) MB are free (set TTT_CACHE; TTT_CUDA=OFF builds for the CPU alone)"
    for wheel in "${wheels[@]}"; do fetch_wheel "$wheel" 'nvidia/*'; done
  done
  # The compiler for the fused kernels, and the headers that LibTorch's own include.
  if ! nvcc_fits && [ ! -e "$site/nvidia/cu13/bin/nvcc" ]; then
    say "$1, but no nvcc of CUDA 13${nvcc:+ ($nvcc is another)}: fetching one (100 MB)"
    for wheel in nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-cccl==13.0.85; do fetch_wheel "$wheel" 'nvidia/*'; done
    chmod +x "$site"/nvidia/cu13/bin/* "$site"/nvidia/cu13/nvvm/bin/*
  fi
  home=$(toolkit || true)
  [ -e "$home/include/cuda_runtime_api.h" ] || [ -e "$site/nvidia/cu13/include/cuda_runtime_api.h" ] || fetch_wheel nvidia-cuda-runtime==13.0.96 'nvidia/*'
  # NCCL's header must be that of LibTorch's version or newer.
  local header=$home/include/nccl.h
  [ -e "$site/nvidia/nccl/include/nccl.h" ] || { [ -e "$header" ] && [ "$(awk '/define NCCL_VERSION_CODE/ {print $3}' "$header")" -ge 22800 ]; } || fetch_wheel nvidia-nccl-cu13==2.28.9 'nvidia/*'
}

mkdir -p "$cache" || die "cannot write to $cache; set TTT_CACHE to a folder with 2 GB free"
install_packages "${packages[@]}"

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
  case ${TTT_CUDA:-AUTO} in
    OFF) ;;
    ON) fetch_cuda "TTT_CUDA=ON" ;;
    *) if has_driver; then fetch_cuda "this machine has an NVIDIA driver"; elif [ -n "$nvcc" ]; then fetch_cuda "this machine has a CUDA toolkit ($nvcc)"; fi ;;
  esac
fi
# What reads the kernels' machine code (tools/check_sass.sh, which looks for it in the same places; 5 MB); those of CUDA 13.0 are in
# no wheel.
tools_bin=$cache/cuda_tools/nvidia/cu13/bin
has_sass_tools() (
  PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
  command -v cuobjdump && command -v nvdisasm
) >/dev/null
fetch_sass_tools() (
  site=$cache/cuda_tools
  mkdir -p "$site"
  for wheel in nvidia-cuda-cuobjdump==13.2.86 nvidia-cuda-nvdisasm==13.2.78; do fetch_wheel "$wheel" 'nvidia/*'; done
  chmod +x "$tools_bin"/*
)
if $test && [ "${TTT_CUDA:-AUTO}" != OFF ] && { [ -n "$nvcc" ] || has_driver; } && [ ! -x "$tools_bin/nvdisasm" ] && ! has_sass_tools; then
  fetch_sass_tools || true
  if [ ! -x "$tools_bin/nvdisasm" ]; then
    [ "${CI:-}" != true ] || die "the test of the kernels' machine code needs cuobjdump and nvdisasm, which could not be had"
    say "without cuobjdump and nvdisasm the test ptx.sass is skipped"
  fi
fi
if $test && ! "${BASH_SOURCE%/*}/python_env.sh" >/dev/null; then
  [ "${CI:-}" != true ] || die "the tests of torchrun need the Python environment that could not be made"
  say "without that Python environment the tests of torchrun are skipped"
fi
say "everything is there"
