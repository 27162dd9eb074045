"""A walk in a changed model, and beside it the same walk as the model reads it without the change.

The change is a list of patches, or a LoRA adapter.
"""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

from core.loading.model import Sequences
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits
from core.sampling.next_distribution import NextDistribution
from core.sampling.values import Candidate, Chart


class Change(Protocol):
    """What acts on every forward pass of a model, and can be suspended."""

    def suspended(self) -> AbstractContextManager[None]:
        """The model without the change, within the block."""


@dataclass(frozen=True, slots=True)
class Shift:
    """What a change makes of the distribution of the next token."""

    kl_bits: float
    """KL(unchanged ‖ changed), in bits."""
    before: int
    """The likeliest id without the change."""
    before_probability: float
    after: int
    """The likeliest id with it."""
    after_probability: float


class Experiment:
    """A change that acts on a model, and a prefix of the same ids that is read without it, `unpatched`."""

    def __init__(self, change: Change, unpatched: Sequences) -> None:
        self._change = change
        self.unpatched = unpatched
        self._latest: tuple[int, NextDistribution] | None = None
        """The position that was asked for last, and the unpatched distribution after it."""

    def read(self, position: int) -> Iterator[int]:
        """Read the unpatched prefix up to a position; the change acts again at every pause."""
        progress = self.unpatched.read([position])
        while True:
            with self._change.suspended():
                done = next(progress, None)
            if done is None:
                return
            yield done

    def rewind(self, length: int, ids: Sequence[int]) -> None:
        """Follow the walk, which was cut to `length` tokens and then got `ids`."""
        self.unpatched.rewind(length)
        if ids:
            self.unpatched.append([ids])
        if self._latest and self._latest[0] >= length:
            self._latest = None

    def with_unpatched(self, chart: Chart, position: int) -> Chart:
        """A chart of the token after `position`, each candidate with its unpatched probability."""
        ids = [each.id for each in (*chart.candidates, *((chart.taken,) if chart.taken else ()))]
        by_id = dict(zip(ids, self._without(position).probabilities_of(ids), strict=True))

        def extended(candidate: Candidate) -> Candidate:
            return replace(candidate, unpatched=by_id[candidate.id])

        taken = extended(chart.taken) if chart.taken else None
        return replace(chart, candidates=tuple(map(extended, chart.candidates)), taken=taken)

    def shift(self, changed: NextDistribution, position: int) -> Shift | None:
        """How `changed` differs from the unpatched distribution after `position`; None where logits are not known."""
        without = self._without(position)
        if not isinstance(without, Distribution) or not isinstance(changed, Distribution):
            return None
        before, after = without.argmax, changed.argmax
        (before_share,), (after_share,) = without.probabilities_of([before]), changed.probabilities_of([after])
        return Shift(kl_bits(without.logits, changed.logits), before, before_share, after, after_share)

    def _without(self, position: int) -> NextDistribution:
        """The unpatched distribution after `position`."""
        if self._latest is None or self._latest[0] != position:
            with self._change.suspended():
                self._latest = position, self.unpatched.distributions([position])[0][0]
        return self._latest[1]
