"""A walk with patches on its model, and beside it the same walk as the unpatched model reads it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch

from core.activations.apply import InstalledPatches
from core.activations.patch import Patch
from core.engine.prefix import Prefix
from core.loading.models import Model
from core.sampling.distribution import Distribution
from core.sampling.values import Candidate, Chart


class Experiment:
    """Patches on a model until `end`, and a prefix that is read without them.

    `unpatched` is the prefix that was read before the patches were installed. Raises `UserError` for a part the model
    does not have; no patch is installed then.
    """

    def __init__(self, model: Model, patches: Sequence[Patch], unpatched: Prefix) -> None:
        self._installed = InstalledPatches(model, patches)
        self.unpatched = unpatched
        self._latest: tuple[int, Distribution] | None = None
        """The position that was asked for last, and the unpatched distribution after it."""

    @property
    def patches(self) -> tuple[Patch, ...]:
        return self._installed.patches

    def end(self) -> None:
        """Remove the patches from the model."""
        self._installed.remove()

    def read(self, position: int) -> Iterator[int]:
        """Read the unpatched prefix up to a position; the patches are installed again at every pause."""
        progress = self.unpatched.read([position])
        while True:
            with self._installed.suspended():
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
        if self._latest is None or self._latest[0] != position:
            with self._installed.suspended():
                self._latest = position, Distribution(self.unpatched.logits([position])[0, 0])
        probabilities = self._latest[1].probabilities
        ids = torch.tensor([each.id for each in chart.candidates])
        by_id = dict(zip(ids.tolist(), probabilities[ids].tolist(), strict=True))

        def extended(candidate: Candidate) -> Candidate:
            known = by_id.get(candidate.id)
            return replace(candidate, unpatched=probabilities[candidate.id].item() if known is None else known)

        taken = extended(chart.taken) if chart.taken else None
        return replace(chart, candidates=tuple(map(extended, chart.candidates)), taken=taken)
