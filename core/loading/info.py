"""What is known of a loaded model, without its weights."""

from dataclasses import dataclass

from core.loading.choice import ModelChoice


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a status line says of a loaded model."""

    name: str
    title: str
    parameters: int
    vocab_size: int
    context: int
    device: str
    dtype: str
    tokenizer: str
    weights: str
    """Where the weights come from, such as `random weights, seed 0`."""
    choice: ModelChoice | None = None
    """What was asked for to have it; None where that is not known."""
