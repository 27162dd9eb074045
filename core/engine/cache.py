"""Owns what attention remembers: keys, values and the position they have reached."""

import torch
from torch import Tensor

from core.engine.config import ModelConfig


def grown(buffer: Tensor, length: int, dim: int) -> Tensor:
    """`buffer`, or a copy with room for `length` along `dim` (at least doubled), its tail uninitialised."""
    room = buffer.shape[dim]
    if length <= room:
        return buffer
    shape = list(buffer.shape)
    shape[dim] = max(length, 2 * room)
    larger = buffer.new_empty(shape)
    larger.narrow(dim, 0, room).copy_(buffer)
    return larger


class LayerCache:
    """Keys and values of one block, each [B, kv heads, room, head width]."""

    def __init__(self, batch: int, heads: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> None:
        self.keys = torch.empty(batch, heads, 0, head_dim, device=device, dtype=dtype)
        self.values = torch.empty_like(self.keys)

    def reserve(self, length: int) -> None:
        """Have room for `length` positions."""
        self.keys, self.values = grown(self.keys, length, 2), grown(self.values, length, 2)

    def extend(self, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Put [B, kv heads, t, head width] at `start`; return all keys and values up to their end."""
        end = start + keys.shape[2]
        self.reserve(end)
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """The past of a batch of sequences of one length; the only owner of position."""

    def __init__(self, config: ModelConfig, batch: int, device: torch.device, dtype: torch.dtype) -> None:
        self.layers = [LayerCache(batch, config.kv_heads, config.head_dim, device, dtype) for _ in range(config.blocks)]
        self.length = 0
        """Positions that are filled."""

    def rewind(self, length: int) -> None:
        """Forget everything from position `length` on; a length beyond the end changes nothing."""
        self.length = min(self.length, length)

    def first(self, length: int) -> "KVCache":
        """An independent copy of the first `length` positions, or of all where there are fewer."""
        copy = object.__new__(KVCache)
        copy.layers, copy.length = [], min(length, self.length)
        for layer in self.layers:
            twin = object.__new__(LayerCache)
            twin.keys = layer.keys[:, :, : copy.length + 1].clone()  # with room for one more, where there is some
            twin.values = layer.values[:, :, : copy.length + 1].clone()
            copy.layers.append(twin)
        return copy

    def repeat(self, batch: int) -> "KVCache":
        """A copy of a one-row past for `batch` rows that go on separately."""
        copy = object.__new__(KVCache)
        copy.layers, copy.length = [], self.length
        for layer in self.layers:
            twin = object.__new__(LayerCache)
            twin.keys = layer.keys.repeat(batch, 1, 1, 1)
            twin.values = layer.values.repeat(batch, 1, 1, 1)
            copy.layers.append(twin)
        return copy
