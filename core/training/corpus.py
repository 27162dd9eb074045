"""Owns what a rung is trained on, as batches that depend on a seed and the step alone, and what it is measured on."""

from typing import Protocol

import torch
from torch import Tensor

from core.engine.model import Transformer
from core.loading import tokenizers
from core.tokenizers.tokenizer import Tokenizer
from core.training.measure import MEASURED, HeldOut
from core.world import tiny
from core.world.machine import Floors
from core.world.walker import Walker


class Corpus(Protocol):
    """Text to learn from, and other text to be measured on."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def words(self) -> str:
        """What it is, for a person."""

    @property
    def sha256(self) -> str:
        """Of the text, or of the grammar."""

    @property
    def floors(self) -> Floors | None:
        """The lowest losses there are, where they are known."""

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """The sequences of a step, each with the token after it: [count, length + 1]."""

    def loss(self, model: Transformer) -> float:
        """The validation loss, nats a token, on text that no batch holds."""


def numbers(seed: int, at: int) -> torch.Generator:
    """Random numbers of a seed at a place.

    torch's generator of the CPU takes 32 bits of a seed and drops the others, so the two are mixed into these.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + at) % 2**32)


class World:
    """The tiny world without end: no text is seen twice on purpose."""

    words = "the tiny world"

    def __init__(self, seed: int) -> None:
        self.seed, self.tokenizer = seed, tokenizers.load_tokenizer(tiny.NAME)
        self.sha256 = tiny.sha256()
        machine = tiny.machine()
        self.floors, self.walker = machine.floors(), Walker(machine)
        self._held = HeldOut(machine, self.walker, 2 * MEASURED, seed=-1)

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """Every fourth row begins with `<|endoftext|>` and a text, every fourth with a text, the others anywhere."""
        generator = numbers(self.seed, step)
        places = torch.rand(count, generator=generator, dtype=torch.float64)
        states = torch.searchsorted(self.walker.met, places, right=True).clamp_max_(len(self.walker.met) - 1)
        states[::4] = states[1::4] = 0
        ids = self.walker.walk(states, length + 1, generator)
        ids[::4] = torch.cat((torch.full_like(ids[::4, :1], self.tokenizer.end_of_text), ids[::4, :-1]), 1)
        return ids

    def loss(self, model: Transformer) -> float:
        """Its floor, which is exact, and how far it is above that."""
        return self._held.floor(model) + self._held.above(model)
