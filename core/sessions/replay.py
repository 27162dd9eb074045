"""Compares every draw and log-probability of a saved walk with those of a model today."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

from core.activations.apply import patched
from core.generation.token import Token
from core.loading import catalog, models
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.model import Model
from core.sampling.bounds import Bounded, high, low
from core.sampling.draw import uniform
from core.sessions import resume
from core.sessions.record import Record
from core.walk.session import Session

AHEAD = 8
"""Positions that an engine elsewhere is asked for at the same time."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """One position of a walk, as saved and as computed now."""

    position: int
    token: Token
    """The saved token."""
    drawn: int | None = None
    """The id that its uniform number draws now; None if the token was not drawn, or by another model."""
    u: float | None = None
    """The uniform number for seed, position and redraw count now."""
    logprob: Bounded | None = None
    """Of the saved id now, in nats; None if none was saved."""

    @property
    def difference(self) -> float | None:
        """|Δ log-probability|, in nats, at least so much where one of them is bounds; None without two of them."""
        if self.logprob is None or self.token.score is None:
            return None
        before, now = self.token.score.logprob, self.logprob
        return 0.0 if before == now else max(0.0, low(before) - high(now), low(now) - high(before))

    def differs(self, tolerance: float) -> bool:
        """Whether the draw differs, or the log-probability by more than `tolerance` nats."""
        other_draw = self.drawn is not None and (self.drawn != self.token.id or self.u != self.token.u)
        return other_draw or (self.difference is not None and not self.difference <= tolerance)


@dataclass(frozen=True, slots=True)
class Overrides:
    """What to replace in the models; None keeps what the walk was made with."""

    name: str | None = None
    device: str | None = None
    dtype: str | None = None
    weights_seed: int | None = None
    lora: tuple[str, float] | None = None
    """A LoRA adapter and its scale."""

    def model(self, info: ModelInfo) -> Model:
        """The model to run instead of one that the walk was made with. Only a model named here is downloaded."""
        choice = info.choice or ModelChoice(name=info.name)
        choice = choice if self.name is None else catalog.applicable(choice, self.name)
        choice = replace(
            choice,
            device=self.device or choice.device,
            dtype=self.dtype or ("auto" if catalog.is_served(choice.name) else info.dtype),
            weights_seed=choice.weights_seed if self.weights_seed is None else self.weights_seed,
        )
        if self.lora is not None:
            choice = replace(choice, lora=self.lora[0], lora_scale=self.lora[1])
        if self.name is not None:
            return models.load_model(choice)
        return resume.model(replace(info, choice=info.choice and choice))


def runs(record: Record, overrides: Overrides) -> Iterator[tuple[Model, Iterator[Replayed]]]:
    """Each model that the walk needs, and the positions it repeats. Raises `UserError` for another tokenizer.

    A walk may have gone through several models: each repeats its own draws; the last one also repeats the
    log-probabilities, which are all its own. A model that `overrides` names repeats everything.
    """
    tokens = record.path()
    if overrides.name is not None:
        model = overrides.model(record.model)
        record.check(model.tokenizer)
        yield model, replay(record, model)
        return
    for info in dict.fromkeys([record.model, *(token.model for token in tokens if token.sampler and token.model)]):
        model = overrides.model(info)
        record.check(model.tokenizer)
        yield model, replay(record, model, info, scores=info == record.model)


def replay(
    record: Record, model: Model, drawn_by: ModelInfo | None = None, *, scores: bool = True
) -> Iterator[Replayed]:
    """The positions of the path, computed step by step; the saved token is taken whatever is drawn now.

    Repeats the draws that the model `drawn_by` made, or all, and with `scores` the log-probabilities. The patches of
    the walk act meanwhile, except in a model that took part earlier. Raises `UserError` where they do not fit.
    """
    patches = record.patches if drawn_by in (None, record.model) else ()
    with patched(model, patches) if patches else nullcontext():
        yield from _replay(record, model, drawn_by, scores)


def _replay(record: Record, model: Model, drawn_by: ModelInfo | None, scores: bool) -> Iterator[Replayed]:
    tokens = record.path()
    prompt = next((n for n, token in enumerate(tokens) if token.origin != "prompt"), len(tokens))
    walk = Session(model, record.sampler)
    for _ in walk.prefill([token.id for token in tokens[:prompt]]):
        pass
    if scores and any(token.score for token in tokens[:prompt]):
        for _ in walk.score():
            pass
        yield from _compared(tokens[:prompt], walk.tokens)
    whole = model.sequences()
    whole.append([[token.id for token in tokens]])
    for position in range(prompt, len(tokens)):
        if (position - prompt) % AHEAD == 0:
            whole.begin(range(position - 1, min(position - 1 + AHEAD, len(tokens) - 1)))
        token, drawn, u = tokens[position], None, None
        if token.origin == "sampled" and token.sampler and drawn_by in (None, token.model):
            u = uniform(token.sampler.seed, position, token.redraw)
            context = walk.reader.context(tokens[:position], prompt, token.sampler, token.redraw)
            drawn = walk.reader.draw(position, token.sampler, u if token.u is None else token.u, context).id
            u = None if token.sampler.greedy else u
        now = walk.take(token.id).score
        logprob = now.logprob if now and scores and token.score else None
        if drawn is not None or logprob is not None:
            yield Replayed(position, token, drawn, u, logprob)


def _compared(saved: Sequence[Token], now: Sequence[Token]) -> Iterator[Replayed]:
    for position, (token, other) in enumerate(zip(saved, now, strict=True)):
        if token.score and other.score:
            yield Replayed(position, token, logprob=other.score.logprob)
