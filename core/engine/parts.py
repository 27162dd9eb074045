"""Small parts of the model: norms, activation functions, constants, and what takes the place of an absent part."""

import torch
from torch import Tensor, nn

from core.engine.activation import ACTIVATIONS
from core.engine.config import ModelConfig


def norm(config: ModelConfig) -> nn.Module:
    """The norm of a configuration, over the last dimension d."""
    kinds = {"none": nn.Identity, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
    return kinds[config.norm](config.embed_dim, eps=config.norm_eps)


def activation(config: ModelConfig) -> nn.Module:
    """The activation function of a configuration, applied to each number alone."""
    function = ACTIVATIONS[config.activation]
    module: nn.Module = getattr(nn, function.torch_class)(**function.torch_options)
    return module


class Zero(nn.Module):
    """Returns 0 for any input: the term of a sum that a configuration leaves out."""

    def forward(self, _: Tensor) -> float:
        return 0.0


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class RoundedScale(nn.Module):
    """Multiplies by a constant that is first rounded to the number format of its input."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.full((), self.factor, dtype=x.dtype, device=x.device)


class Cap(nn.Module):
    """Keeps numbers within ±cap by cap · tanh(x / cap)."""

    def __init__(self, cap: float) -> None:
        super().__init__()
        self.cap = cap

    def forward(self, x: Tensor) -> Tensor:
        return self.cap * torch.tanh(x / self.cap)


def output_norm(config: ModelConfig) -> nn.Module:
    """The norm of what a sublayer adds to the residual stream."""
    return norm(config) if config.output_norms else nn.Identity()


def output_scale(config: ModelConfig) -> nn.Module:
    """The factor of what a sublayer adds to the residual stream."""
    return nn.Identity() if config.residual_scale == 1 else Scale(config.residual_scale)
