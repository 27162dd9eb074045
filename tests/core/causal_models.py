"""Random models and prompts that activation patching is compared on with TransformerLens. Needs torch and transformers.

Their numbers depend on no version of a library: each parameter is drawn by name.
"""

from typing import Any

import torch
from reference_models import reference

CASES = ("gpt2", "llama", "pythia")
CLEAN = (3, 17, 41, 8, 60, 22, 17, 5, 71)
CORRUPT = (3, 17, 29, 8, 60, 44, 17, 9, 71)
TARGET, AGAINST = 7, 20


def causal_model(case: str) -> Any:
    """A model of transformers whose weights are large enough that every part matters."""
    model = reference(case)
    with torch.no_grad():
        for number, (name, parameter) in enumerate(sorted(model.named_parameters())):
            drawn = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number))
            norm = "norm" in name or ".ln_" in name
            parameter.copy_(0.2 * drawn + (norm and name.endswith("weight")))
    return model
