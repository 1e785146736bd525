#include "bench/peer_script.h"

namespace ttt {

const char* const kPeerScript = R"PYTHON(
import json, os, platform, sys, time

sys.dont_write_bytecode = True
sys.path[:] = [folder for folder in sys.path if folder]  # nothing from the working directory
os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1", TRANSFORMERS_VERBOSITY="error")
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)


def answer(**words):
    answers.write(json.dumps(words) + "\n")
    answers.flush()


want = json.loads(sys.argv[1])
try:
    import torch
    import transformers
except ImportError as error:
    answer(missing=str(error))
    sys.exit(0)


def build():
    settings = dict(want["config"])
    for key in ("model_type", "architectures", "torch_dtype"):
        settings.pop(key, None)
    if want["peer"] == "TTTForCausalLM":
        sys.path.insert(0, want["official"])
        import ttt
        return ttt.TTTForCausalLM(ttt.TTTConfig(**settings))
    if want["peer"] == "LlamaForCausalLM":
        settings["attn_implementation"] = "sdpa"
    config = getattr(transformers, want["peer"].replace("ForCausalLM", "Config"))(**settings)
    return getattr(transformers, want["peer"])(config)


def make_optimizer(parameters):
    settings = dict(lr=want["lr"], betas=tuple(want["betas"]), eps=want["eps"], weight_decay=want["weight_decay"])
    try:
        return torch.optim.AdamW(parameters, fused=True, **settings), "fused"
    except (RuntimeError, TypeError):
        return torch.optim.AdamW(parameters, foreach=True, **settings), "foreach"


torch.set_num_threads(want["threads"])
torch.manual_seed(want["seed"])
model = build().train()
parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
optimizer, kind = make_optimizer(parameters)
sequences, context, together = want["sequences"], want["context"], want["micro_batch"]
tokens = torch.randint(want["config"]["vocab_size"], (sequences, context + 1))


def step():
    start = time.perf_counter()
    optimizer.zero_grad(set_to_none=True)
    for first in range(0, sequences, together):
        part = tokens[first:first + together]
        with torch.autocast("cpu", torch.bfloat16, enabled=want["bf16"]):
            logits = model(input_ids=part[:, :-1].contiguous(), use_cache=False).logits
        total = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
        loss = total / (sequences * context)
        loss.backward()
        loss.item()
    if want["clip"] > 0:
        torch.nn.utils.clip_grad_norm_(parameters, want["clip"])
    optimizer.step()
    return sequences * context / (time.perf_counter() - start)


step()
answer(parameters=sum(parameter.numel() for parameter in parameters), torch=torch.__version__,
       transformers=transformers.__version__, python=platform.python_version(), optimizer=kind)
for line in iter(sys.stdin.readline, ""):
    answer(tokens_per_second=[step() for _ in range(int(line))])
)PYTHON";

}  // namespace ttt
