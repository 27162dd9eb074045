"""The MLP of a block, at each position alone: one for all positions, or experts among which each position chooses.

Shapes: B batch, T tokens, d embedding size, m inner size, n positions, E experts.
"""

from torch import Tensor, nn

from core.engine.config import ModelConfig
from core.engine.experts import ClampedGate, MixtureOfExperts
from core.engine.parts import Zero, activation, output_norm, output_scale


def feed_forward(config: ModelConfig, block: int) -> nn.Module:
    """The MLP of a block, counted from 0; `Zero` where the model has none."""
    if not config.feed_forward:
        return Zero()
    if not config.has_experts(block):
        return FeedForward(config, config.mlp_dim)
    experts = config.experts
    assert experts
    shared = FeedForward(config, experts.shared_size) if experts.shared_size else None
    each = [FeedForward(config, experts.size) for _ in range(experts.count)]
    return MixtureOfExperts(config, experts, each, shared)


class Gated(nn.Module):
    """The activation of the first half multiplies the second half; with SiLU this is SwiGLU (Shazeer 2020, eq. 6)."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 2m] → [B, T, m]."""
        gate, value = x.chunk(2, dim=-1)
        return self.activation(gate) * value


def gate(config: ModelConfig) -> nn.Module:
    """What multiplies one half of the inner states by the other."""
    return ClampedGate(config.gate_limit) if config.gate_limit else Gated(activation(config))


class FeedForward(nn.Module):
    """An MLP of inner size m: d → m → d, or d → 2m → m → d where it is gated."""

    def __init__(self, config: ModelConfig, size: int) -> None:
        super().__init__()
        bias = "mlp" in config.biases
        self.up = nn.Linear(config.embed_dim, size * (1 + config.gated), bias=bias)
        self.activation = gate(config) if config.gated else activation(config)
        self.down = nn.Linear(size, config.embed_dim, bias=bias)
        self.norm, self.scale = output_norm(config), output_scale(config)

    def forward(self, x: Tensor) -> Tensor:
        """[…, d] → […, d]."""
        return self.scale(self.norm(self.down(self.activation(self.up(x)))))
