"""An adapter beside the weights of a model: what a fine-tuning adds to the outputs of its modules.

LoRA (Hu et al. 2021, §4.1) adds s·B·A·x to W·x. A fine-tuning may also have changed a bias or replaced a whole module;
then the difference is what is added. All of it is multiplied by one scale k: 1 is the fine-tuned model, and at 0
nothing is added, so the model computes bit for bit what it did before.

Deltas are forward hooks, so they work beside weights of any format. They are computed in float32.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.errors import UserError
from core.language import _


class LowRank(nn.Module):
    """s·(B·A·x + b): `down` A is [r, in], `up` B is [out, r], and `bias` b, where there is one, is [out]."""

    def __init__(self, down: Tensor, up: Tensor, factor: float, bias: Tensor | None = None) -> None:
        super().__init__()
        self.down, self.up, self.factor, self.bias = down, up, factor, bias

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """[…, in], [..., out] → […, out]."""
        return self.factor * F.linear(F.linear(x.float(), self.down), self.up, self.bias)


class EmbeddingLowRank(nn.Module):
    """s·B·A of an embedding: `down` A is [r, V], of which an id takes one column, and `up` B is [d, r]."""

    def __init__(self, down: Tensor, up: Tensor, factor: float) -> None:
        super().__init__()
        self.rows, self.up, self.factor = down.t().contiguous(), up, factor

    def forward(self, ids: Tensor, output: Tensor) -> Tensor:
        """[B, T], [B, T, d] → [B, T, d]."""
        return self.factor * F.linear(F.embedding(ids, self.rows), self.up)


class WeightDecomposed(nn.Module):
    """What DoRA adds: m·V / ‖V‖ takes the place of W, where V = W + s·B·A (Liu et al. 2024, eq. 5).

    `magnitude` m and `norms` ‖V‖, the norm of each row, are [out]; `bias` is the module's own.
    """

    def __init__(self, low_rank: LowRank, magnitude: Tensor, norms: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.low_rank, self.ratio, self.bias = low_rank, magnitude / norms, bias

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """[…, in], […, out] → […, out]."""
        product = output.float() if self.bias is None else output.float() - self.bias
        return (self.ratio - 1) * product + self.ratio * self.low_rank(x, output)


class Shift(nn.Module):
    """Adds a constant [out]: the difference between two biases."""

    def __init__(self, by: Tensor) -> None:
        super().__init__()
        self.by = by

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """[…, in], […, out] → […, out]."""
        return self.by.expand(output.shape)


class Replacement(nn.Module):
    """The difference between another module's output and that of the module that it replaces."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, x: Tensor, output: Tensor) -> Tensor:
        """[…, in], […, out] → […, out]."""
        return self.module(x.float() if x.is_floating_point() else x) - output.float()


Deltas = Mapping[str, Sequence[tuple[slice, nn.Module]]]
"""By the name of a module of the model: what is added to which of its outputs."""


class Adapter:
    """The deltas of one adapter on one model. Deltas of the same module are computed from its own output and added."""

    def __init__(self, transformer: Transformer, deltas: Deltas, scale: float = 1.0) -> None:
        self._modules = {name: transformer.get_submodule(name) for name in deltas}
        self._deltas = deltas
        self._hooks = ForwardHooks()
        self._scale = 0.0
        self.scale = scale

    @property
    def scale(self) -> float:
        """k, by which all deltas are multiplied. Raises `UserError` where it is set to a number that is not finite."""
        return self._scale

    @scale.setter
    def scale(self, scale: float) -> None:
        if not math.isfinite(scale):
            raise UserError(_("the scale of an adapter must be finite, not {scale:g}"), scale=scale)
        self._scale = scale
        self._install()

    def size(self) -> tuple[int, int]:
        """How many modules it changes, and how many numbers it has for that."""
        modules = [delta for deltas in self._deltas.values() for _rows, delta in deltas]
        tensors = [tensor for each in modules for module in each.modules() for tensor in vars(module).values()]
        return len(self._deltas), sum(tensor.numel() for tensor in tensors if isinstance(tensor, Tensor))

    def _install(self) -> None:
        """Register a hook on each module, or none at scale 0."""
        self._hooks.remove()
        if self._scale:
            for name, module in self._modules.items():
                self._hooks.after(module, partial(self._add, self._deltas[name]), first=True)

    def changes(self, name: str) -> bool:
        """Whether something is added to the output of a module."""
        return bool(self._scale) and name in self._deltas

    def added(self, name: str, x: Tensor, output: Tensor) -> Tensor | None:
        """What is added to the output […, out] of a module for an input […, in]; None where that is nothing."""
        deltas = self._deltas.get(name) if self._scale else None
        return None if deltas is None else self._scale * self._sum(deltas, x, output)

    def _sum(self, deltas: Sequence[tuple[slice, nn.Module]], x: Tensor, output: Tensor) -> Tensor:
        whole = torch.zeros_like(output, dtype=torch.float32)
        for rows, delta in deltas:
            whole[..., rows] += delta(x, output[..., rows])
        return whole

    def _add(
        self, deltas: Sequence[tuple[slice, nn.Module]], module: nn.Module, inputs: tuple[Any, ...], output: Tensor
    ) -> Tensor:
        return torch.add(output, self._sum(deltas, inputs[0], output), alpha=self._scale).to(output.dtype)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The model without the adapter, within the block."""
        self._hooks.remove()
        try:
            yield
        finally:
            self._install()
