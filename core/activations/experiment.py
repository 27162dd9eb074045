"""Owns patches at work in a walk, and beside them the same walk as the model would read it without them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from core.activations.hooks import Installed
from core.activations.patch import Patch
from core.engine.prefix import Prefix
from core.loading.models import Model
from core.sampling.distribution import Distribution
from core.sampling.values import Candidate, Chart


class Experiment:
    """Patches in a model until `end`; `plain` is what was read before, and goes on beside the patched walk.

    Raises `UserError` for a part the model does not have; nothing is patched then.
    """

    def __init__(self, model: Model, patches: Sequence[Patch], plain: Prefix) -> None:
        self._installed = Installed(model, patches)
        self.plain = plain
        self._latest: tuple[int, Distribution] | None = None

    @property
    def patches(self) -> tuple[Patch, ...]:
        return self._installed.patches

    def end(self) -> None:
        """Let the model be what it was."""
        self._installed.remove()

    def read(self, position: int) -> Iterator[int]:
        """Read without patches what a position needs; the patches act again at every pause."""
        reading = self.plain.read([position])
        while True:
            with self._installed.suspended():
                done = next(reading, None)
            if done is None:
                return
            yield done

    def rewind(self, length: int, ids: Sequence[int]) -> None:
        """Follow the walk, which kept `length` tokens and went on with `ids`."""
        self.plain.rewind(length)
        if ids:
            self.plain.append([ids])
        if self._latest and self._latest[0] >= length:
            self._latest = None

    def beside(self, chart: Chart, position: int) -> Chart:
        """A chart of what comes after a position, each candidate with its probability without patches."""
        if self._latest is None or self._latest[0] != position:
            with self._installed.suspended():
                self._latest = position, Distribution(self.plain.logits([position])[0, 0])
        shares = self._latest[1].probabilities
        ids = torch.tensor([each.id for each in chart.candidates])
        found = dict(zip(ids.tolist(), shares[ids].tolist(), strict=True))

        def ghosted(candidate: Candidate) -> Candidate:
            known = found.get(candidate.id)
            return replace(candidate, unpatched=shares[candidate.id].item() if known is None else known)

        taken = ghosted(chart.taken) if chart.taken else None
        return replace(chart, candidates=tuple(map(ghosted, chart.candidates)), taken=taken)
