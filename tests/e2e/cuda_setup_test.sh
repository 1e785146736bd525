#!/usr/bin/env bash
# What is configured where parts of CUDA are missing: a build that would not start is never made. Libraries, headers and nvcc are hidden in
# mount namespaces; tools/setup.sh is asked what it would fetch, with a package index of stubs.
# Environment: TTT, the binary; SOURCE, the checkout. The working directory is an empty scratch folder.
. "$SOURCE/tests/e2e/check.sh"

skip() { echo "skipped: $*"; exit 0; }
here=$PWD

# --- the driver's version, which a program with CUDA's half asks for ---
if "$TTT" --version | grep -q 'CUDA: 13' && [ ! -e /proc/driver/nvidia/version ]; then
  make_tokens
  cat >run.yaml <<'YAML'
model: {mixer: ttt_linear, vocab_size: 512, hidden_size: 32, num_layers: 1, num_heads: 2, intermediate_size: 32}
data: {train: data}
train: {context: 64, batch_tokens: 64, steps: 1, threads: 1, device: auto, dtype: fp32, tensorboard: false}
output_dir: run
YAML
  mkdir -p driver
  echo 'int cuDriverGetVersion(int* v) { *v = 12040; return 0; } int cuInit(unsigned f) { return 803; }' | gcc -shared -fPIC -x c - -o driver/libcuda.so.1
  expect 0 env LD_LIBRARY_PATH="$here/driver" "$TTT" train run.yaml
  cat out.txt errors.txt >all.txt
  says all.txt "device: cpu (auto: the NVIDIA driver is for CUDA 12.4, and this ttt needs one for CUDA 13.0 or newer; update the driver)"
  expect 2 env LD_LIBRARY_PATH="$here/driver" "$TTT" train run.yaml train.device=cuda output_dir=other
  says errors.txt "the NVIDIA driver is for CUDA 12.4"
fi

# --- tools/setup.sh on a node with a driver and nothing else ---
cache=${TTT_CACHE:-$HOME/.cache/ttt.cpp}
libtorch=${LIBTORCH:-$cache/libtorch-2.11.0/torch}
[ -e "$libtorch/lib/libtorch_cuda.so" ] || skip "this LibTorch has no CUDA half"
mkdir -p nothing
unshare -m bash -c 'mount --make-rprivate / && mount --bind "$0" "$0"' "$here/nothing" 2>/dev/null || skip "no mount namespaces here (unshare -m needs root)"
nvcc=$(command -v nvcc || ls /usr/local/cuda/bin/nvcc 2>/dev/null || true)
toolkit=/nowhere
[ -z "$nvcc" ] || toolkit=$(realpath "$(dirname "$(realpath "$nvcc")")/..")
touch empty
mkdir -p nothing bin node/libtorch-2.11.0/torch/lib
for file in "$libtorch"/lib/*.so*; do ln "$file" node/libtorch-2.11.0/torch/lib/ 2>/dev/null || cp "$file" node/libtorch-2.11.0/torch/lib/; done
touch node/libtorch-2.11.0/COMPLETE
# nvidia-smi that sees a GPU; dpkg-query to which everything is installed; no nvcc; pip that makes wheels of stubs.
cat >bin/nvidia-smi <<'EOF'
#!/bin/sh
echo "GPU 0: a stub"
EOF
cat >bin/dpkg-query <<'EOF'
#!/bin/sh
echo "install ok installed"
EOF
cat >bin/python3 <<EOF
#!/bin/bash
# python3 -m pip download ... -d DIR NAME==VERSION
while [ \$# -gt 1 ]; do [ "\$1" = -d ] && dir=\$2; shift; done
echo "\$1" >>$here/asked.txt
name=\${1%%==*}
work=\$(mktemp -d); cd "\$work"
library() { mkdir -p "\$1"; echo 'int stub;' | gcc -shared -x c - -Wl,-soname,"\$2" -o "\$1/\$2"; }
cu13=nvidia/cu13/lib
case \$name in
  nvidia-cublas) library \$cu13 libcublas.so.13; library \$cu13 libcublasLt.so.13 ;;
  nvidia-cuda-runtime) library \$cu13 libcudart.so.13; mkdir -p nvidia/cu13/include; touch nvidia/cu13/include/cuda_runtime_api.h ;;
  nvidia-cudnn-cu13) library nvidia/cudnn/lib libcudnn.so.9 ;;
  nvidia-cufft) library \$cu13 libcufft.so.12 ;;
  nvidia-cufile) library \$cu13 libcufile.so.0 ;;
  nvidia-cuda-cupti) library \$cu13 libcupti.so.13 ;;
  nvidia-curand) library \$cu13 libcurand.so.10 ;;
  nvidia-cusolver) library \$cu13 libcusolver.so.12 ;;
  nvidia-cusparse) library \$cu13 libcusparse.so.12 ;;
  nvidia-cusparselt-cu13) library nvidia/cusparselt/lib libcusparseLt.so.0 ;;
  nvidia-nccl-cu13) library nvidia/nccl/lib libnccl.so.2; mkdir -p nvidia/nccl/include; echo '#define NCCL_VERSION_CODE 22809' >nvidia/nccl/include/nccl.h ;;
  nvidia-nvjitlink) library \$cu13 libnvJitLink.so.13 ;;
  nvidia-cuda-nvrtc) library \$cu13 libnvrtc.so.13 ;;
  nvidia-nvshmem-cu13) library nvidia/nvshmem/lib libnvshmem_host.so.3 ;;
  nvidia-nvtx) library \$cu13 libnvtx3interop.so.1 ;;
  nvidia-cuda-nvcc) mkdir -p nvidia/cu13/bin nvidia/cu13/nvvm/bin; printf '#!/bin/sh\necho release 13.0, V13.0.88\n' >nvidia/cu13/bin/nvcc; touch nvidia/cu13/nvvm/bin/cicc ;;
  *) mkdir -p nvidia/cu13/include; touch "nvidia/cu13/include/\$name.h" ;;
esac
$(command -v python3) -c 'import shutil, sys; shutil.make_archive(sys.argv[1], "zip", ".", "nvidia")' "\$dir/\$name"
mv "\$dir/\$name.zip" "\$dir/\$name-1-py3-none-any.whl"
EOF
chmod +x bin/*
without_toolkit=$(printf %s "$PATH" | tr : '\n' | while read -r d; do [ -x "$d/nvcc" ] || printf %s: "$d"; done)
# In a mount namespace without the toolkit, which the loader's cache may know.
node_setup() { unshare -m bash -c 'mount --make-rprivate /; [ ! -d "$0" ] || mount --bind "$1" "$0"; shift; exec "$@"' "$toolkit" "$here/nothing" env PATH="$here/bin:$without_toolkit" CUDA_HOME=/nowhere LIBTORCH= TTT_CACHE="$here/node" "$@" "$SOURCE/tools/setup.sh"; }
expect 0 node_setup env TTT_CUDA=OFF
[ ! -e asked.txt ] || die "TTT_CUDA=OFF fetched $(cat asked.txt)"
expect 0 node_setup env
says errors.txt "this machine has an NVIDIA driver: fetching what LibTorch's CUDA half lacks:"
for wheel in nvidia-cublas==13 nvidia-cudnn-cu13==9 nvidia-nccl-cu13==2.28.9 nvidia-cuda-nvrtc==13 nvidia-cusparselt-cu13==0.8.0 nvidia-nvshmem-cu13==3.4.5 \
             nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96; do says asked.txt "$wheel"; done
[ "$(sort asked.txt | uniq -d | wc -l)" = 0 ] || die "fetched twice: $(sort asked.txt | uniq -d)"
rm asked.txt
expect 0 node_setup env
[ ! -e asked.txt ] || die "a second call fetched $(cat asked.txt)"
rm -r node

# --- CMake where something is hidden ---
[ -d "$toolkit" ] || skip "no CUDA toolkit to hide parts of"
# Copies of a library may lie anywhere the loader looks: all that it would take in turn are hidden.
hide() { for file in "$@"; do file=$(realpath "$file"); [ -d "$file" ] && mount --bind "$here/nothing" "$file" || mount --bind "$here/empty" "$file"; done; }
hide_library() {
  local found round
  for round in 1 2 3 4 5 6 7 8; do
    found=$(ldd "$here/stub" 2>/dev/null | awk -v name="$1.so" 'index($1, name) == 1 && $3 ~ /^\// {print $3; exit}')
    [ -n "$found" ] || return 0
    echo "hidden: $found"
    hide "$found"
  done
  echo "FAILED: the loader still finds $found"
  return 1
}
# configured HOW OPTION...: hides what HOW says, configures, the output in out.txt.
configured() {
  local how=$1 got=0
  shift
  rm -rf build
  export -f hide hide_library; export here toolkit libtorch
  unshare -m bash -c "set -e; mount --make-rprivate /; $how; exec cmake -G Ninja -S '$SOURCE' -B '$here/build' -DLIBTORCH='$libtorch' -DTTT_TESTS=OFF $*" >out.txt 2>&1 || got=$?
  return $got
}
configured : || { cat out.txt; die "configuring"; }
cp build/cuda_stub stub 2>/dev/null || true
grep -q "CUDA ON" out.txt || skip "this machine's CUDA is not whole: $(grep '^ttt:' out.txt)"
for library in libcudnn libnccl libcublas libcublasLt; do
  configured "hide_library $library" || { cat out.txt; die "configuring without $library"; }
  says out.txt "CUDA OFF"
  grep -q "^ttt: built for the CPU alone, since LibTorch's CUDA half cannot be used: a program that is linked with it does not start: .*$library" out.txt || { cat out.txt; die "not said: $library"; }
done
code=0
configured "hide_library libcudnn" -DTTT_CUDA=ON || code=$?
[ "$code" != 0 ] || die "TTT_CUDA=ON is configured without cuDNN"
says out.txt "TTT_CUDA=ON, but LibTorch's CUDA half cannot be used"
# CUDA 12's nvcc alone.
printf '#!/bin/sh\necho "Cuda compilation tools, release 12.4, V12.4.99"\n' >bin/nvcc
chmod +x bin/nvcc
configured "hide $toolkit; export PATH=$here/bin:$without_toolkit" || { cat out.txt; die "configuring with CUDA 12"; }
says out.txt "is of CUDA 12.4, and LibTorch 2.11 was built with CUDA 13: it is not used"
says out.txt "CUDA OFF"
rm bin/nvcc
# nccl.h outside the toolkit, as libnccl-dev has it: what includes it finds CUDA's headers, too.
mkdir -p elsewhere
cp "$(find "$toolkit"/ "$libtorch"/../nvidia -name nccl.h | head -1)" elsewhere/
configured "hide \$(find $toolkit/ $libtorch/../nvidia -name nccl.h); export CMAKE_INCLUDE_PATH=$here/elsewhere" -DTTT_NCCL_INCLUDE="$here/elsewhere" || { cat out.txt; die "configuring with another nccl.h"; }
says out.txt "CUDA ON"
headers=$(sed -n 's/^TTT_CUDA_INCLUDE:PATH=//p' build/CMakeCache.txt)
grep '"command": .*ttt_dist.dir' build/compile_commands.json | grep -q -- "-isystem $headers " || die "ttt_dist does not see CUDA's headers"
grep 'ttt_dist.dir' build/compile_commands.json | grep -q "$here/elsewhere" || die "ttt_dist does not see nccl.h"
echo "CUDA builds where they start, and nowhere else"
