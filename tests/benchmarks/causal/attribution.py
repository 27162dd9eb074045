"""Direct logit attribution by TransformerLens 4.3: writes the figures that tests compare with.

    PYTHON_WITH_TRANSFORMER_LENS tests/benchmarks/causal/attribution.py     writes tests/core/transformer_lens/*.json

It needs `transformer-lens==4.3` and its requirements, and not this project's packages. Norms are folded, as
`logit_attrs` asks for; nothing is centered, so that the parts are those that the model has.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from torch import Tensor
from transformer_lens import TransformerBridge
from transformers import PreTrainedTokenizerFast

TESTS = Path(__file__).parents[2] / "core"
sys.path.insert(0, str(TESTS))
from causal_models import AGAINST, CASES, CLEAN, TARGET, causal_model  # noqa: E402


def bridge(case: str) -> TransformerBridge:
    """A model of transformers with its norms folded into the weights."""
    model = causal_model(case)
    words = Tokenizer(WordLevel({str(id): id for id in range(83)}, unk_token="0"))
    with tempfile.TemporaryDirectory() as folder:  # the bridge reads the configuration of a name or folder
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
        made = TransformerBridge.boot_transformers(folder, hf_model=model, device="cpu")
    made.enable_compatibility_mode(
        fold_ln=True, center_writing_weights=False, center_unembed=False, fold_value_biases=False
    )
    return made


def figures(case: str) -> dict[str, Any]:
    """By part: what it contributes to the difference of two logits after the last token."""
    model = bridge(case)
    with torch.no_grad():
        logits, cache = model.run_with_cache(torch.tensor([CLEAN]))

        def towards(stack: Tensor) -> list[float]:
            return cache.logit_attrs(stack, TARGET, AGAINST, pos_slice=-1, has_batch_dim=True)[:, 0].tolist()

        parts, names = cache.decompose_resid(pos_slice=-1, return_labels=True)
        heads = cache.stack_head_results(pos_slice=-1)
        neurons = cache.stack_neuron_results(-1, pos_slice=-1)
        return {
            "difference": (logits[0, -1, TARGET] - logits[0, -1, AGAINST]).item(),
            "parts": dict(zip(names, towards(parts), strict=True)),
            "heads": torch.tensor(towards(heads)).view(model.cfg.n_layers, -1).tolist(),
            "neurons": torch.tensor(towards(neurons)).view(model.cfg.n_layers, -1).tolist(),
        }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else round(value, 6)


if __name__ == "__main__":
    for case in CASES:
        path = TESTS / "transformer_lens" / f"attribution_{case}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(rounded(figures(case))) + "\n", encoding="utf-8")
        print(path)
