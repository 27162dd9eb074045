"""Owns how near a rung has come to the truth of the tiny world: losses beside their floors, and what it carries far."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.errors import UserError
from core.loading.models import Model
from core.once import thread_safe_cache
from core.progress import Progress
from core.training.measure import HeldOut
from core.world import tiny
from core.world.walker import Walker

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
    floor: float
    """The lowest loss of a model that sees as far: the last token alone, or all of the text."""
    above: float
    """How far its loss is above that."""
    slots: tuple[Slot, ...]

    @property
    def loss(self) -> float:
        """In the long run."""
        return self.floor + self.above

    @property
    def long_range_accuracy(self) -> float:
        """Over all places where something far decides."""
        return sum(slot.accuracy * slot.count for slot in self.slots) / sum(slot.count for slot in self.slots)


def check(model: Model) -> None:
    """Raise `UserError` for a model that speaks in other tokens than the tiny world."""
    if model.tokenizer.name != tiny.NAME:
        raise UserError(
            f"{model.info.name} does not speak in the tokens of the tiny world; choose a rung trained there"
        )


@thread_safe_cache
def _held(tokens: int) -> HeldOut:
    return HeldOut(tiny.machine(), Walker(tiny.machine()), tokens, SEED)


def quality(model: Model, tokens: int = TOKENS) -> Iterator[Progress | Quality]:
    """Measure a model in the tiny world, the answer last. Raises `UserError` for one that speaks in other tokens."""
    check(model)
    machine, held = tiny.machine(), _held(tokens)
    groups = {label: torch.tensor(sorted(machine.said_at(label))) for label in machine.labels()}
    right, losses, done = defaultdict[str, list[bool]](list), defaultdict[str, list[float]](list), 0
    for places, logprobs in held.logprobs(model.transformer):
        for row, edge in enumerate(held.edges[place] for place in places.tolist()):
            if edge.label:
                group = groups[edge.label]
                right[edge.label].append(int(group[logprobs[row, group].argmax()]) == edge.token)
                losses[edge.label].append(-logprobs[row, edge.token].item())
        done += len(places)
        yield Progress(done, tokens)
    slots = []
    for label, hits in sorted(right.items()):
        low = machine.floors(label)
        accuracy, loss = sum(hits) / len(hits), sum(losses[label]) / len(hits)
        slots.append(Slot(label, len(hits), accuracy, loss, low.last_token, low.context))
    transformer = model.transformer
    yield Quality(model.info.name, held.floor(transformer), held.above(transformer), tuple(slots))
