"""How close a model is to the truth of the tiny world: its loss beside its floor, and accuracy at long-range places."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from core.errors import UserError
from core.language import _
from core.loading.model import Model
from core.once import thread_safe_cache
from core.progress import Progress
from core.training.measure import HeldOut
from core.world import tiny
from core.world.batched import BatchedAutomaton

TOKENS = 2**15
"""Length of the text that models are measured on."""
SEED = -2
"""Its seed, which no training uses."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The tokens with one label: those that earlier text decides, such as a repeated name, the number of a verb, or a
    closing bracket. Losses are in nats per token."""

    label: str
    count: int
    """Number of such tokens."""
    accuracy: float
    """How often the right token is the likeliest among all tokens that can have the label."""
    loss: float
    """Mean -ln p of the right token, among all of V."""
    last_token: float
    """The lowest possible loss given the last token alone."""
    context: float
    """The lowest possible loss given all of the text."""


@dataclass(frozen=True, slots=True)
class Quality:
    """The measured quality of a model, losses in nats per token."""

    model: str
    floor: float
    """The lowest possible loss of a model that sees as much: the last token alone, or all of the text."""
    excess: float
    """Excess of its loss over the floor."""
    slots: tuple[Slot, ...]

    @property
    def loss(self) -> float:
        """Its expected loss."""
        return self.floor + self.excess

    @property
    def long_range_accuracy(self) -> float:
        """Mean accuracy over the tokens of all slots."""
        return sum(slot.accuracy * slot.count for slot in self.slots) / sum(slot.count for slot in self.slots)


def check(model: Model) -> None:
    """Raise `UserError` for a model with another tokenizer than that of the tiny world."""
    if model.tokenizer.name != tiny.NAME:
        raise UserError(
            _("{name} does not use the tokenizer of the tiny world; choose a rung that was trained on it"),
            name=model.info.name,
        )


@thread_safe_cache
def _held_out(tokens: int) -> HeldOut:
    return HeldOut(tiny.automaton(), BatchedAutomaton(tiny.automaton()), tokens, SEED)


def quality(model: Model, tokens: int = TOKENS) -> Iterator[Progress | Quality]:
    """Measure a model on `tokens` of text. Yields progress in tokens, then the result.

    Raises `UserError` for a model with another tokenizer.
    """
    check(model)
    automaton, held_out = tiny.automaton(), _held_out(tokens)
    choices = {label: torch.tensor(sorted(automaton.tokens_at(label))) for label in automaton.labels()}
    hits, losses, done = defaultdict[str, list[bool]](list), defaultdict[str, list[float]](list), 0
    for positions, logprobs in held_out.logprobs(model.transformer):
        for row, edge in enumerate(held_out.edges[position] for position in positions.tolist()):
            if edge.label:
                tokens_here = choices[edge.label]
                likeliest = int(tokens_here[logprobs[row, tokens_here].argmax()])
                hits[edge.label].append(likeliest == edge.token)
                losses[edge.label].append(-logprobs[row, edge.token].item())
        done += len(positions)
        yield Progress(done, tokens)
    slots = []
    for label, correct in sorted(hits.items()):
        floors = automaton.floors(label)
        accuracy, loss = sum(correct) / len(correct), sum(losses[label]) / len(correct)
        slots.append(Slot(label, len(correct), accuracy, loss, floors.last_token, floors.context))
    transformer = model.transformer
    yield Quality(model.info.name, held_out.floor(transformer), held_out.excess(transformer), tuple(slots))
