"""Reads many continuations of one prompt as one batch."""

from collections.abc import Sequence
from functools import partial

from core.generation.decided import decided
from core.loading.model import Model, Sequences
from core.sampling.next_distribution import NextDistribution
from core.search.path import Path, children
from core.sequences import common_prefix

Ids = tuple[int, ...]


class Reader:
    """The next-token distributions after continuations of the prompt `ids`, at most `width` at once.

    What the continuations of one call share with those of the call before is not read again. `prefix` holds what was
    read of the prompt before. Raises `UserError` for an id outside V.
    """

    def __init__(self, model: Model, ids: Sequence[int], width: int, prefix: Sequences | None = None) -> None:
        ids = list(ids) or [model.tokenizer.end_of_text]
        for id in ids:
            model.tokenizer.piece(id)
        if prefix is None:
            prefix = model.sequences()
            prefix.append([ids])
        for _ in prefix.read([len(ids) - 1]):
            pass
        self.model = model
        self.width = width
        self._start = len(ids)
        self._prompt = prefix.repeat(1)
        self._prompt.rewind(len(ids))
        self._batches: dict[int, tuple[Sequences, list[Ids]]] = {}
        """By the number of sequences: their prefix, and the continuation that each holds."""
        self._size = 1
        """The number of sequences of the last call."""

    def distributions(self, continuations: Sequence[Ids]) -> list[NextDistribution]:
        """The distribution after each of up to `width` continuations, which have the same length."""
        size = self._size = 1 if len(continuations) == 1 else self.width
        wanted = [*continuations, *[continuations[-1]] * (size - len(continuations))]
        prefix, held = self._batch(size)
        shared = [[common_prefix(row, each) for row in held] for each in wanted]
        rows = [max(range(size), key=each.__getitem__) for each in shared]
        keep = min(each[row] for each, row in zip(shared, rows, strict=True))
        position = self._start + len(wanted[0]) - 1
        prefix.rewind(max(self._start, min(self._start + keep, position)))
        if rows != list(range(size)):
            prefix.rearrange(rows, self._start)
        if position >= prefix.length:
            prefix.append([row[prefix.length - self._start :] for row in wanted])
        held[:] = wanted
        return prefix.distributions([position])[0][: len(continuations)]

    def children(self, row: int, distribution: NextDistribution, path: Path, count: int, skip: int = 0) -> list[Path]:
        """`path.children` by distribution number `row` of the last call; more of it is asked for where it must be."""
        sequences = self._batches[self._size][0]
        ask = partial(children, path, count=count, skip=skip)
        return decided(sequences, sequences.length - 1, row, distribution, ask)[0]

    def _batch(self, size: int) -> tuple[Sequences, list[Ids]]:
        if size not in self._batches:
            prefix = self._prompt.repeat(size) if size > 1 else self._prompt
            prefix.rewind(self._start)
            self._batches[size] = prefix, [()] * size
        return self._batches[size]
