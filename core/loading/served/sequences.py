"""Sequences of ids that an engine elsewhere reads: each position is a request, or an answer that is kept."""

import math
from collections.abc import Iterator, Sequence
from hashlib import blake2b

from core.engine.cache import KVCache
from core.loading.served.requests import Ids, Key, Requests
from core.remote.values import Scored
from core.sampling.bounds import Bounds, exact
from core.sampling.next_distribution import NextDistribution
from core.sampling.values import Score

START = b""
"""The key of no ids."""
GROWTH = 20
"""Times as many tokens as before are asked for at least, where these do not decide."""
GROUP = 32
"""Positions that are scored between two pauses at most."""


def _key(before: Key, id: int) -> Key:
    """The key of the ids that `before` stands for, followed by `id`."""
    return blake2b(id.to_bytes(8, "little"), key=before, digest_size=16).digest()


class ServedSequences:
    """B sequences of one length. The engine's own cache makes the next request for a longer sequence cheap."""

    def __init__(self, requests: Requests, context: int, batch: int = 1, count: int | None = None) -> None:
        self.batch = batch
        self.reach = context
        """A window of so many ids is sent for a position beyond the context."""
        self._requests, self._count = requests, count
        self._ids: list[list[int]] = [[] for _ in range(batch)]
        self._keys: list[list[Key]] = [[] for _ in range(batch)]
        """After each position, the key of the ids up to it."""

    @property
    def length(self) -> int:
        """Number of positions."""
        return len(self._ids[0])

    # Ids -------------------------------------------------------------------------------------------------------------

    def append(self, ids: Sequence[Sequence[int]]) -> None:
        """Append ids [B, n]."""
        for row, keys, more in zip(self._ids, self._keys, ids, strict=True):
            for id in more:
                keys.append(_key(keys[-1] if keys else START, id))
            row.extend(more)

    def rewind(self, length: int) -> None:
        """Drop everything from position `length` on. A length past the end changes nothing."""
        for row, keys in zip(self._ids, self._keys, strict=True):
            del row[length:], keys[length:]

    def repeat(self, batch: int) -> "ServedSequences":
        """A copy of one sequence as `batch` sequences that then continue independently."""
        copy = ServedSequences(self._requests, self.reach, batch, self._count)
        copy._ids, copy._keys = [self._ids[0][:] for _ in range(batch)], [self._keys[0][:] for _ in range(batch)]
        return copy

    def rearrange(self, rows: Sequence[int], start: int) -> None:
        """Let sequence i go on as sequence `rows[i]` did from position `start`; before it all must be alike."""
        self._ids, self._keys = [self._ids[row][:] for row in rows], [self._keys[row][:] for row in rows]

    # Distributions ---------------------------------------------------------------------------------------------------

    def knows(self, position: int) -> bool:
        """Whether the distributions after a position are here."""
        return all(self._requests.known(keys[position]) is not None for keys in self._keys)

    def begin(self, positions: Sequence[int]) -> None:
        """Ask for the distributions after `positions` without waiting for them."""
        self._requests.begin(self._wanted(positions))

    def read(self, positions: Sequence[int]) -> Iterator[int]:
        """Wait for the distributions after `positions`; yields how many are there, after each pause.

        Raises `UserError` where the engine cannot be asked.
        """
        yield from self._requests.ask(self._wanted(positions), self._count)

    def distributions(self, positions: Sequence[int]) -> list[list[NextDistribution]]:
        """The distribution after each of n positions of each sequence, [n][B]."""
        wanted = self._wanted(positions)
        found = dict(zip(wanted, self._requests.distributions(wanted, self._count), strict=True))
        return [[found[keys[position]] for keys in self._keys] for position in positions]

    def deeper(self, position: int, row: int, count: int) -> NextDistribution | None:
        """The distribution after a position of one sequence, with `count` tokens known or V; None if it has no more."""
        key, ids = self._keys[row][position], self._window(tuple(self._ids[row]), position)
        (before,) = self._requests.distributions({key: ids})
        (found,) = self._requests.distributions({key: ids}, max(count, GROWTH * before.known))
        return found if found.known > before.known else None

    def past(self, length: int) -> KVCache | None:
        """None: the cache is the engine's."""

    # Scores ----------------------------------------------------------------------------------------------------------

    def scores(self, positions: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """The scores of the ids at `positions` of the first sequence, in groups; an empty group is only a pause.

        One request where the engine scores prompts. Else by the distribution before each; where the token is not among
        those that are known, by as many as the engine tells.
        """
        first, beyond = self._keys[0], [position for position in positions if position > self.reach]
        inside = [position for position in positions if position <= self.reach]
        prompt = [position for position in inside if position < self.reach]  # the engine has room for one token more
        missing = [position for position in prompt if self._requests.known(first[position - 1]) is None]
        if self._requests.engine.capabilities.prompt_scores and len(missing) > 1:
            yield from self._scores_of_prompt(missing)
            done = set(missing)
            inside = [position for position in inside if position not in done]
        wanted = [*beyond, *inside]
        for start in range(0, len(wanted), GROUP):
            group = wanted[start : start + GROUP]
            for _ in self.read([position - 1 for position in group]):
                yield []
            yield [(position, self._score(position)) for position in group]

    def _scores_of_prompt(self, positions: Sequence[int]) -> Iterator[list[tuple[int, Score]]]:
        """By one request for the whole text."""
        start, end = min(positions), max(positions) + 1
        pending = self._requests.engine.score(self._ids[0][:end], start)
        try:
            while not pending.wait(0.02):
                yield []
        finally:
            pending.cancel()
        scored, size = pending.result(), self._requests.engine.capabilities.vocab_size or 1
        yield [(position, _as_score(scored[position - start], size)) for position in positions]

    def _score(self, position: int) -> Score:
        """The score of the id at a position of the first sequence."""
        id = self._ids[0][position]
        (distribution,) = self._requests.distributions(self._wanted([position - 1]))
        score = distribution.score(id)
        if not exact(score.logprob) and (more := self.deeper(position - 1, 0, distribution.vocab_size)):
            return more.score(id)
        return score

    # Requests --------------------------------------------------------------------------------------------------------

    def _wanted(self, positions: Sequence[int]) -> dict[Key, Ids]:
        rows = [(keys, tuple(ids)) for keys, ids in zip(self._keys, self._ids, strict=True)]
        return {keys[position]: self._window(ids, position) for position in positions for keys, ids in rows}

    def _window(self, ids: Sequence[int], position: int) -> Ids:
        """The ids up to a position, as far as the model sees them."""
        return lambda: ids[max(0, position + 1 - self.reach) : position + 1]


def _as_score(scored: Scored, vocab_size: int) -> Score:
    """The score of a prompt's token. Its distribution is not known, so its entropy lies anywhere from 0 to log2 V."""
    least_rank = scored.known
    logprob = Bounds(-math.inf, -math.log(least_rank + 1)) if scored.logprob is None else scored.logprob
    rank = Bounds(least_rank, math.inf) if scored.rank is None else scored.rank
    return Score(logprob, logprob, Bounds(0.0, math.log2(vocab_size)), rank, scored.known)
