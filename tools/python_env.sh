#!/usr/bin/env bash
# Makes the Python environment of the tests that hold ttt against PyTorch's own programs (torchrun), and prints its path: PyPI's torch 2.11
# and the few wheels that importing it on a CPU needs, private and cached. No CUDA library is fetched: what torch links and never calls
# without a GPU is stood in for by empty libraries. ttt itself needs none of this.
#
# usage: tools/python_env.sh [--find] [--transformers]
#     --find           make nothing; exit code 1 when it is not there
#     --transformers   with Hugging Face's transformers in it, for `ttt bench peer`; version 4, which the official code of TTT layers wants
# environment: TTT_CACHE=DIR              where it goes, default ~/.cache/ttt.cpp
# DIR/bin/python and DIR/bin/torchrun of the folder that is printed are what the tests call.
set -euo pipefail
cache=${TTT_CACHE:-${HOME:?}/.cache/ttt.cpp}
version=2.11.0
transformers_version=4.57.6
env=$cache/python-torch-$version
say() { printf '[python_env] %s\n' "$*" >&2; }
die() { printf '[python_env] error: %s\n' "$*" >&2; exit 1; }

find='' transformers=''
for argument in "$@"; do
  case $argument in
    --find) find=yes ;;
    --transformers) transformers=yes ;;
    *) die "unknown argument '$argument'; there are --find and --transformers" ;;
  esac
done

# The large libraries are links into LibTorch's folder, which may have been removed since.
whole() { [ -e "$env/COMPLETE" ] && [ -x "$env/bin/python" ] && [ -e "$(echo "$env"/lib/python3*/site-packages/torch/lib/libtorch_cpu.so)" ]; }
has_transformers() { [ "$(cat "$env/TRANSFORMERS" 2>/dev/null)" = "$transformers_version" ]; }
wanted_is_there() { whole && { [ -z "$transformers" ] || has_transformers; }; }
if wanted_is_there; then echo "$env"; exit 0; fi
[ -z "$find" ] || exit 1

tools_needed=(python3 unzip gcc nm awk)
for tool in "${tools_needed[@]}"; do command -v "$tool" >/dev/null || die "'$tool' is missing; tools/setup.sh --test installs it"; done
python3 -m pip --version >/dev/null 2>&1 || die "python3 has no pip; install python3-pip"
fetch() { python3 -m pip download --quiet --no-deps --only-binary=:all: --no-cache-dir --disable-pip-version-check -d "$env/wheels" "$@" >&2; }
site_of_env() { "$env/bin/python" -c 'import site; print(site.getsitepackages()[0])'; }

# transformers and what importing it needs, beside a torch that is there.
add_transformers() {
  local site wheel
  say "fetching transformers $transformers_version (20 MB)"
  rm -rf "$env/wheels"
  fetch "transformers==$transformers_version" 'huggingface_hub>=0.34,<1' 'tokenizers>=0.22,<=0.23' safetensors pyyaml regex packaging tqdm requests \
    urllib3 idna certifi charset_normalizer || die "cannot download transformers from PyPI; check the network"
  site=$(site_of_env)
  for wheel in "$env"/wheels/*.whl; do unzip -q -o "$wheel" -d "$site"; done
  rm -r "$env/wheels"
  "$env/bin/python" -c 'from transformers import LlamaForCausalLM, MambaForCausalLM' || die "transformers cannot be imported from $env"
  echo "$transformers_version" >"$env/TRANSFORMERS"
}

exec 9>"$cache/python_env.lock"
flock 9  # one at a time
if whole; then  # by now, or but for transformers
  wanted_is_there || add_transformers
  echo "$env"
  exit 0
fi
free=$(df -Pk "$cache" | awk 'NR == 2 {print $4}')
[ "$free" -gt 3000000 ] || die "3 GB are needed in $cache while torch is unpacked; $((free / 1000)) MB are free (set TTT_CACHE)"
say "making $env"
rm -rf "$env"
python3 -m venv --without-pip "$env" || die "python3 -m venv failed; install python3-venv"
site=$(site_of_env)
fetch typing_extensions sympy mpmath networkx jinja2 MarkupSafe filelock fsspec numpy || die "cannot download from PyPI; check the network"

# torch: tools/setup.sh leaves its wheel where it has just fetched it, and has unpacked the large libraries.
kept=$(echo "$cache"/torch-"$version"-*.whl)
if [ -e "$kept" ]; then
  mv "$kept" "$env/wheels/"
else
  say "fetching torch $version (530 MB)"
  fetch "torch==$version" || die "cannot download torch $version from PyPI; check the network"
fi
have=$cache/libtorch-$version
unpacked=()
if [ -e "$have/COMPLETE" ]; then
  for library in "$have"/torch/lib/*.so*; do unpacked+=("torch/lib/${library##*/}"); done
else
  fetch nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85 || die "cannot download from PyPI; check the network"
  have=
fi
for wheel in "$env"/wheels/*.whl; do unzip -q -o "$wheel" -d "$site" -x 'torch/include/*' 'torch/share/*' "${unpacked[@]}" 2>/dev/null || [ $? = 11 ]; done
rm -r "$env/wheels"
cuda=$site/nvidia/cu13/lib
mkdir -p "$cuda"
if [ -n "$have" ]; then
  for library in "${unpacked[@]}"; do ln -s "$have/$library" "$site/$library"; done
  for library in libcudart.so.13 libcupti.so.13; do ln -s "$have/nvidia/cu13/lib/$library" "$cuda/"; done
fi

# Libraries without a function that works, under the names and symbol versions that torch links.
wanted=$(nm -D --undefined-only "$site"/torch/lib/libtorch_{cuda,nvshmem,python}.so | awk '$1 == "U" {print $2}' |
  grep -E '^(cublas|cudnn|cufft|cuFile|curand|cusparse|nccl|pnccl|nvshmem)' | sort -u)
for name in libcublas.so.13 libcublasLt.so.13 libcudnn.so.9 libcufft.so.12 libcufile.so.0 libcurand.so.10 libcusparse.so.12 libcusparseLt.so.0 \
  libnccl.so.2 libnvshmem_host.so.3; do
  tag=$name
  [ "$name" != libnvshmem_host.so.3 ] || tag=NVSHMEM
  symbols=$(sed -n "s/@*@$tag\$//p" <<<"$wanted")
  script=(-Wl,--version-script="$cuda/versions")
  if [ -z "$symbols" ]; then
    script=()
    [ "$name" != libnccl.so.2 ] || symbols=$(grep -v @ <<<"$wanted" || true)  # all that have no version
  fi
  echo "$tag { *; };" >"$cuda/versions"
  for symbol in $symbols; do echo "void $symbol(void) { __builtin_trap(); }"; done >"$cuda/stand_in.c"
  gcc -w -shared "$cuda/stand_in.c" -Wl,-soname,"$name" "${script[@]}" -o "$cuda/$name" || die "gcc could not make a stand-in for $name"
done
rm "$cuda/versions" "$cuda/stand_in.c"

printf '#!%s\nimport sys\nfrom torch.distributed.run import main\nsys.exit(main())\n' "$env/bin/python" >"$env/bin/torchrun"
chmod +x "$env/bin/torchrun"
"$env/bin/python" -c 'import torch, torch.distributed.run; assert float(torch.ones(3) @ torch.ones(3)) == 3' || die "torch cannot be imported from $env"
touch "$env/COMPLETE"
[ -z "$transformers" ] || add_transformers
echo "$env"
