"""A Llama of one of this project's sizes, trained by PyTorch under torch.compile: the peer that tools/gpu_check.sh --peer times.

Prints one JSON object with the keys of `ttt bench model --json` that gpu_check's tables read. Needs PyTorch 2.2 or newer.
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

# hidden_size, num_layers, num_heads, intermediate_size: configs/model/attention_*.yaml
SIZES = {"tiny": (64, 2, 2, 96), "125m": (768, 12, 12, 2048), "350m": (1024, 24, 16, 2736), "760m": (1536, 24, 16, 4096), "1.3b": (2048, 24, 32, 5504)}
VOCAB = 32000


class Block(torch.nn.Module):
    def __init__(self, d, heads, inner):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = torch.nn.RMSNorm(d, eps=1e-6), torch.nn.RMSNorm(d, eps=1e-6)
        self.qkv, self.o = torch.nn.Linear(d, 3 * d, bias=False), torch.nn.Linear(d, d, bias=False)
        self.gate, self.up = torch.nn.Linear(d, inner, bias=False), torch.nn.Linear(d, inner, bias=False)
        self.down = torch.nn.Linear(inner, d, bias=False)

    def forward(self, x, cos, sin):  # [B,T,D]
        b, t, d = x.shape
        q, k, v = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        o = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.o(o.transpose(1, 2).reshape(b, t, d))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def rotate(x, cos, sin):
    a, b = x.chunk(2, dim=-1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), dim=-1).to(x.dtype)


class Llama(torch.nn.Module):
    def __init__(self, d, layers, heads, inner, context):
        super().__init__()
        self.embedding = torch.nn.Embedding(VOCAB, d)
        self.blocks = torch.nn.ModuleList(Block(d, heads, inner) for _ in range(layers))
        self.norm = torch.nn.RMSNorm(d, eps=1e-6)
        half = d // heads // 2
        angles = torch.outer(torch.arange(context), 10000.0 ** (-torch.arange(half) / half))
        self.register_buffer("cos", angles.cos())
        self.register_buffer("sin", angles.sin())
        torch.nn.init.normal_(self.embedding.weight, std=0.02)

    def forward(self, tokens, targets):
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.cos, self.sin)
        logits = F.linear(self.norm(x), self.embedding.weight)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="125m")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--sequences", type=int, default=1, help="of a step")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--dtype", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--no-compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    model = Llama(*SIZES[args.size], args.context).to(args.device)
    parameters = sum(p.numel() for p in model.parameters())
    on_gpu = args.device.startswith("cuda")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=on_gpu)
    run = model if args.no_compile else torch.compile(model)
    tokens = torch.randint(VOCAB, (args.sequences, args.context + 1), device=args.device)
    seconds = []
    for step in range(args.steps + 2):  # the first two compile and touch memory
        if on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.autocast(args.device.split(":")[0], torch.bfloat16, enabled=args.dtype == "bf16"):
            loss = run(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        if step >= 2:
            seconds.append(time.perf_counter() - start)
    median = statistics.median(seconds)
    print(json.dumps({
        "tokens_per_second": args.sequences * args.context / median,
        "step_ms": {"median": 1e3 * median, "min": 1e3 * min(seconds), "max": 1e3 * max(seconds)},
        "peak_memory_bytes": torch.cuda.max_memory_allocated() if on_gpu else 0,
        "parameters": parameters,
        "dtype": args.dtype,
        "compiled": not args.no_compile,
        "torch": torch.__version__,
    }, separators=(",", ":")))


if __name__ == "__main__":
    main()
