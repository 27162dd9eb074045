"""The table of the activation functions a model can have: name, torch module, formula, source. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import UserError
from core.language import _

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ActivationFunction:
    """One activation function, applied to each number of a tensor alone."""

    formula: str
    source: str
    """The paper that defines it."""
    torch_class: str
    """Name of the class in `torch.nn`."""
    torch_options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments of that class."""
    hub_names: tuple[str, ...]
    """What a `config.json` of Hugging Face calls it."""


ACTIVATIONS: dict[Activation, ActivationFunction] = {
    "gelu": ActivationFunction(
        formula="GELU(x) = x · Φ(x)",
        source="Hendrycks and Gimpel 2016, §2",
        torch_class="GELU",
        hub_names=("gelu",),
    ),
    "gelu_tanh": ActivationFunction(  # the approximation that GPT-2 was trained with
        formula="GELU(x) ≈ x/2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))",
        source="Hendrycks and Gimpel 2016, §2",
        torch_class="GELU",
        torch_options={"approximate": "tanh"},
        hub_names=("gelu_new", "gelu_pytorch_tanh", "gelu_fast"),
    ),
    "relu": ActivationFunction(
        formula="ReLU(x) = max(0, x)",
        source="Nair and Hinton 2010",
        torch_class="ReLU",
        hub_names=("relu",),
    ),
    "silu": ActivationFunction(
        formula="SiLU(x) = x · σ(x)",
        source="Elfwing et al. 2017, eq. 1",
        torch_class="SiLU",
        hub_names=("silu", "swish"),
    ),
}

CHOICES: tuple[Activation, ...] = ("gelu", "relu", "silu")
"""The functions a person may choose for a rung of the ladder."""
CHOICES_TEXT = f"{', '.join(CHOICES[:-1])} or {CHOICES[-1]}"


def choose(name: str | None) -> Activation | None:
    """One of `CHOICES` by its name; None for None. Raises `UserError` for any other name."""
    chosen = next((each for each in CHOICES if each == name), None)
    if name is not None and chosen is None:
        raise unknown(name)
    return chosen


def unknown(name: str) -> UserError:
    """The error for a name that is no activation function."""
    return UserError(_("{name!r} is not an activation function; choose {choices}"), name=name, choices=CHOICES_TEXT)
