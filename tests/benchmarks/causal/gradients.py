"""Input attributions by captum: writes the figures that tests compare with.

    PYTHON_WITH_CAPTUM tests/benchmarks/causal/gradients.py     writes tests/core/transformer_lens/gradients_*.json

It needs `captum` 0.8 and transformers, and not this project's packages.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from captum.attr import InputXGradient, IntegratedGradients, LayerIntegratedGradients
from torch import Tensor

TESTS = Path(__file__).parents[2] / "core"
sys.path.insert(0, str(TESTS))
from causal_models import AGAINST, CASES, CLEAN, CORRUPT, TARGET, causal_model  # noqa: E402

STEPS = 64


def figures(case: str) -> dict[str, Any]:
    """For each token: integrated gradients from two baselines, and input × gradient, of a difference of logits."""
    model = causal_model(case)
    clean, corrupt = torch.tensor([CLEAN]), torch.tensor([CORRUPT])

    def difference(**inputs: Tensor) -> Tensor:
        logits = model(**inputs).logits[:, -1]
        return logits[:, TARGET] - logits[:, AGAINST]

    table = model.get_input_embeddings()
    embedded = table(clean).detach()
    by_embedding = IntegratedGradients(lambda x: difference(inputs_embeds=x))
    by_layer = LayerIntegratedGradients(lambda ids: difference(input_ids=ids), table)
    products = InputXGradient(lambda x: difference(inputs_embeds=x))
    found = {
        "integrated_zero": by_embedding.attribute(embedded, torch.zeros_like(embedded), n_steps=STEPS),
        "integrated_corrupt": by_layer.attribute(clean, corrupt, n_steps=STEPS),
        "input_x_gradient": products.attribute(embedded.requires_grad_()),
    }
    values = {name: [round(value, 6) for value in each.sum(-1)[0].tolist()] for name, each in found.items()}
    return {"measure": round(difference(input_ids=clean).item(), 6), **values}


if __name__ == "__main__":
    for case in CASES:
        path = TESTS / "transformer_lens" / f"gradients_{case}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(figures(case)) + "\n", encoding="utf-8")
        print(path)
