"""Rotary positions as modules: they rotate queries and keys by their positions.

The frequencies of two scalings, dynamic NTK and LongRoPE, depend on the length of the sequence, so a new token changes
the rotation of those before it. The reference (transformers) computes other logits with its KV cache, whose keys keep
the rotation of the length at which they were read, than without. Here the logits after n tokens are those of a whole
pass over n tokens, as without a cache: they depend on the ids alone, not on how the ids were divided into passes.
`KVCache.prepare` says for which length the keys are rotated, and drops those of another. A cache that was not prepared
rotates for the last position of each pass, as the reference does.
"""

import torch
from torch import Tensor, nn

from core.engine.cache import LayerCache
from core.engine.rope import Rope


def rotation(rope: Rope | None, head_dim: int) -> nn.Module:
    """The module that rotates heads of c = `head_dim` components; None rotates nothing."""
    if rope is None:
        return NoRotation()
    size = rope.size or head_dim
    turn = LengthRotary(rope, size) if rope.trained else Rotary(rope, size)
    return turn if size == head_dim else PartialRotary(turn, size, head_dim)


class Rotary(nn.Module):
    """Rotates pair i of a head, components i and i + c/2, by position · θ^(-2i/c) radians (Su et al. 2021, eq. 34).

    Blocks of equal rotation share one module, so its table of cosines and sines exists once. It grows on demand.
    """

    def __init__(self, rope: Rope, size: int) -> None:
        super().__init__()
        self.rope, self.size = rope, size
        self.table = torch.empty(2, 0, size)

    def forward(self, x: Tensor, start: int, cache: LayerCache | None = None) -> Tensor:
        """[B, h, T, c] → [B, h, T, c]; the first of the T tokens is at position `start`."""
        end = start + x.shape[2]
        table = self.table
        if table.shape[1] < end or table.device != x.device or table.dtype != x.dtype:
            table = self.table = self.cosines_and_sines(max(end, 2 * table.shape[1]), x)
        cos, sin = table[:, start:end]  # each [T, c]
        return torch.addcmul(x * cos, x.roll(self.size // 2, -1), sin)

    @torch.inference_mode(mode=False)  # tensors made in inference mode could not take part in training later
    def cosines_and_sines(self, length: int, like: Tensor, span: int = 0) -> Tensor:
        """The table [2, length, c] in the dtype of `like`, computed in float32 or better, for a sequence of `span` ids.

        Sines of the first half are negated, so that a rotation is one multiplication and one addition.
        """
        exact = torch.promote_types(like.dtype, torch.float32)
        base, divisors = self.rope.at(span, self.size)
        pairs = torch.arange(0, self.size, 2, device=like.device, dtype=exact)
        powers = base ** (pairs / self.size)  # [c/2]
        if divisors:
            powers = torch.tensor(divisors, device=like.device, dtype=exact) * powers
        frequencies = 1.0 / powers  # radians per position, rounded as in transformers
        angles = torch.arange(length, device=like.device, dtype=exact)[:, None] * frequencies  # [length, c/2]
        cos, sin = angles.cos() * self.rope.scale, angles.sin() * self.rope.scale
        return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))).to(like.dtype)


class LengthRotary(Rotary):
    """Rotates by frequencies that depend on the length of the sequence: dynamic NTK, LongRoPE."""

    def __init__(self, rope: Rope, size: int) -> None:
        super().__init__(rope, size)
        self.span = 0
        """The length that the table is for."""

    def forward(self, x: Tensor, start: int, cache: LayerCache | None = None) -> Tensor:
        """As `Rotary.forward`, for the length that the cache was prepared for, else up to the last of these tokens."""
        end = start + x.shape[2]
        span = self.rope.span((cache and cache.span) or end)
        if span != self.span:
            self.span, self.table = span, torch.empty(2, 0, self.size)
        return super().forward(x, start)

    def cosines_and_sines(self, length: int, like: Tensor, span: int = 0) -> Tensor:
        """As in `Rotary`, for the present length."""
        return super().cosines_and_sines(length, like, span or self.span)


class PartialRotary(nn.Module):
    """Rotates the first r components of a head and leaves the others."""

    def __init__(self, turn: Rotary, size: int, head_dim: int) -> None:
        super().__init__()
        self.turn, self.sizes = turn, (size, head_dim - size)

    def forward(self, x: Tensor, start: int, cache: LayerCache | None = None) -> Tensor:
        """[B, h, T, c] → [B, h, T, c]; the first of the T tokens is at position `start`."""
        rotated, rest = x.split(self.sizes, -1)
        return torch.cat((self.turn(rotated, start, cache), rest), -1)


class NoRotation(nn.Module):
    """Returns its input: takes the place of a rotation in blocks without rotary positions."""

    def forward(self, x: Tensor, start: int, cache: LayerCache | None = None) -> Tensor:
        return x
