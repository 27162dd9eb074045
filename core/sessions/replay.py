"""Owns running a saved walk again: every draw and every log-probability of its path, against the model as it is now."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.generation.token import Token
from core.loading import catalog, models
from core.loading.choice import ModelChoice
from core.loading.info import ModelInfo
from core.loading.models import Model
from core.sampling.draw import draw, uniform
from core.sessions import resume
from core.sessions.record import Record
from core.walk.session import Session


@dataclass(frozen=True, slots=True)
class Replayed:
    """One position of a walk, then and now."""

    position: int
    token: Token
    """As it was saved."""
    drawn: int | None = None
    """The id that its uniform number draws now; None where none was drawn, or by another model."""
    u: float | None = None
    """The uniform number that seed, position and redraw give now."""
    logprob: float | None = None
    """Of the saved id, now; None where none was saved."""

    @property
    def apart(self) -> float | None:
        """How far the log-probabilities are apart, nats; None where there are not two."""
        if self.logprob is None or self.token.score is None:
            return None
        before = self.token.score.logprob
        return 0.0 if before == self.logprob else abs(before - self.logprob)

    def differs(self, tolerance: float) -> bool:
        """Whether it came out otherwise; log-probabilities may be `tolerance` apart."""
        other_draw = self.drawn is not None and (self.drawn != self.token.id or self.u != self.token.u)
        return other_draw or (self.apart is not None and not self.apart <= tolerance)


@dataclass(frozen=True, slots=True)
class Changes:
    """What the models are replaced by; None leaves what the walk was made with."""

    name: str | None = None
    device: str | None = None
    dtype: str | None = None
    weights_seed: int | None = None

    def model(self, info: ModelInfo) -> Model:
        """The model to run in the place of one that the walk was made with. Only a name that is given is fetched."""
        choice = info.choice or ModelChoice(name=info.name)
        choice = choice if self.name is None else catalog.applicable(choice, self.name)
        choice = replace(
            choice,
            device=self.device or choice.device,
            dtype=self.dtype or info.dtype,
            weights_seed=choice.weights_seed if self.weights_seed is None else self.weights_seed,
        )
        if self.name is not None:
            return models.load_model(choice)
        return resume.model(replace(info, choice=info.choice and choice))


def runs(record: Record, changes: Changes) -> Iterator[tuple[Model, Iterator[Replayed]]]:
    """Each model that the walk needs, and what it says of its positions. Raises `UserError` where one has other tokens.

    A walk may have gone through several models: each is asked for its own draws, and the one the walk stands in for
    the log-probabilities, which are all its own. A model that is named is asked for everything.
    """
    tokens = record.path()
    if changes.name is not None:
        model = changes.model(record.model)
        record.check(model.tokenizer)
        yield model, replay(record, model)
        return
    for info in dict.fromkeys([record.model, *(token.model for token in tokens if token.sampler and token.model)]):
        model = changes.model(info)
        record.check(model.tokenizer)
        yield model, replay(record, model, info, scores=info == record.model)


def replay(
    record: Record, model: Model, drawn_by: ModelInfo | None = None, *, scores: bool = True
) -> Iterator[Replayed]:
    """The positions of the path, fed with the saved tokens whatever is drawn now, in the steps of a walk.

    Repeats the draws that `drawn_by` made, or all.
    """
    tokens = record.path()
    prompt = next((n for n, token in enumerate(tokens) if token.origin != "prompt"), len(tokens))
    walk = Session(model, record.sampler)
    for _ in walk.prefill([token.id for token in tokens[:prompt]]):
        pass
    if scores and any(token.score for token in tokens[:prompt]):
        for _ in walk.score():
            pass
        yield from _compared(tokens[:prompt], walk.tokens)
    for position in range(prompt, len(tokens)):
        token, drawn, u = tokens[position], None, None
        if token.origin == "sampled" and token.sampler and drawn_by in (None, token.model):
            u = uniform(token.sampler.seed, position, token.redraw)
            drawn = draw(walk.distribution(), token.sampler, u if token.u is None else token.u).id
            u = None if token.sampler.greedy else u
        now = walk.take(token.id).score
        measured = now.logprob if now and scores and token.score else None
        if drawn is not None or measured is not None:
            yield Replayed(position, token, drawn, u, measured)


def _compared(saved: Sequence[Token], now: Sequence[Token]) -> Iterator[Replayed]:
    for position, (token, other) in enumerate(zip(saved, now, strict=True)):
        if token.score and other.score:
            yield Replayed(position, token, logprob=other.score.logprob)
