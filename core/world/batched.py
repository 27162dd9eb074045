"""An automaton as tensors, which sample a batch of texts at once."""

import torch
from torch import Tensor

from core.world.automaton import Automaton


class BatchedAutomaton:
    """The edges of an automaton of S states in tensors [S, E]. E is the largest number of edges of a state."""

    def __init__(self, automaton: Automaton) -> None:
        counts = torch.tensor([len(edges) for edges in automaton.edges])
        places = torch.arange(int(counts.max()))
        exists = places < counts[:, None]
        every = [edge for edges in automaton.edges for edge in edges]

        def table(values: list[float] | list[int], dtype: torch.dtype) -> Tensor:
            """Values of every edge, in the row of its state; 0 past the last edge."""
            return torch.zeros(exists.shape, dtype=dtype).masked_scatter(exists, torch.tensor(values, dtype=dtype))

        self.cumulative = table([edge.probability for edge in every], torch.float64).cumsum(1)
        """Cumulative probabilities of the edges of each state, [S, E]; 1 from its last edge on."""
        self.cumulative[places >= counts[:, None] - 1] = 1.0
        self.tokens = table([edge.token for edge in every], torch.int64)
        """Token ids of the edges, [S, E]; 0 past the last edge of a state."""
        self.next_states = table([edge.next_state for edge in every], torch.int64)
        """The states that the edges lead to, [S, E]."""
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
