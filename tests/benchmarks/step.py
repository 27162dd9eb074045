"""Prints tokens a second of the compiled step and of the modules: `python tests/benchmarks/step.py [SHAPE …]`.

Random models of 400 to 500 million parameters in 8-bit blocks, in the shapes of families. The sides take turns; the
best of three rounds counts.
"""

import sys
import time
from typing import Any

from core.engine import threads

threads.prepare(beside_screen=False)

import torch  # noqa: E402
from torch import nn  # noqa: E402

from core.engine.cache import KVCache  # noqa: E402
from core.engine.config import Experts, ModelConfig  # noqa: E402
from core.engine.experts import Router  # noqa: E402
from core.engine.packed.compiled import Matrix  # noqa: E402
from core.engine.packed.decode import CompiledTransformer  # noqa: E402
from core.engine.packed.linear import PackedEmbedding, PackedLinear  # noqa: E402

SHARED: dict[str, Any] = {
    "positions": "rotary",
    "context": 2048,
    "pre_norm": True,
    "feed_forward": True,
    "final_activation": False,
}
GATED: dict[str, Any] = {**SHARED, "gated": True, "activation": "silu", "norm": "rms", "biases": ()}
SHAPES: dict[str, dict[str, Any]] = {
    "llama": {**GATED, "vocab_size": 32_000, "embed_dim": 2048, "blocks": 8, "heads": 32, "group": 8, "mlp_size": 5632},
    "gemma": {
        **GATED,
        **{"vocab_size": 64_000, "embed_dim": 1152, "blocks": 13, "heads": 4, "group": 2, "mlp_size": 6912},
        **{"head_size": 256, "windows": tuple(64 * (n % 2) for n in range(13)), "tied": True},
        **{"activation": "gelu_tanh", "output_norms": True, "embed_scale": 33.9},
        **{"attention_cap": 50.0, "logit_cap": 30.0},
    },
    "pythia": {
        **SHARED,
        **{"vocab_size": 50_304, "embed_dim": 1024, "blocks": 24, "heads": 16, "mlp_size": 4096},
        **{"norm": "layer", "layout": "parallel", "biases": ("qkv", "out", "mlp")},
    },
    "mixtral": {
        **GATED,
        **{"vocab_size": 32_000, "embed_dim": 1024, "blocks": 8, "heads": 16, "group": 4},
        "experts": Experts(count=8, used=2, size=1792, normalized=True),
    },
}


def blocks(rows: int, columns: int) -> Matrix:
    """Random bytes as Q8_0, with small scales."""
    weights = torch.randint(0, 256, (rows, columns // 32, 34), dtype=torch.uint8)
    weights[..., :2] = torch.full((rows, columns // 32, 1), 2e-4).half().view(torch.uint8)
    return Matrix("Q8_0", (rows, columns), weights.flatten(1))


def random_packed(config: ModelConfig) -> CompiledTransformer:
    """A model whose matrices are packed from the beginning."""
    with torch.device("meta"):
        model = CompiledTransformer(config)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and not isinstance(module, Router):
            bias = None if module.bias is None else torch.zeros(module.out_features)
            model.set_submodule(name, PackedLinear([blocks(module.out_features, module.in_features)], bias))
    embed = PackedEmbedding([blocks(config.vocab_size, config.embed_dim)])
    model.set_submodule("embed", embed)
    if config.tied:
        model.set_submodule("unembed", PackedLinear(embed.parts))
    numbers = {name: torch.ones(each.shape) for name, each in model.named_parameters() if each.is_meta}
    model.load_state_dict(numbers, assign=True, strict=False)
    return model.requires_grad_(False).eval()


@torch.inference_mode()
def speed(model: CompiledTransformer, count: int) -> float:
    """Tokens a second."""
    cache = KVCache(model.config, 1, model.device, model.dtype)
    model.step(torch.tensor([[5]]), cache)
    began = time.perf_counter()
    for id in range(count):
        model.step(torch.tensor([[id]]), cache)
    return count / (time.perf_counter() - began)


def main() -> None:
    torch.set_num_threads(threads.count(threads.SMALL, beside_screen=False))
    for name in sys.argv[1:] or SHAPES:
        model = random_packed(ModelConfig(**SHAPES[name]))
        step, best = model.fast, {"step": 0.0, "modules": 0.0}
        for _ in range(3):
            for side, fast, count in (("step", step, 24), ("modules", None, 12)):
                model.fast = fast
                best[side] = max(best[side], speed(model, count))
        ratio = best["step"] / best["modules"]
        millions = model.config.parameter_count() / 1e6
        print(
            f"{name}, {millions:.0f} M: modules {best['modules']:.1f}, step {best['step']:.1f} ({ratio:.2f}×)",
            flush=True,
        )


if __name__ == "__main__":
    main()
