"""Owns what a model has read: ids, KV cache and final states; the only place that knows the sliding window.

A final state is all that is needed to have a position's logits again, so travelling costs one unembedding.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.engine.cache import KVCache
from core.engine.model import Transformer

CHUNK = 256
"""Tokens that go through the model at once."""


class Prefix:
    """B sequences of one length, read by one model as far as somebody asked.

    Positions below T are read in order through the cache. A later position sees only its own window, as
    `tokens[:, -T:]` of the article does: it is read by itself, without the positions before it.
    """

    def __init__(self, model: Transformer, batch: int = 1) -> None:
        self.model = model
        self.batch = batch
        self.length = 0
        self._ids: list[list[int]] = [[] for _ in range(batch)]
        self._states: list[Tensor | None] = []
        """Of each position [B, d], None where it was not read."""
        self._latest: tuple[int, Tensor] | None = None
        """The position that was read by itself last, and its logits [B, 1, V]."""
        self._device = model.device
        self._cache = KVCache(model.config, batch, model.device, model.dtype)

    def append(self, ids: Sequence[Sequence[int]]) -> None:
        """Put ids [B, n] at the end without reading them."""
        for row, more in zip(self._ids, ids, strict=True):
            row.extend(more)
        self._states.extend([None] * len(ids[0]))
        self.length += len(ids[0])

    def rewind(self, length: int) -> None:
        """Forget everything from `length` on."""
        self.length = min(self.length, length)
        for row in self._ids:
            del row[self.length :]
        del self._states[self.length :]
        if self._latest and self._latest[0] >= self.length:
            self._latest = None
        self._cache.rewind(self.length)

    def repeat(self, batch: int) -> "Prefix":
        """A copy of a one-row prefix for `batch` rows that go on separately (S10)."""
        copy = Prefix(self.model, batch)
        copy.append(batch * self._ids)
        copy._states = [None if state is None else state.expand(batch, -1) for state in self._states]
        copy._cache = self._cache.repeat(batch)
        return copy

    @torch.inference_mode()
    def past(self, length: int) -> KVCache:
        """An independent copy of the first `length` positions in the cache, or of as many as were read."""
        return self._cache.first(length)

    def knows(self, position: int) -> bool:
        """Whether the position was read."""
        return self._states[position] is not None

    def read(self, positions: Sequence[int]) -> Iterator[int]:
        """Read what `positions` need, pausing between chunks with the number of tokens done."""
        context = self.model.config.context
        inside = max((p for p in positions if p < context), default=-1) + 1
        while self._cache.length < inside:
            start = self._cache.length
            end = min(start + CHUNK, inside)
            self._read_chunk(start, end)
            yield end
        beyond = [p for p in positions if p >= context and not self.knows(p)]
        reach = self.model.config.reach
        step = max(1, CHUNK // (reach * self.batch))
        for first in range(0, len(beyond), step):
            self._read_windows(beyond[first : first + step], reach)
            yield inside + min(first + step, len(beyond))

    @torch.inference_mode()
    def _read_chunk(self, start: int, end: int) -> None:
        """Read some positions after those in the cache; who reads one by itself wants its logits."""
        ids = self._tensor([row[start:end] for row in self._ids])
        if end - start == 1:
            states, logits = self.model.step(ids, self._cache)
            self._latest = start, logits
        else:
            states = self.model.hidden(ids, self._cache)
        self._states[start:end] = states.unbind(1)

    @torch.inference_mode()
    def _read_windows(self, positions: Sequence[int], reach: int) -> None:
        """Read each position as the last of a full window, of which the model needs the last `reach` tokens."""
        windows = self._tensor([row[p + 1 - reach : p + 1] for row in self._ids for p in positions])  # [B·n, reach]
        past = KVCache(self.model.config, len(windows), self._device, self.model.dtype)
        past.length = self.model.config.context - reach
        states = self.model.hidden(windows, past)[:, -1].contiguous()
        for position, state in zip(positions, states.unflatten(0, (self.batch, -1)).unbind(1), strict=True):
            self._states[position] = state

    def _tensor(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(ids, device=self._device)

    def logits(self, positions: Sequence[int]) -> Tensor:
        """Logits of the token after each position, [B, n, V]; reads what is not known yet."""
        for _ in self.read(positions):
            pass
        if self._latest and [self._latest[0]] == [*positions]:
            return self._latest[1]
        return self._unembedded(positions)

    @torch.inference_mode()
    def _unembedded(self, positions: Sequence[int]) -> Tensor:
        states = [state for position in positions if (state := self._states[position]) is not None]
        return self.model.unembed(torch.stack(states, 1))
