"""An automaton as tensors, which sample a batch of texts at once."""

import torch
from torch import Tensor

from core.world.automaton import Automaton


class BatchedAutomaton:
    """The edges of an automaton of S states in tensors [S, E]. E is the largest number of edges of a state."""

    def __init__(self, automaton: Automaton) -> None:
        states, most = len(automaton.edges), max(map(len, automaton.edges))
        self.cumulative = torch.ones(states, most, dtype=torch.float64)
        """Cumulative probabilities of the edges of each state, [S, E]; 1 from its last edge on."""
        self.tokens = torch.zeros(states, most, dtype=torch.int64)
        """Token ids of the edges, [S, E]; 0 past the last edge of a state."""
        self.next_states = torch.zeros(states, most, dtype=torch.int64)
        """The states that the edges lead to, [S, E]."""
        for state, edges in enumerate(automaton.edges):
            probabilities = torch.tensor([edge.probability for edge in edges], dtype=torch.float64)
            self.cumulative[state, : len(edges)] = probabilities.cumsum(0)
            self.cumulative[state, len(edges) - 1] = 1.0
            self.tokens[state, : len(edges)] = torch.tensor([edge.token for edge in edges])
            self.next_states[state, : len(edges)] = torch.tensor([edge.next_state for edge in edges])
        self.stationary = torch.tensor(automaton.visits, dtype=torch.float64).cumsum(0) / automaton.mean_length
        """Cumulative probabilities, [S], of being in each state at a random position of an endless series of texts."""

    def sample(self, states: Tensor, length: int, generator: torch.Generator) -> Tensor:
        """`length` tokens from each of the states [B]: token ids [B, length]."""
        uniform = torch.rand(length, len(states), 1, generator=generator, dtype=torch.float64)
        tokens = []
        for u in uniform:  # [B, 1]
            edge = torch.searchsorted(self.cumulative[states], u, right=True).clamp_max_(self.cumulative.shape[1] - 1)
            tokens.append(self.tokens[states].gather(1, edge)[:, 0])
            states = self.next_states[states].gather(1, edge)[:, 0]
        return torch.stack(tokens, 1)
