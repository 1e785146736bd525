#!/usr/bin/env python3
"""Packs reference tensors (safetensors) into the small golden files that the tests read (tests/golden/NAME.golden).

usage: tools/pack_golden.py REFERENCE_DIR OUTPUT_DIR [NAME ...]

Parameters and inputs are kept whole. Gradients, end values and logits of more than 1024 elements are replaced by every n-th
element (`sample/NAME`, metadata `sample_stride/NAME` and `max_abs/NAME`). A file is 8 bytes of size (little endian), then a
zstd frame of the safetensors bytes, byte-shuffled: all first bytes of the 4-byte words, then all second bytes, and so on.
tests/support/golden.h reads it. Only maintainers run this; nothing at build or run time does.
"""
import json
import struct
import subprocess
import sys
from array import array
from pathlib import Path

# No two of these cover the same code alike; together they exercise every mixer, backbone and importer and stay below 12 MB.
DEFAULT = ["attention", "hf_llama", "hf_mamba", "hf_ttt_linear_mamba", "hf_ttt_mlp_mamba", "ttt_linear_transformer", "ttt_mlp_transformer",
           "ttt_linear_head96", "train_attention", "train_ttt_linear", "train_ttt_mlp", "gated_deltanet", "gated_deltanet_k64"]
KEEP = 1024


def read(path):
    data = path.read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    body = data[8 + size:]
    return metadata, {name: (t["dtype"], t["shape"], body[t["data_offsets"][0]:t["data_offsets"][1]])
                      for name, t in header.items()}


def sampled(name):
    return name.startswith(("grad/", "final/")) or name in ("logits", "decode/logits")


def pack(source, target):
    metadata, tensors = read(source)
    header, body = {"__metadata__": metadata}, b""
    for name, (dtype, shape, raw) in sorted(tensors.items()):
        count = len(raw) // 4
        if sampled(name) and count > KEEP:
            values = array("f", raw)
            stride = -(-count // KEEP) | 1  # odd: walks through every column
            metadata["sample_stride/" + name] = str(stride)
            metadata["max_abs/" + name] = repr(max(abs(v) for v in values))
            values = values[::stride]
            name, shape, raw = "sample/" + name, [len(values)], values.tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    plain = struct.pack("<Q", len(text)) + text + body
    size = len(plain)
    plain += b"\0" * (-size % 4)
    shuffled = b"".join(plain[i::4] for i in range(4))
    compressed = subprocess.run(["zstd", "-19", "-c"], input=shuffled, stdout=subprocess.PIPE, check=True).stdout
    target.write_bytes(struct.pack("<Q", size) + compressed)
    return len(compressed) + 8


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    reference, output = Path(sys.argv[1]), Path(sys.argv[2])
    output.mkdir(parents=True, exist_ok=True)
    total = 0
    for name in sys.argv[3:] or DEFAULT:
        size = pack(reference / (name + ".safetensors"), output / (name + ".golden"))
        total += size
        print(f"{name:28} {size:9}")
    print(f"{'total':28} {total:9}")


main()
