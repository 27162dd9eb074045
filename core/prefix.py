"""Owns what a model has read: ids, KV cache and final states; the only place that knows the sliding window.

A final state is all that is needed to have a position's logits again, so travelling costs one unembedding.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from core.cache import KVCache, grown
from core.model import Transformer

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
        self._ids = torch.empty(batch, 0, dtype=torch.long, device=model.device)
        self._states = torch.empty(batch, 0, model.config.embed_dim, device=model.device, dtype=model.dtype)
        self._known = bytearray()
        self._cache = KVCache(model.config, batch, model.device, model.dtype)

    def append(self, ids: Sequence[Sequence[int]]) -> None:
        """Put ids [B, n] at the end without reading them."""
        count = len(ids[0])
        end = self.length + count
        self._ids, self._states = grown(self._ids, end, 1), grown(self._states, end, 1)
        self._ids[:, self.length : end] = torch.tensor(ids, device=self._ids.device)
        self._known.extend(bytes(count))
        self.length = end

    def rewind(self, length: int) -> None:
        """Forget everything from `length` on."""
        self.length = min(self.length, length)
        del self._known[self.length :]
        self._cache.rewind(self.length)

    def repeat(self, batch: int) -> "Prefix":
        """A copy of a one-row prefix for `batch` rows that go on separately (S10)."""
        copy = object.__new__(Prefix)
        copy.model, copy.batch, copy.length = self.model, batch, self.length
        copy._ids, copy._states = self._ids.repeat(batch, 1), self._states.repeat(batch, 1, 1)
        copy._known, copy._cache = bytearray(self._known), self._cache.repeat(batch)
        return copy

    @torch.inference_mode()
    def past(self, length: int) -> KVCache:
        """An independent copy of the first `length` positions in the cache, or of as many as were read."""
        return self._cache.first(length)

    def knows(self, position: int) -> bool:
        """Whether the position was read."""
        return bool(self._known[position])

    @torch.inference_mode()
    def read(self, positions: Sequence[int]) -> Iterator[int]:
        """Read what `positions` need, pausing between chunks with the number of tokens done."""
        context = self.model.config.context
        inside = max((p for p in positions if p < context), default=-1) + 1
        while self._cache.length < inside:
            start = self._cache.length
            end = min(start + CHUNK, inside)
            self._store(range(start, end), self.model.hidden(self._ids[:, start:end], self._cache))
            yield end
        beyond = [p for p in positions if p >= context and not self._known[p]]
        reach = self.model.config.reach
        step = max(1, CHUNK // (reach * self.batch))
        for first in range(0, len(beyond), step):
            self._read_windows(beyond[first : first + step], reach)
            yield inside + min(first + step, len(beyond))

    def _read_windows(self, positions: Sequence[int], reach: int) -> None:
        """Read each position as the last of a full window, of which the model needs the last `reach` tokens."""
        ends = torch.tensor(positions, device=self._ids.device)
        offsets = torch.arange(1 - reach, 1, device=self._ids.device)
        windows = self._ids[:, ends[:, None] + offsets].flatten(0, 1)  # [B·n, reach]
        past = KVCache(self.model.config, len(windows), self.model.device, self.model.dtype)
        past.length = self.model.config.context - reach
        states = self.model.hidden(windows, past)[:, -1]
        self._store(positions, states.unflatten(0, (self.batch, -1)))

    def _store(self, positions: Sequence[int], states: Tensor) -> None:
        self._states[:, self._places(positions)] = states
        for position in positions:
            self._known[position] = True

    @torch.inference_mode()
    def logits(self, positions: Sequence[int]) -> Tensor:
        """Logits of the token after each position, [B, n, V]; reads what is not known yet."""
        for _ in self.read(positions):
            pass
        return self.model.unembed(self._states[:, self._places(positions)])

    def _places(self, positions: Sequence[int]) -> Tensor | slice:
        """As an index; that of one position copies nothing."""
        if len(positions) == 1:
            return slice(positions[0], positions[0] + 1)
        return torch.tensor(positions, device=self._states.device)
