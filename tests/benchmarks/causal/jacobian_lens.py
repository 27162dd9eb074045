"""The Jacobian lens by TransformerLens 4.3: writes the figures that tests compare with.

    PYTHON_WITH_TRANSFORMER_LENS tests/benchmarks/causal/jacobian_lens.py     writes tests/core/transformer_lens/*.json

It needs `transformer-lens==4.3` and its requirements, and not this project's packages.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models
from transformer_lens import TransformerBridge
from transformer_lens.tools.analysis import JacobianLens
from transformers import PreTrainedTokenizerFast

TESTS = Path(__file__).parents[2] / "core"
sys.path.insert(0, str(TESTS))
from causal_models import CASES, CLEAN, causal_model  # noqa: E402

SKIP = 3
SEQUENCES = [[(7 * n * n + 5 * n + start) % 83 for n in range(12)] for start in (1, 30)]


def bridge(case: str) -> TransformerBridge:
    """A model of transformers as it is: no folded norms, no centered weights."""
    model = causal_model(case)
    with tempfile.TemporaryDirectory() as folder:  # the bridge reads the configuration of a name or folder
        model.save_pretrained(folder)
        words = Tokenizer(models.WordLevel({str(n): n for n in range(83)}, unk_token="0"))
        PreTrainedTokenizerFast(tokenizer_object=words, bos_token="0", eos_token="0").save_pretrained(folder)
        return TransformerBridge.boot_transformers(folder, hf_model=model, device="cpu")


def figures(case: str) -> dict[str, Any]:
    model = bridge(case).eval()
    prompts = {f"sequence {n}": torch.tensor([ids]) for n, ids in enumerate(SEQUENCES)}
    model.to_tokens = lambda prompt: prompts[prompt]  # type: ignore[method-assign]
    lens = JacobianLens.fit(model, list(prompts), corpus="random", skip_first_positions=SKIP, show_progress=False)
    width = model.cfg.d_model
    vector = torch.linspace(-1, 1, width)
    read = lens.readout(model, torch.tensor([CLEAN]), positions=[-1], top_k=5)
    return {
        "skip": SKIP,
        "sequences": SEQUENCES,
        "columns": {layer: (matrix @ vector).tolist() for layer, matrix in lens.jacobians.items()},
        "rows": {layer: (vector @ matrix).tolist() for layer, matrix in lens.jacobians.items()},
        "top": {layer: ids[0].tolist() for layer, ids in read.lens_topk_indices.items()},
        "logits": {layer: values[0].tolist() for layer, values in read.lens_topk_values.items()},
    }


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else round(value, 5)


if __name__ == "__main__":
    for case in CASES:
        path = TESTS / "transformer_lens" / f"jacobian_{case}.json"
        path.write_text(json.dumps(rounded(figures(case)), separators=(",", ":")) + "\n")
        print(path)
