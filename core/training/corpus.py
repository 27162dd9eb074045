"""Owns what a rung is trained on, as batches that depend on a seed and the step alone, and what it is measured on."""

from typing import Protocol

import torch
from torch import Tensor

from core.tokenizer import Tokenizer
from core.world.machine import Floors, Machine

MEASURED = 4096
"""Predictions that a validation loss is the mean of, at least where there is so much text."""


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
    def validation(self) -> Tensor:
        """Ids, [n], that no batch holds."""

    @property
    def floors(self) -> Floors | None:
        """The lowest losses there are, where they are known."""

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """The sequences of a step, each with the token after it: [count, length + 1]."""


def numbers(seed: int, at: int) -> torch.Generator:
    """Random numbers of a seed at a place.

    torch's generator of the CPU takes 32 bits of a seed and drops the others, so the two are mixed into these.
    """
    return torch.Generator().manual_seed((seed * 0x9E3779B1 + at) % 2**32)


class Walker:
    """A machine as tensors: many texts at once, a token of each a step."""

    def __init__(self, machine: Machine) -> None:
        most = max(map(len, machine.edges))
        self.through = torch.ones(len(machine.edges), most, dtype=torch.float64)
        """Of each state the summed probabilities of its edges, [S, edges]; 1 where there are no more."""
        self.tokens = torch.zeros(len(machine.edges), most, dtype=torch.int64)
        self.after = torch.zeros(len(machine.edges), most, dtype=torch.int64)
        for state, edges in enumerate(machine.edges):
            self.through[state, : len(edges)] = torch.tensor([e.share for e in edges], dtype=torch.float64).cumsum(0)
            self.through[state, len(edges) - 1] = 1.0
            self.tokens[state, : len(edges)] = torch.tensor([edge.token for edge in edges])
            self.after[state, : len(edges)] = torch.tensor([edge.after for edge in edges])
        self.met = torch.tensor(machine.visits, dtype=torch.float64).cumsum(0) / machine.length
        """Summed shares of the states in a long text, [S]."""

    def walk(self, states: Tensor, length: int, generator: torch.Generator) -> Tensor:
        """`length` tokens from each of `states`, [rows, length]."""
        said = []
        for u in torch.rand(length, len(states), 1, generator=generator, dtype=torch.float64):
            edge = torch.searchsorted(self.through[states], u, right=True).clamp_max_(self.through.shape[1] - 1)
            said.append(self.tokens[states].gather(1, edge)[:, 0])
            states = self.after[states].gather(1, edge)[:, 0]
        return torch.stack(said, 1)


class World:
    """The tiny world without end: no text is seen twice on purpose."""

    words = "the tiny world"

    def __init__(self, seed: int) -> None:
        from core import tokenizer  # noqa: PLC0415
        from core.world import tiny  # noqa: PLC0415

        self.seed, self.tokenizer = seed, tokenizer.load(tiny.NAME)
        self.sha256 = tiny.sha256()
        machine = tiny.machine()
        self.floors, self.walker = machine.floors(), Walker(machine)
        run = machine.run(-1)
        self.validation = torch.tensor([next(run).token for _ in range(2 * MEASURED)])

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """Every fourth row begins with `<|endoftext|>` and a text, every fourth with a text, the others anywhere."""
        generator = numbers(self.seed, step)
        places = torch.rand(count, generator=generator, dtype=torch.float64)
        states = torch.searchsorted(self.walker.met, places, right=True).clamp_max_(len(self.walker.met) - 1)
        states[::4] = states[1::4] = 0
        ids = self.walker.walk(states, length + 1, generator)
        ids[::4] = torch.cat((torch.full_like(ids[::4, :1], self.tokenizer.end_of_text), ids[::4, :-1]), 1)
        return ids
