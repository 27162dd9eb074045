"""Owns a machine as tensors: many texts at once, and what is true after each of their tokens."""

import torch
from torch import Tensor

from core.world.machine import Machine


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
        numbers = torch.rand(length, len(states), 1, generator=generator, dtype=torch.float64)
        said = []
        for u in numbers:
            edge = torch.searchsorted(self.through[states], u, right=True).clamp_max_(self.through.shape[1] - 1)
            said.append(self.tokens[states].gather(1, edge)[:, 0])
            states = self.after[states].gather(1, edge)[:, 0]
        return torch.stack(said, 1)
