"""A description of a loaded model, without its weights."""

from dataclasses import dataclass, field
from pathlib import Path

from core.language import _
from core.loading.choice import ModelChoice


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What is shown of a loaded model."""

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
    """The choice it was loaded by; None where that is not known."""
    slow_path: str = field(default="", compare=False)
    """Why packed weights are computed without the compiled kernels here; empty where they are not slower."""
    stored: str = field(default="", compare=False)
    """The formats of a GGUF file that is computed as stored, such as Q4_K_M; empty for all others."""

    unpacked: str = field(default="", compare=False)
    """Those of its formats that have no kernel, and so are unpacked to 16-bit numbers, such as `IQ2_S, IQ3_S`."""

    @property
    def format(self) -> str:
        """The number format of the weights, for people: `bf16`, `Q4_K_M as stored`, `TQ1_0 unpacked to fp16`."""
        if not self.stored:
            return self.dtype
        if not self.unpacked:
            return _("{stored} as stored").format(stored=self.stored)
        if self.stored == self.unpacked:
            return _("{stored} unpacked to fp16").format(stored=self.stored)
        return _("{stored} as stored, but {unpacked} unpacked to fp16").format(
            stored=self.stored, unpacked=self.unpacked
        )

    @property
    def adapter(self) -> str:
        """The name of the LoRA adapter and its scale, such as `oat × 0.5` or `oat off`; empty where there is none."""
        if self.choice is None or not self.choice.lora:
            return ""
        name, scale = Path(self.choice.lora).name, self.choice.lora_scale
        return name if scale == 1 else f"{name} × {scale:g}" if scale else f"{name} off"

    @property
    def label(self) -> str:
        """The model's name, with its adapter."""
        return f"{self.name} + {self.adapter}" if self.adapter else self.name
