"""Scores of heads by TransformerLens 4.3: writes the figures that tests compare with.

    PYTHON_WITH_TRANSFORMER_LENS tests/benchmarks/causal/head_scores.py     writes tests/core/transformer_lens/*.json

It needs `transformer-lens==4.3` and its requirements, and not this project's packages. Norms are folded; nothing else
is centered, so that the matrices are those that the model has.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformer_lens import TransformerBridge
from transformer_lens.head_detector import detect_head
from transformers import PreTrainedTokenizerFast

TESTS = Path(__file__).parents[2] / "core"
sys.path.insert(0, str(TESTS))
from causal_models import CASES, causal_model  # noqa: E402

IDS = [3, 17, 41, 8, 60, 22, 5, 71, 33, 50, 12, 3, 17, 41, 8, 60, 22, 5, 71, 33, 50, 12]
DETECTED = {"previous": "previous_token_head", "duplicate": "duplicate_token_head", "induction": "induction_head"}


def bridge(case: str) -> TransformerBridge:
    model = causal_model(case)
    words = Tokenizer(WordLevel({str(id): id for id in range(83)}, unk_token="0"))
    with tempfile.TemporaryDirectory() as folder:  # the bridge reads the configuration of a name or folder
        model.save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=words).save_pretrained(folder)
        return TransformerBridge.boot_transformers(folder, hf_model=model, device="cpu")


def figures(case: str) -> dict[str, Any]:
    model = bridge(case)
    model.enable_compatibility_mode(fold_ln=True, center_writing_weights=False, center_unembed=False)
    ids = torch.tensor([IDS])
    model.to_tokens = lambda *_, **__: ids  # type: ignore[method-assign]  # without one that begins a text
    found: dict[str, Any] = {"ids": IDS}
    with torch.no_grad():
        for name, kind in DETECTED.items():
            found[name] = detect_head(model, "", kind).tolist()
        for kind in "QKV":
            found[kind.lower()] = model.all_composition_scores(kind).scores.tolist()
        values = (model.embed.W_E @ model.OV @ model.unembed.W_U).eigenvalues
        found["copying"] = (values.sum(-1).real / values.abs().sum(-1)).tolist()
    return found


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else round(value, 6)


if __name__ == "__main__":
    for case in CASES:
        path = TESTS / "transformer_lens" / f"heads_{case}.json"
        path.write_text(json.dumps(rounded(figures(case)), separators=(",", ":")) + "\n")
        print(path)
