"""One prompt on every rung of the ladder, with random weights and trained where that is available: loss, ranks, KL."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from core.activations.trace import Step
from core.engine.config import ModelConfig
from core.engine.info import PACKED
from core.errors import UserError
from core.language import _
from core.loading import catalog, models
from core.loading import ladder as rungs
from core.loading.checkpoints.folders import SUFFIX
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.progress import Progress
from core.sampling.chart import chart
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate
from core.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class SettingChange:
    """One setting of the configuration that differs from the rung before."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class RungResult:
    """One model of the ladder: its size, and its prediction after the prompt."""

    name: str
    title: str
    adds: str
    """What the architecture adds to the rung before, in one sentence."""
    trained: bool
    parameters: int
    added: int
    """Parameters more than the rung before; for the first rung all."""
    differences: tuple[SettingChange, ...]
    """From the rung before; empty for a trained rung, which has the configuration of the random one beside it."""
    seen: int
    """Tokens of the prompt that fit into its context."""
    loss: float | None
    """Mean -ln p of the tokens it saw after the first, and of the target, nats a token; None where there are none."""
    ln_v: float
    """ln V, nats a token: the loss of a uniform distribution over all V tokens."""
    top: Candidate
    """The likeliest token after the prompt."""
    target: Candidate | None
    """The token that came next in the walk; None where none did, or where the vocabulary does not have it."""


@dataclass(frozen=True, slots=True)
class Ladder:
    """All rungs side by side."""

    rungs: tuple[RungResult, ...]
    """Those measured so far; a trained rung stands after the random one."""
    kl_bits: tuple[tuple[float | None, ...], ...]
    """KL(row ‖ column) of the distributions after the prompt, in bits; None between different tokenizers."""
    notes: tuple[str, ...]
    """What was left out or done differently, one line each."""


def ladder(step: Step) -> Iterator[Progress | Ladder]:
    """Build each rung, with the sizes and seed of the present model where they are valid, and read the prompt."""
    base, notes = _base_choice(step)
    results: list[RungResult] = []
    logits: list[tuple[Tokenizer, Tensor]] = []
    yield Progress(0, len(rungs.NAMES))
    previous: ModelConfig | None = None
    for number, name in enumerate(rungs.NAMES, start=1):
        try:
            model = models.load_model(catalog.applicable(base, name))
        except UserError as error:
            notes.append(_("{name} is left out: {error}").format(name=name, error=error))
        else:
            adds = rungs.rung(name, 1).adds
            for each in (model, _trained(base, name)):
                if each is not None:
                    result, row = _measure(step, each, adds, previous, trained=each is not model)
                    results.append(result)
                    logits.append((each.tokenizer, row))
            previous = model.transformer.config
        yield Progress(number, len(rungs.NAMES))
        yield Ladder(tuple(results), _divergences(logits), tuple(notes))


def _base_choice(step: Step) -> tuple[ModelChoice, list[str]]:
    """The choice of model that all rungs are derived from, and notes about it."""
    choice, notes = step.model.choice, []
    if catalog.trained(choice.name):
        choice = catalog.twin(choice) or choice
    if not catalog.is_rung(choice.name):
        notes.append(_("the rungs read the same text with their own tokenizer, cl100k"))
        choice = ModelChoice(device=choice.device, dtype=choice.dtype)
    if choice.dtype in PACKED:
        choice = replace(choice, dtype="auto")
    return choice, notes


def _trained(base: ModelChoice, name: str) -> Model | None:
    """The trained version of a rung; None where there is none."""
    try:
        choice = replace(base, name=name + SUFFIX, changes=Hyperparameters(), tokenizer="cl100k", weights_seed=0)
        return models.load_model(choice)
    except UserError:
        return None


@torch.inference_mode()
def _measure(
    step: Step, model: Model, adds: str, previous: ModelConfig | None, *, trained: bool
) -> tuple[RungResult, Tensor]:
    config, piece = model.transformer.config, model.tokenizer.piece
    ids, target = _ids_for(model, step)
    ids = ids[-config.context :]
    logits = model.transformer(torch.tensor([ids], device=model.transformer.device))[0].float().cpu()
    following = [*ids[1:], *([] if target is None else [target])]
    loss = F.cross_entropy(logits[: len(following)], torch.tensor(following)).item() if following else None
    likeliest = chart(Distribution(logits[-1]), Sampler(), 1, piece, target)
    count = config.parameter_count()
    result = RungResult(
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
        top=likeliest.candidates[0],
        target=likeliest.taken,
    )
    return result, logits[-1]


def _ids_for(model: Model, step: Step) -> tuple[list[int], int | None]:
    """The prompt and the target as ids of another model; the text is encoded again where the tokenizers differ."""
    own, other = step.model.tokenizer, model.tokenizer
    if own is other:
        return list(step.ids), step.target
    ids = other.encode(own.text(step.ids)) or [other.end_of_text]
    target = other.encode(own.text([step.target])) if step.target is not None else []
    return ids, target[0] if len(target) == 1 else None


def differences(before: ModelConfig, after: ModelConfig) -> tuple[SettingChange, ...]:
    """The settings in which two configurations differ."""
    pairs = ((each.name, getattr(before, each.name), getattr(after, each.name)) for each in fields(ModelConfig))
    return tuple(SettingChange(name, _setting_text(old), _setting_text(new)) for name, old, new in pairs if old != new)


def _setting_text(value: object) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value)) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _divergences(logits: list[tuple[Tokenizer, Tensor]]) -> tuple[tuple[float | None, ...], ...]:
    """KL of every pair of last logits [V], in bits."""
    return tuple(tuple(kl_bits(p, q) if tokenizer is other else None for other, q in logits) for tokenizer, p in logits)
