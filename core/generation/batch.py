"""Several continuations of one prompt, generated as one batch."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from core.generation.decided import decided
from core.generation.draw_context import draw_context
from core.generation.guides import Guides
from core.generation.sample import Sample, stop_ids
from core.generation.token import Token
from core.loading.info import ModelInfo
from core.loading.model import Model, Sequences
from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.draw import draw, uniform
from core.sampling.next_distribution import NextDistribution
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Draw


def sampled_token(drawn: Draw, piece: bytes, sampler: Sampler, model: ModelInfo, redraw: int = 0) -> Token:
    """The token of a walk that a draw gives."""
    return Token(drawn.id, piece, "sampled", drawn.score, drawn.u, drawn.sampled_probability, redraw, sampler, model)


class Batch:
    """`samples` continuations of the prompt `ids`, each with a sampler of its own.

    Continuation i draws with seed + i, so the first equals what `Session.generate` draws. `tokens` are those of a walk
    that has come to the same ids, with its prompt of `prompt_length`; without them all of `ids` are the prompt.
    `prefix` holds what was read of `ids` before, which is not read again. Raises `UserError` for an id outside V.
    """

    def __init__(
        self,
        model: Model,
        ids: Sequence[int],
        sampler: Sampler,
        samples: int,
        prefix: Sequences | None = None,
        *,
        tokens: Sequence[Token] = (),
        prompt_length: int = 0,
    ) -> None:
        ids = list(ids) or [model.tokenizer.end_of_text]
        start = list(tokens) or [Token(id, model.tokenizer.piece(id)) for id in ids]
        if prefix is None:
            prefix = model.sequences()
            prefix.append([ids])
        for _ in prefix.read([len(ids) - 1]):
            pass
        self.model = model
        self._prefix = prefix.repeat(samples)
        self._prefix.rewind(len(ids))
        self.samplers = [replace(sampler, seed=sampler.seed + i) for i in range(samples)]
        self._distributions: list[NextDistribution] = []
        self._contexts: list[DrawContext] = []
        self._prompt_length = prompt_length or len(ids)
        self._tokens = [list(start) for _ in range(samples)]
        shared = Guides(model)
        self._guides = [shared.fresh() for _ in range(samples)]
        self._stop_ids = stop_ids(model.tokenizer, sampler)
        self.running = [True] * samples
        """For each continuation, whether the model has not ended its text."""

    def step(self) -> list[Draw | None]:
        """Draw one token for each continuation; None for one that has ended, which stays in the batch unused."""
        at = self._prefix.length
        (self._distributions,) = self._prefix.distributions([at - 1])
        self._contexts = [
            draw_context(tokens, self._prompt_length, sampler, 0, self.model.tokenizer, guides)
            for tokens, sampler, guides in zip(self._tokens, self.samplers, self._guides, strict=True)
        ]
        drawn = [self._draw(row, at) for row in range(len(self.samplers))]
        self._prefix.append([[each.id] for each in drawn])
        self._prefix.begin([at])
        for tokens, each, sampler in zip(self._tokens, drawn, self.samplers, strict=True):
            tokens.append(sampled_token(each, self.model.tokenizer.piece(each.id), sampler, self.model.info))
        running = [each if runs else None for each, runs in zip(drawn, self.running, strict=True)]
        self.running = [each is not None and each.id not in self._stop_ids for each in running]
        return running

    def _draw(self, row: int, at: int) -> Draw:
        sampler, context = self.samplers[row], self._contexts[row]
        drawn, self._distributions[row] = decided(
            self._prefix,
            at - 1,
            row,
            self._distributions[row],
            lambda known: draw(known, sampler, uniform(sampler.seed, at), context),
        )
        return drawn

    def distribution(self, sample: int) -> NextDistribution:
        """The distribution that the last token of a continuation was drawn from."""
        return self._distributions[sample]

    def top(self, sample: int, count: int) -> tuple[Candidate, ...]:
        """The likeliest tokens that the last draw of a continuation was made among."""
        piece = self.model.tokenizer.piece
        drawn_from = self._distributions[sample], self.samplers[sample]
        return chart(*drawn_from, count, piece, context=self._contexts[sample]).candidates


class NewToken(NamedTuple):
    """A token that one continuation of a batch got."""

    sample: int
    """The number of the continuation, from 0."""
    draw: Draw
    token: Token
    text: str
    """The text that the token completes."""


def generate_batch(batch: Batch, samples: Sequence[Sample], count: int) -> Iterator[list[NewToken]]:
    """Draw up to `count` tokens for each of `samples`, one a step, until all have stopped.

    A token before which a stop condition holds is drawn with its batch, and dropped.
    """
    for _ in range(count):
        if all(sample.stopped for sample in samples):
            return
        new = []
        for number, (sample, drawn) in enumerate(zip(samples, batch.step(), strict=True)):
            if drawn is None or sample.stopped or sample.stops_before(partial(batch.distribution, number)):
                continue
            piece = batch.model.tokenizer.piece(drawn.id)
            token = sampled_token(drawn, piece, batch.samplers[number], batch.model.info)
            new.append(NewToken(number, drawn, token, sample.append(token)))
        yield new
