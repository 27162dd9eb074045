"""Activation, path and attribution patching by TransformerLens 4.3: writes the figures that tests compare with.

    PYTHON_WITH_TRANSFORMER_LENS tests/benchmarks/causal/patching.py        writes tests/core/transformer_lens/*.json

It needs `transformer-lens==4.3` and its requirements, and not this project's packages.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from torch import Tensor
from transformer_lens import TransformerBridge, patching
from transformers import PreTrainedTokenizerFast

TESTS = Path(__file__).parents[2] / "core"
sys.path.insert(0, str(TESTS))
from causal_models import AGAINST, CASES, CLEAN, CORRUPT, TARGET, causal_model  # noqa: E402

SWEEPS = {
    "residual": patching.get_act_patch_resid_pre,
    "attention": patching.get_act_patch_attn_out,
    "mlp": patching.get_act_patch_mlp_out,
    "heads": patching.get_act_patch_attn_head_out_all_pos,
}
SITES = {"residual": "hook_resid_pre", "attention": "hook_attn_out", "mlp": "hook_mlp_out", "heads": "attn.hook_z"}


def measure(logits: Tensor) -> Tensor:
    return logits[0, -1, TARGET] - logits[0, -1, AGAINST]


def bridge(case: str) -> TransformerBridge:
    """A model of transformers as it is: no folded norms, no centered weights."""
    model = causal_model(case)
    with tempfile.TemporaryDirectory() as folder:  # the bridge reads the configuration of a name or folder
        model.save_pretrained(folder)
        words = Tokenizer(models.WordLevel({str(n): n for n in range(83)}, unk_token="0"))
        PreTrainedTokenizerFast(tokenizer_object=words, bos_token="0", eos_token="0").save_pretrained(folder)
        return TransformerBridge.boot_transformers(folder, hf_model=model, device="cpu")


def attributions(model: TransformerBridge, clean: Any, corrupt: Tensor) -> dict[str, Any]:
    """(a_clean - a_corrupt) · ∂m/∂a at the corrupt run, by site."""
    kept: dict[str, Tensor] = {}

    def keep(name: str, activation: Tensor, hook: Any) -> Tensor:
        kept[name] = activation.clone()
        kept[name].retain_grad()
        return kept[name]

    names = [f"blocks.{n}.{site}" for n in range(model.cfg.n_layers) for site in SITES.values()]
    value = measure(model.run_with_hooks(corrupt, fwd_hooks=[(name, partial(keep, name)) for name in names]))
    value.backward()
    found = {}
    for key, site in SITES.items():
        rows = []
        for n in range(model.cfg.n_layers):
            name = f"blocks.{n}.{site}"
            product = (clean[name] - kept[name].detach()) * kept[name].grad
            rows.append(product[0].sum((0, 2) if key == "heads" else -1).tolist())
        found[key] = rows
    return found


def paths(model: TransformerBridge, clean: Any, other: Any, corrupt: Tensor, normal: Callable[[Any], Any]) -> list[Any]:
    """Every head of layer 0 into the queries of later heads, and where heads do not share them, the keys and values."""
    found = []
    for component in "q" if model.cfg.n_key_value_heads not in (None, model.cfg.n_heads) else "qkv":
        for head in range(model.cfg.n_heads):
            measured = patching.get_act_patch_direct_path(
                model, corrupt, clean, other, measure, 0, head, component, verbose=False
            )
            found.append({"component": component, "head": head, "values": normal(measured[1:]).tolist()})
    return found


def figures(case: str) -> dict[str, Any]:
    model = bridge(case)
    clean_ids, corrupt_ids = torch.tensor([CLEAN]), torch.tensor([CORRUPT])
    clean_logits, clean = model.run_with_cache(clean_ids)
    corrupt_logits, corrupt = model.run_with_cache(corrupt_ids)
    high, low = measure(clean_logits).item(), measure(corrupt_logits).item()

    def normal(measured: Any) -> Any:
        return (measured - low) / (high - low)

    found: dict[str, Any] = {"clean": high, "corrupt": low}
    with torch.no_grad():
        for name, sweep in SWEEPS.items():
            found[name] = normal(sweep(model, corrupt_ids, clean, measure)).tolist()
        found["paths"] = paths(model, clean, corrupt, corrupt_ids, normal)
    found["attribution"] = {
        name: (torch.tensor(values) / (high - low)).tolist()
        for name, values in attributions(model, clean, corrupt_ids).items()
    }
    return found


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return (
        [rounded(each) for each in value]
        if isinstance(value, list)
        else round(value, 6)
        if isinstance(value, float)
        else value
    )


if __name__ == "__main__":
    for case in CASES:
        path = TESTS / "transformer_lens" / f"patching_{case}.json"
        path.write_text(json.dumps(rounded(figures(case)), separators=(",", ":")) + "\n")
        print(path)
