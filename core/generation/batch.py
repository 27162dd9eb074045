"""Owns several continuations of one prompt that run as one batch, and how a draw becomes a token of a walk."""

from collections.abc import Sequence
from dataclasses import replace

from core.engine.prefix import Prefix
from core.generation.token import Token
from core.loading.info import ModelInfo
from core.loading.models import Model
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.draw import draw, uniform
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Draw


def sampled_token(drawn: Draw, piece: bytes, sampler: Sampler, model: ModelInfo, redraw: int = 0) -> Token:
    """A draw as a token of the walk."""
    return Token(drawn.id, piece, "sampled", drawn.score, drawn.u, drawn.sampled_probability, redraw, sampler, model)


class Batch:
    """Several continuations of one prompt, run as one batch (S6, S10).

    Continuation i draws with seed + i, so the first is what `Session` would draw. Raises `UserError` for an id outside V.
    """

    def __init__(
        self, model: Model, ids: Sequence[int], sampler: Sampler, samples: int, read: Prefix | None = None
    ) -> None:
        """What `read` has of `ids` is not read again."""
        ids = list(ids) or [model.tokenizer.end_of_text]
        for id in ids:
            model.tokenizer.piece(id)
        if read is None:
            read = Prefix(model.transformer)
            read.append([ids])
        for _ in read.read([len(ids) - 1]):
            pass
        self._prefix = read.repeat(samples)
        self._prefix.rewind(len(ids))
        self.samplers = [replace(sampler, seed=sampler.seed + i) for i in range(samples)]
        self._piece = model.tokenizer.piece
        self._stops = model.stops
        self._distributions: list[Distribution] = []
        self.running = [True] * samples
        """Of each continuation, whether it has not come to its end."""

    def step(self) -> list[Draw | None]:
        """Draw one token for each continuation; None for one that has ended, which the batch only carries along."""
        at = self._prefix.length
        logits = self._prefix.logits([at - 1])[:, 0]  # [B, V]
        self._distributions = [Distribution(row) for row in logits]
        drawn = [
            draw(distribution, sampler, uniform(sampler.seed, at))
            for distribution, sampler in zip(self._distributions, self.samplers, strict=True)
        ]
        self._prefix.append([[one.id] for one in drawn])
        grown = [one if runs else None for one, runs in zip(drawn, self.running, strict=True)]
        self.running = [one is not None and one.id not in self._stops for one in grown]
        return grown

    def margin(self, sample: int) -> float:
        """How much likelier the favourite was than the second where the last draw of a continuation was made."""
        return self._distributions[sample].margin()

    def top(self, sample: int, count: int) -> tuple[Candidate, ...]:
        """The likeliest tokens that the last draw of a continuation was made among."""
        return chart(self._distributions[sample], self.samplers[sample], count, self._piece).candidates
