"""What a model is trained on and evaluated on, as one protocol; and the endless corpus of the tiny world.

A batch depends on the seed and the step alone, so a resumed training sees the batches that it would have seen.
"""

from typing import Protocol

import torch
from torch import Tensor

from core.engine.model import Transformer
from core.loading import tokenizers
from core.tokenizers.tokenizer import Tokenizer
from core.training.measure import HELD_OUT_PREDICTIONS, HeldOut
from core.world import tiny
from core.world.automaton import Floors
from core.world.batched import BatchedAutomaton


class Corpus(Protocol):
    """A text to train on, and held-out text of the same kind."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def name(self) -> str:
        """What a person knows it by."""

    @property
    def sha256(self) -> str:
        """Hash of the text, or of the grammar that it is sampled from."""

    @property
    def floors(self) -> Floors | None:
        """The lowest possible losses; None where the true distribution is unknown."""

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """The `count` sequences of a step, each with the token after it: ids [count, length + 1]."""

    def loss(self, model: Transformer) -> float:
        """The held-out loss in nats per token, on text that is in no batch."""


def generator(seed: int, number: int) -> torch.Generator:
    """A random generator for each pair of a seed and a number.

    Torch's CPU generator uses 32 bits of its seed only, so both are mixed into these.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + number) % 2**32)


class World:
    """Texts of the tiny world, sampled for each batch. No text is repeated on purpose."""

    name = "the tiny world"

    def __init__(self, seed: int) -> None:
        self.seed, self.tokenizer = seed, tokenizers.load_tokenizer(tiny.NAME)
        self.sha256 = tiny.sha256()
        automaton = tiny.automaton()
        self.floors, self.batched = automaton.floors(), BatchedAutomaton(automaton)
        self._held_out = HeldOut(automaton, self.batched, 2 * HELD_OUT_PREDICTIONS, seed=-1)

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """Ids [count, length + 1]. The first of four rows begins with `<|endoftext|>` and a text, the second with a
        text, the other two anywhere in a text."""
        random = generator(self.seed, step)
        uniform = torch.rand(count, generator=random, dtype=torch.float64)
        stationary = self.batched.stationary
        states = torch.searchsorted(stationary, uniform, right=True).clamp_max_(len(stationary) - 1)
        states[::4] = states[1::4] = 0
        ids = self.batched.sample(states, length + 1, random)
        ids[::4] = torch.cat((torch.full_like(ids[::4, :1], self.tokenizer.end_of_text), ids[::4, :-1]), 1)
        return ids

    def loss(self, model: Transformer) -> float:
        """The model's floor, which is exact, plus its excess over that."""
        return self._held_out.floor(model) + self._held_out.excess(model)
