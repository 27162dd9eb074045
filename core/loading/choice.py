"""Which model to load and how."""

from dataclasses import dataclass

from core.engine.activation import Activation


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """Sizes of a rung that can be changed; None means the rung's own value."""

    embed_dim: int | None = None
    context: int | None = None
    blocks: int | None = None
    heads: int | None = None
    activation: Activation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Everything that decides which numbers a model computes."""

    name: str = "model1"
    tokenizer: str = "cl100k"
    weights_seed: int = 0
    changes: Hyperparameters = Hyperparameters()
    device: str = "auto"
    dtype: str = "auto"
    lora: str = ""
    """A folder or .gguf file with a LoRA adapter; empty for none."""
    lora_scale: float = 1.0
    """What the adapter's deltas are multiplied by; 0 is the model without it."""
    engine: str = "auto"
    """Where `name` is the address of an engine: which one it is."""
    served_model: str = ""
    """Where the engine serves several models: the name of one."""
