"""A mixture of experts: at each position a router chooses a few of many MLPs (Shazeer et al. 2017; Fedus et al. 2022).

Shapes: B batch, T tokens, d embedding size, m inner size of an expert, n positions, E experts, u used ones.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from core.engine.config import Experts, ModelConfig
from core.engine.parts import Zero


class Router(nn.Linear):
    """One score per expert. Its matrix is never packed in fewer bits, which would change what is chosen."""


class Choice(nn.Module):
    """The experts with the highest probabilities, and the weights of their outputs."""

    def __init__(self, used: int, power: float) -> None:
        super().__init__()
        self.used, self.power = used, power

    def forward(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """[n, E] → weights [n, u], float32, and the numbers of the experts [n, u].

        The weights are the softmax of all scores, or where they sum to 1 that of the chosen ones.
        """
        weights, chosen = scores.float().softmax(-1).topk(self.used, -1)
        return weights / weights.sum(-1, keepdim=True) ** self.power, chosen


class MixtureOfExperts(nn.Module):
    """The sum of the chosen experts' outputs, each times its weight, and of a shared expert's where there is one."""

    def __init__(
        self, config: ModelConfig, experts: Experts, each: Sequence[nn.Module], shared: nn.Module | None
    ) -> None:
        super().__init__()
        self.router = Router(config.embed_dim, experts.count, bias=experts.router_bias)
        self.choice = Choice(experts.used, 1.0 if experts.normalized else 0.0)
        self.experts = nn.ModuleList(each)
        self.shared = SharedExpert(config, shared) if shared else Zero()

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        positions = x.flatten(0, -2)  # [n, d]
        weights, chosen = self.choice(self.router(positions))
        out = torch.zeros_like(positions)
        for expert in chosen.unique().tolist():
            rows, places = (chosen == expert).nonzero(as_tuple=True)
            added = self.experts[expert](positions[rows]) * weights[rows, places, None].to(x.dtype)
            out = out.index_add(0, rows, added)
        return out.view_as(x) + self.shared(x)


class SharedExpert(nn.Module):
    """An expert that all positions use, times the sigmoid of a score (Qwen2-MoE)."""

    def __init__(self, config: ModelConfig, expert: nn.Module) -> None:
        super().__init__()
        self.router = Router(config.embed_dim, 1, bias=False)
        self.expert = expert

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        return self.router(x).sigmoid() * self.expert(x)


class ClampedGate(nn.Module):
    """SwiGLU whose two halves are clamped, and whose value is 1 + u (gpt-oss): (1 + u) · g · σ(1.702 g)."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: Tensor) -> Tensor:
        """[…, 2m] → […, m]."""
        gate, value = x.chunk(2, dim=-1)
        gate, value = gate.clamp(max=self.limit), value.clamp(-self.limit, self.limit)
        return (1 + value) * gate * torch.sigmoid(1.702 * gate)
