"""Peak memory of loading a random Llama of 1 GB in bfloat16 and two files, in each number format.

Prints, in multiples of the weights as they are in memory, the most that loading took beyond the process before it.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save_file

from core.engine.device import DTYPES
from core.loading import description, weights

SIZES = {
    "model_type": "llama",
    "vocab_size": 32_000,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 8,
    "num_attention_heads": 32,
    "num_key_value_heads": 4,
}
FORMATS = ("fp32", "bf16", "fp16", "int8", "int4")


def write(folder: Path) -> None:
    """The model folder: config.json, two files and their index."""
    width, inner, keys = SIZES["hidden_size"], SIZES["intermediate_size"], 256
    block = {
        **{f"self_attn.{part}_proj": (width, width) for part in "qo"},
        **{f"self_attn.{part}_proj": (keys, width) for part in "kv"},
        **{f"mlp.{part}_proj": (inner, width) for part in ("gate", "up")},
        "mlp.down_proj": (width, inner),
        "input_layernorm": (width,),
        "post_attention_layernorm": (width,),
    }
    shapes = {"model.embed_tokens": (SIZES["vocab_size"], width)}
    shapes |= {f"model.layers.{n}.{name}": shape for n in range(8) for name, shape in block.items()}
    shapes |= {"model.norm": (width,), "lm_head": (SIZES["vocab_size"], width)}
    names, places = list(shapes), {}
    for number, part in enumerate((names[: len(names) // 2], names[len(names) // 2 :]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        save_file({f"{name}.weight": (0.02 * torch.randn(shapes[name])).bfloat16() for name in part}, folder / file)
        places |= {f"{name}.weight": file for name in part}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    (folder / "config.json").write_text(json.dumps(SIZES))


def status(key: str) -> float:
    """MB of this process, by a line of /proc/self/status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1e3 for line in lines if line.startswith(f"{key}:"))


def measure(folder: Path, name: str) -> None:
    described, before = description.describe(folder), status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins here
    start = time.perf_counter()
    half = DTYPES[name] if name in ("bf16", "fp16") else None
    model = weights.build_model(described, torch.device("cpu"), half or torch.float32, None if half else name)
    seconds, peak = time.perf_counter() - start, status("VmHWM") - before
    tensors = {each.data_ptr(): each.nbytes for each in (*model.parameters(), *model.buffers())}
    size = sum(tensors.values()) / 1e6
    print(f"{name}: {size:,.0f} MB of weights, peak {peak:,.0f} MB, {peak / size:.2f} ×, {seconds:.1f} s")


if __name__ == "__main__":
    if len(sys.argv) == 3:
        measure(Path(sys.argv[1]), sys.argv[2])
    else:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name))
            for each in FORMATS:
                subprocess.run([sys.executable, __file__, name, each], check=True)
