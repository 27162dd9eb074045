"""Owns one prompt on every rung of the ladder (S17), random and trained where that is there: losses, ranks, KL."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.activations.trace import Step
from core.engine.config import ModelConfig
from core.engine.device import PACKED
from core.errors import UserError
from core.loading import catalog, models
from core.loading import ladder as rungs
from core.loading.checkpoints.folders import SUFFIX
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import Model
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate
from core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Difference:
    """One setting that a rung has other than the rung before."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RungResult:
    """What one model of the ladder makes of the prompt."""

    name: str
    title: str
    adds: str
    """What it adds to the rung before, in one sentence."""
    trained: bool
    parameters: int
    added: int
    """Parameters more than the rung before; for the first one all."""
    differences: tuple[Difference, ...]
    """Of its configuration from the rung before; of a trained twin none."""
    seen: int
    """Tokens of the prompt within its context."""
    loss: float | None
    """Mean -ln p of the tokens it saw, each after those before it, nats; None where only one was seen."""
    ln_v: float
    """The loss of guessing evenly among all V tokens (S11)."""
    top: Candidate
    """Its favourite after the prompt."""
    target: Candidate | None
    """The token that came next in the walk; None where none did, or its vocabulary lacks it."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs side by side."""

    rungs: tuple[RungResult, ...]
    """As far as measured."""
    kl_bits: tuple[tuple[float | None, ...], ...]
    """KL(row ‖ column) of the distributions after the prompt, in bits; None between different tokenizers."""
    notes: tuple[str, ...]
    """What was left out or done otherwise, one line each."""


def ladder(step: Step) -> Iterator[Progress | Ladder]:
    """Build each rung, with the sizes and seed of the present model where they fit, and read the prompt."""
    base, notes = _base(step)
    found: list[RungResult] = []
    logits: list[tuple[Tokenizer, Tensor]] = []
    yield Progress(0, len(rungs.NAMES))
    previous: ModelConfig | None = None
    for number, name in enumerate(rungs.NAMES, start=1):
        try:
            model = models.load_model(catalog.applicable(base, name))
        except UserError as mistake:
            notes.append(f"{name} is left out: {mistake}")
        else:
            adds = rungs.rung(name, 1).adds
            for twin in (model, _trained(base, name)):
                if twin is not None:
                    rung, row = _measure(step, twin, adds, previous, trained=twin is not model)
                    found.append(rung)
                    logits.append((twin.tokenizer, row))
            previous = model.transformer.config
        yield Progress(number, len(rungs.NAMES))
        yield Ladder(tuple(found), _divergences(logits), tuple(notes))


def _base(step: Step) -> tuple[ModelChoice, list[str]]:
    """What the rungs are chosen by, and what is to be said of it."""
    choice, notes = step.model.choice, []
    if catalog.trained(choice.name):
        choice = catalog.twin(choice) or choice
    if not catalog.is_rung(choice.name):
        notes.append("the rungs read the same text with their own tokenizer, cl100k")
        choice = ModelChoice(device=choice.device, dtype=choice.dtype)
    if choice.dtype in PACKED:
        choice = replace(choice, dtype="auto")
    return choice, notes


def _trained(base: ModelChoice, name: str) -> Model | None:
    """The trained twin of a rung, where there is one."""
    try:
        plain = replace(base, name=name + SUFFIX, changes=Hyperparameters(), tokenizer="cl100k", weights_seed=0)
        return models.load_model(plain)
    except UserError:
        return None


@torch.inference_mode()
def _measure(
    step: Step, model: Model, adds: str, previous: ModelConfig | None, *, trained: bool
) -> tuple[RungResult, Tensor]:
    config, piece = model.transformer.config, model.tokenizer.piece
    ids, target = _in_words_of(model, step)
    ids = ids[-config.context :]
    logits = model.transformer(torch.tensor([ids], device=model.transformer.device))[0].float().cpu()
    followed = [*ids[1:], *([] if target is None else [target])]
    loss = F.cross_entropy(logits[: len(followed)], torch.tensor(followed)).item() if followed else None
    seen = chart(Distribution(logits[-1]), Sampler(), 1, piece, target)
    count = config.parameter_count()
    rung = RungResult(
        name=model.info.name,
        title=model.info.title,
        adds=adds,
        trained=trained,
        parameters=count,
        added=count - (previous.parameter_count() if previous else 0),
        differences=() if trained or previous is None else differences(previous, config),
        seen=len(ids),
        loss=loss,
        ln_v=math.log(config.vocab_size),
        top=seen.candidates[0],
        target=seen.taken,
    )
    return rung, logits[-1]


def _in_words_of(model: Model, step: Step) -> tuple[list[int], int | None]:
    """The prompt and the token that came next as ids of another model; its text is read again where they differ."""
    own, words = step.model.tokenizer, model.tokenizer
    if own is words:
        return list(step.ids), step.target
    ids = words.encode(own.text(step.ids)) or [words.end_of_text]
    target = words.encode(own.text([step.target])) if step.target is not None else []
    return ids, target[0] if len(target) == 1 else None


def differences(before: ModelConfig, after: ModelConfig) -> tuple[Difference, ...]:
    """The settings in which two configurations differ."""
    pairs = ((each.name, getattr(before, each.name), getattr(after, each.name)) for each in fields(ModelConfig))
    return tuple(Difference(name, _words(old), _words(new)) for name, old, new in pairs if old != new)


def _words(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _divergences(logits: list[tuple[Tokenizer, Tensor]]) -> tuple[tuple[float | None, ...], ...]:
    return tuple(tuple(kl_bits(p, q) if own is other else None for other, q in logits) for own, p in logits)
