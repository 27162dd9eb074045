"""The KV cache: keys and values of the positions that a model has read, and how many these are."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from core.engine.config import ModelConfig


def with_capacity(buffer: Tensor, length: int, dim: int) -> Tensor:
    """`buffer` itself where it holds `length` along `dim`; else a copy that does, at least twice as large.

    The numbers past the old capacity are not initialized.
    """
    capacity = buffer.shape[dim]
    if length <= capacity:
        return buffer
    shape = list(buffer.shape)
    shape[dim] = max(length, 2 * capacity)
    larger = buffer.new_empty(shape)
    larger.narrow(dim, 0, capacity).copy_(buffer)
    return larger


class LayerCache:
    """Keys and values of one block, each [B, kv heads, capacity, head size]."""

    def __init__(self, batch: int, heads: int, head_dim: int, device: torch.device, dtype: torch.dtype) -> None:
        self.keys = torch.empty(batch, heads, 0, head_dim, device=device, dtype=dtype)
        self.values = torch.empty_like(self.keys)
        self.span = 0
        """As in `KVCache`."""

    def reserve(self, length: int) -> None:
        """Make the capacity at least `length` positions."""
        self.keys, self.values = with_capacity(self.keys, length, 2), with_capacity(self.values, length, 2)

    def extend(self, start: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Write `keys` and `values` [B, kv heads, t, head size] at position `start`.

        Returns views of all keys and values from position 0 to the end of the new ones,
        each [B, kv heads, start + t, head size].
        """
        end = start + keys.shape[2]
        self.reserve(end)
        self.keys[:, :, start:end] = keys
        self.values[:, :, start:end] = values
        return self.keys[:, :, :end], self.values[:, :, :end]


class KVCache:
    """The keys and values of all blocks, for B sequences of one length. The next token has position `length`."""

    def __init__(
        self, config: ModelConfig, batch: int, device: torch.device | Sequence[torch.device], dtype: torch.dtype
    ) -> None:
        """`device` is that of all blocks, or has that of each."""
        devices = config.blocks * [device] if isinstance(device, torch.device) else device
        self.layers = [LayerCache(batch, config.kv_heads, config.head_dim, device, dtype) for device in devices]
        self.length = 0
        """Number of positions that are filled."""
        self.span = 0
        """The length of the sequence that the keys are rotated for; 0 where all lengths are rotated alike."""
        self._config = config

    def prepare(self, length: int) -> None:
        """Get ready for a sequence of `length` tokens: drop all keys that were rotated for another length.

        Only LongRoPE and dynamic NTK rotate differently for different lengths.
        """
        span = self._config.rope_span(length)
        if span != self.span:
            self.length, self.span = 0, span
            for layer in self.layers:
                layer.span = span

    def rewind(self, length: int) -> None:
        """Drop everything from position `length` on. A length past the end changes nothing."""
        self.length = min(self.length, length)

    def first(self, length: int) -> "KVCache":
        """An independent copy of the first `length` positions, or of all where there are fewer."""
        length = min(length, self.length)
        # One position more, where there is one, so that the copy's first new token allocates nothing.
        return self._mapped(lambda buffer: buffer[:, :, : length + 1].clone(), length)

    def repeat(self, batch: int) -> "KVCache":
        """A copy of a cache of one sequence for `batch` sequences that then continue independently."""
        return self._mapped(lambda buffer: buffer.repeat(batch, 1, 1, 1), self.length)

    def rearrange(self, rows: Tensor, start: int) -> None:
        """Let sequence i go on as sequence `rows[i]` [B] did from position `start`; before it all must be alike."""
        for layer in self.layers:
            for buffer in (layer.keys, layer.values):
                buffer[:, :, start : self.length] = buffer[rows.to(buffer.device), :, start : self.length]

    def _mapped(self, copy_of: Callable[[Tensor], Tensor], length: int) -> "KVCache":
        """A cache of `length` positions whose buffers are `copy_of` these."""
        copy = object.__new__(KVCache)
        copy.layers, copy.length, copy.span, copy._config = [], length, self.span, self._config
        for layer in self.layers:
            layer_copy = object.__new__(LayerCache)
            layer_copy.keys, layer_copy.values = copy_of(layer.keys), copy_of(layer.values)
            layer_copy.span = layer.span
            copy.layers.append(layer_copy)
        return copy
