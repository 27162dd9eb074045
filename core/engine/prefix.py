"""The ids of B sequences, the KV cache of what a model has read of them, and the final hidden state of each position.

A position's logits are one unembedding of its final hidden state [d]. So states are kept and logits are not, and going
back to an earlier position does not run the model again.
"""

from collections.abc import Iterator, Sequence
from typing import Self

import torch
from torch import Tensor

from core.engine.cache import KVCache
from core.engine.model import Transformer

CHUNK = 256
"""Tokens that go through the model in one forward pass, at most."""


class Prefix:
    """B sequences of one length. Ids are appended at no cost; the model reads them when states or logits are asked for.

    Positions below the context T are read in order through the KV cache. A later position sees only the last T tokens
    up to it, as `tokens[:, -T:]` does in the article. Each such window is computed alone, without the cache.

    Where the rotary frequencies depend on the length, each position is read with those of its own prefix, and the cache
    is read anew when they change: once for LongRoPE, for each token with dynamic NTK.
    """

    def __init__(self, model: Transformer, batch: int = 1) -> None:
        self.model = model
        self.batch = batch
        self.length = 0
        """Number of positions."""
        self._ids: list[list[int]] = [[] for _ in range(batch)]
        self._states: list[Tensor | None] = []
        """Final hidden state of each position, [B, d]; None where the model did not read it yet."""
        self._latest: tuple[int, Tensor] | None = None
        """The position that was read last by a single-token step, and its logits [B, 1, V]."""
        self._device = model.device
        self._cache = model.cache(batch)

    def append(self, ids: Sequence[Sequence[int]]) -> None:
        """Append ids [B, n]. The model does not run."""
        for row, more in zip(self._ids, ids, strict=True):
            row.extend(more)
        self._states.extend([None] * len(ids[0]))
        self.length += len(ids[0])

    def rewind(self, length: int) -> None:
        """Drop everything from position `length` on. A length past the end changes nothing."""
        self.length = min(self.length, length)
        for row in self._ids:
            del row[self.length :]
        del self._states[self.length :]
        if self._latest and self._latest[0] >= self.length:
            self._latest = None
        self._cache.rewind(self.length)

    def repeat(self, batch: int) -> Self:
        """A copy of a prefix of one sequence for `batch` sequences that then continue independently."""
        copy = type(self)(self.model, batch)
        copy.append(batch * self._ids)
        copy._states = [None if state is None else state.expand(batch, -1) for state in self._states]
        copy._cache = self._cache.repeat(batch)
        return copy

    @torch.inference_mode()
    def rearrange(self, rows: Sequence[int], start: int) -> None:
        """Let sequence i go on as sequence `rows[i]` did from position `start`; before it all must be alike."""
        index = torch.tensor(rows, device=self._device)
        self._ids = [[*self._ids[row]] for row in rows]
        later = self._states[start:]
        self._states[start:] = [None if state is None else state[index.to(state.device)] for state in later]
        self._latest = None
        self._cache.rearrange(index, start)

    @torch.inference_mode()
    def past(self, length: int) -> KVCache:
        """An independent copy of the first `length` positions of the KV cache, or of as many as it holds."""
        return self._cache.first(length)

    def knows(self, position: int) -> bool:
        """Whether the model has read the position, so that its hidden state is known."""
        return self._states[position] is not None

    def read(self, positions: Sequence[int]) -> Iterator[int]:
        """Run the model until the states of `positions` are known. Yields the tokens done after each forward pass."""
        context = self.model.config.context
        inside = [p for p in positions if p < context]
        for length in self._lengths([p for p in inside if not self.knows(p)]):
            self._cache.prepare(length)
            while self._cache.length < length:
                start = self._cache.length
                end = min(start + CHUNK, length)
                self._read_chunk(start, end)
                yield end
        beyond = [p for p in positions if p >= context and not self.knows(p)]
        reach = self.model.config.reach
        step = max(1, CHUNK // (reach * self.batch))
        for first in range(0, len(beyond), step):
            self._read_windows(beyond[first : first + step], reach)
            yield max(inside, default=-1) + 1 + min(first + step, len(beyond))

    def _lengths(self, positions: Sequence[int]) -> list[int]:
        """The lengths to read up to, ascending: one for the positions whose prefixes have equal rotary frequencies."""
        lengths: dict[int, int] = {}
        for position in sorted(positions):
            lengths[self.model.config.rope_span(position + 1)] = position + 1
        return list(lengths.values())

    @torch.inference_mode()
    def _read_chunk(self, start: int, end: int) -> None:
        """Read positions `start` to `end` after those in the cache. A single one also keeps its logits."""
        ids = self._tensor([row[start:end] for row in self._ids])  # [B, end - start]
        try:
            if end - start == 1:
                states, logits = self.model.step(ids, self._cache)
                self._latest = start, logits
            else:
                states = self.model.hidden(ids, self._cache)
        except BaseException:  # such as a lack of memory behind the last block
            self._cache.rewind(start)
            raise
        span = self.model.config.rope_span  # shorter prefixes may have other frequencies than the cache
        first = next((p for p in range(start, end) if span(p + 1) == self._cache.span), end)
        self._states[first:end] = states[:, first - start :].unbind(1)

    @torch.inference_mode()
    def _read_windows(self, positions: Sequence[int], reach: int) -> None:
        """Read each of n positions as the last of its own window, of which the model needs the last `reach` tokens."""
        windows = self._tensor([row[p + 1 - reach : p + 1] for row in self._ids for p in positions])  # [B·n, reach]
        cache = self.model.cache(len(windows))
        cache.length = self.model.config.context - reach  # so that the last token is at position T - 1
        states = self.model.hidden(windows, cache)[:, -1].contiguous()  # [B·n, d]
        for position, state in zip(positions, states.unflatten(0, (self.batch, -1)).unbind(1), strict=True):  # [B, d]
            self._states[position] = state

    def _tensor(self, ids: Sequence[Sequence[int]]) -> Tensor:
        return torch.tensor(ids, device=self._device)

    def logits(self, positions: Sequence[int]) -> Tensor:
        """Logits of the token after each of n positions, [B, n, V]. Reads what is not known yet."""
        for _ in self.read(positions):
            pass
        if self._latest and [self._latest[0]] == [*positions]:
            return self._latest[1]
        return self._unembed(positions)

    @torch.inference_mode()
    def _unembed(self, positions: Sequence[int]) -> Tensor:
        """Logits [B, n, V] of positions whose states are known."""
        states = [state for position in positions if (state := self._states[position]) is not None]
        return self.model.logits(torch.stack(states, 1))
