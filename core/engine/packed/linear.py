"""Modules whose weights are GGUF's blocks or plain numbers, as a file has them: linear maps and the embedding.

A single token reads every weight once, so memory bandwidth decides its time: fewer bytes, more tokens a second.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.packed import compiled
from core.engine.packed.compiled import ROWS_AT_ONCE, Matrix, Product
from core.engine.quantized import Quantized


class Bias(nn.Module):
    """Adds a bias."""

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.bias = nn.Parameter(bias, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias


class Packed(Quantized):
    """One or more matrices below each other; their bytes are buffers."""

    def __init__(self, parts: Sequence[Matrix]) -> None:
        super().__init__()
        self.parts = tuple(parts)
        for n, part in enumerate(parts):
            self.register_buffer(f"weights{n}", part.weights)
        self.shape = (sum(part.shape[0] for part in parts), parts[0].shape[1])

    def dequantize(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last`, float32."""
        wanted, start, found = range(self.shape[0])[first:last], 0, []
        for part in self.parts:
            rows = range(max(wanted.start - start, 0), min(wanted.stop - start, part.shape[0]))
            if rows:
                found.append(part.dequantize(rows.start, rows.stop))
            start += part.shape[0]
        return torch.cat(found) if found else torch.empty(0, self.shape[1])


class PackedLinear(Packed):
    """x Wᵀ + b with W [out, in] in blocks: by compiled code, or by torch where nothing can be compiled."""

    def __init__(self, parts: Sequence[Matrix], bias: Tensor | None = None) -> None:
        super().__init__(parts)
        self.add_bias = nn.Identity() if bias is None else Bias(bias)

    def forward(self, x: Tensor) -> Tensor:
        """[…, in] → […, out], float32; it can be differentiated with respect to x."""
        product: Any = _Differentiable.apply if x.requires_grad and torch.is_grad_enabled() else PackedLinear.product
        return self.add_bias(product(self, x))

    def product(self, x: Tensor) -> Tensor:
        """x Wᵀ, […, in] → […, out], float32."""
        if not compiled.available():
            return F.linear(x.bfloat16(), self._whole).float()
        return self._product(x)

    def transposed_product(self, y: Tensor) -> Tensor:
        """y W, […, out] → […, in], float32; a few rows of W are dequantized at a time, those that y is not zero for."""
        result = y.new_zeros(*y.shape[:-1], self.shape[1])
        for n in range(0, self.shape[0], ROWS_AT_ONCE):
            part = y[..., n : n + ROWS_AT_ONCE]
            if part.any():
                result += part @ self.dequantize(n, n + ROWS_AT_ONCE)
        return result

    @property
    def bias(self) -> Tensor | None:
        """[out], float32."""
        return self.add_bias.bias.float() if isinstance(self.add_bias, Bias) else None

    @cached_property
    def _product(self) -> Product:
        return Product(self.parts)

    @cached_property
    def _whole(self) -> Tensor:
        """A second copy of the weights, in bfloat16, where nothing can be compiled."""
        return torch.cat(
            [self.dequantize(n, n + ROWS_AT_ONCE).bfloat16() for n in range(0, self.shape[0], ROWS_AT_ONCE)]
        )


class _Differentiable(torch.autograd.Function):
    """A product with packed weights. Its gradient takes no notice of the rounding of activations."""

    @staticmethod
    def forward(ctx: Any, linear: PackedLinear, x: Tensor) -> Tensor:
        """As `PackedLinear.product`."""
        ctx.linear = linear
        return linear.product(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, Tensor]:
        """[…, out] → […, in]."""
        return None, ctx.linear.transposed_product(gradient)


class PackedEmbedding(Packed):
    """Rows of W [V, d]. A tied unembedding has the same matrix."""

    embeds = True

    def forward(self, ids: Tensor) -> Tensor:
        """[B, T] → [B, T, d], float32."""
        (matrix,) = self.parts
        return matrix.rows(ids.flatten()).unflatten(0, ids.shape)


@torch.inference_mode()
def matrix(module: nn.Module, first: int = 0, last: int | None = None) -> Tensor:
    """Rows `first` to `last` of the matrix of any linear map or embedding, float32 on the CPU."""
    if isinstance(module, Quantized):
        return module.dequantize(first, last)
    return module.get_parameter("weight").detach()[first:last].to("cpu", torch.float32)
