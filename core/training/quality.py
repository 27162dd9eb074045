"""Owns how near a rung has come to the truth of the tiny world: losses beside their floors, and what it carries far."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch

from core.errors import Mistake
from core.events import Reading
from core.model import Transformer
from core.models import Model
from core.training.corpus import Walker
from core.training.trainer import windows
from core.world import tiny

TOKENS = 2**15
"""Of text that no training saw."""
SEED = -2


@dataclass(frozen=True, slots=True)
class Slot:
    """Places where the text so far decides what comes: a name to be copied, a verb that must agree, a closing mark."""

    label: str
    count: int
    accuracy: float
    """How often, of all that is said at such places, the right one is the likeliest."""
    loss: float
    """Mean -ln p of what came there, nats."""
    last_token: float
    """The lowest such loss for who knows the last token alone."""
    context: float
    """The lowest for who knows all of the text."""


@dataclass(frozen=True, slots=True)
class Quality:
    """A rung beside the truth, nats a token."""

    model: str
    loss: float
    """The entropy of the tiny world and what the model adds to it: H + KL(true ‖ model)."""
    floor: float
    """The lowest loss of a model that sees as far: the last token alone, or all of the text."""
    slots: tuple[Slot, ...]

    @property
    def above(self) -> float:
        """How far the loss is above its floor."""
        return self.loss - self.floor

    @property
    def long_range_accuracy(self) -> float:
        """Over all places where something far decides."""
        return sum(slot.accuracy * slot.count for slot in self.slots) / sum(slot.count for slot in self.slots)


def check(model: Model) -> None:
    """Raise `Mistake` for a model that speaks in other tokens than the tiny world."""
    if model.tokenizer.name != tiny.NAME:
        raise Mistake(f"{model.info.name} does not speak in the tokens of the tiny world; choose a rung trained there")


@torch.inference_mode()
def quality(model: Model, tokens: int = TOKENS) -> Iterator[Reading | Quality]:
    """Measure a model in the tiny world, the answer last. Raises `Mistake` for one that speaks in other tokens."""
    check(model)
    machine = tiny.machine()
    walker, run = Walker(machine), list(islice(machine.run(SEED), tokens))
    ids = torch.tensor([edge.token for edge in run])
    states = torch.tensor([0, *(edge.after for edge in run)])  # before each token, and after the last
    labels = [edge.label for edge in run]
    groups = {label: torch.tensor(sorted(machine.said_at(label))) for label in machine.labels()}
    shares = walker.through.diff(dim=1, prepend=torch.zeros(len(walker.through), 1, dtype=torch.float64))
    extra, count = 0.0, 0
    right, losses = defaultdict[str, list[bool]](list), defaultdict[str, list[float]](list)
    for places, after in windows(torch.arange(tokens), _length(model.transformer), tokens):
        half = places.shape[1] // 2
        logits = model.transformer(ids[places].to(model.transformer.device))[:, half:].flatten(0, 1)
        logprobs = logits.to("cpu", torch.float64).log_softmax(-1)  # [n, V]
        wanted = after[:, half:].flatten()
        true = shares[states[wanted]]  # [n, edges]
        said = logprobs.gather(1, walker.tokens[states[wanted]])
        extra += torch.where(true > 0, true * (true.clamp_min(1e-300).log() - said), 0.0).sum().item()
        count += len(wanted)
        for row, at in enumerate(wanted.tolist()):
            if label := labels[at]:
                group = groups[label]
                right[label].append(bool(group[logprobs[row, group].argmax()] == ids[at]))
                losses[label].append(-logprobs[row, ids[at]].item())
        yield Reading(count, tokens)
    floors = machine.floors()
    slots = []
    for label in sorted(right):
        low, n = machine.floors(label), len(right[label])
        slots.append(Slot(label, n, sum(right[label]) / n, sum(losses[label]) / n, low.last_token, low.context))
    floor = floors.last_token if model.transformer.config.reach == 1 else floors.context
    yield Quality(model.info.name, floors.context + extra / count, floor, tuple(slots))


def _length(model: Transformer) -> int:
    """A text or two; no more is needed to know all that matters."""
    return min(model.config.context, 2 * tiny.LONGEST)
