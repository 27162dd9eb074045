"""Held-out loss, and its excess over the lowest possible one where the true distribution is known.

Text is cut into windows of T tokens that overlap by half, and only predictions in their second halves count. So each
prediction has at least T/2 tokens of context, and each token is predicted once.
"""

from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from core.engine.model import Transformer
from core.world import tiny
from core.world.automaton import Automaton
from core.world.batched import BatchedAutomaton

HELD_OUT_PREDICTIONS = 4096
"""Predictions that a held-out loss is the mean of, where the text is long enough."""


@torch.inference_mode()
def held_out_loss(model: Transformer, ids: Tensor, limit: int = HELD_OUT_PREDICTIONS) -> float:
    """Mean -ln p in nats per token over ids [n]. Ends with the window that reaches `limit` predictions."""
    total, count = torch.zeros((), device=model.device), 0
    for inputs, targets in windows(ids, model.config.context, limit):
        half = inputs.shape[1] // 2
        logits = model(inputs.to(model.device))[:, half:]  # [B, T - half, V]
        total += F.cross_entropy(logits.flatten(0, 1), targets[:, half:].flatten().to(model.device), reduction="sum")
        count += targets[:, half:].numel()
    return total.item() / count


def windows(ids: Tensor, length: int, limit: int, batch: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs [B, length] and targets [B, length] of windows over ids [n] whose second halves are adjacent.

    There are as many windows as `limit` predictions in second halves need, or as the text has.
    """
    stride = max(1, length - length // 2)
    starts = torch.arange(0, len(ids) - length, stride)[: -(-limit // stride)]
    for part in starts.split(batch):
        sequences = ids[part[:, None] + torch.arange(length + 1)]  # [B, length + 1]
        yield sequences[:, :-1], sequences[:, 1:]


class HeldOut:
    """Held-out text of the tiny world, with the true distribution after each of its tokens."""

    def __init__(self, automaton: Automaton, batched: BatchedAutomaton, tokens: int, seed: int) -> None:
        self.edges = list(islice(automaton.sample(seed), tokens))
        self.ids = torch.tensor([edge.token for edge in self.edges])
        self._floors, self._tokens = automaton.floors(), batched.tokens
        self._states = torch.tensor([0, *(edge.next_state for edge in self.edges)])
        """The state before each token, and after the last: [n + 1]."""
        zeros = torch.zeros(len(batched.cumulative), 1, dtype=torch.float64)
        self._probabilities = batched.cumulative.diff(dim=1, prepend=zeros)
        """True probability of each edge of each state, [S, E]."""
        highest = max(token for pair in automaton.bigrams for token in pair)
        self._bigrams = torch.zeros(highest + 1, highest + 1, dtype=torch.float64)
        """p(token | token before), [token before, token]."""
        for (before, token), probability in automaton.bigrams.items():
            self._bigrams[before, token] = probability

    def floor(self, model: Transformer) -> float:
        """The lowest possible loss of a model that sees as much, the last token or all of the text: nats per token."""
        return self._floors.last_token if model.config.reach == 1 else self._floors.context

    def excess(self, model: Transformer) -> float:
        """How far a model's loss is above its floor, nats per token.

        It is the mean of Σ p (ln f - ln q) over all tokens that can follow: p is the true distribution, q the model's,
        f the best one that sees as much as the model. This has much less variance than the mean of -ln q.
        """
        total, count = 0.0, 0
        for positions, logprobs in self.logprobs(model):
            states = self._states[positions]
            p, tokens = self._probabilities[states], self._tokens[states]  # each [n, E]
            f = self._bigrams[self.ids[positions - 1, None], tokens] if model.config.reach == 1 else p
            terms = p * (f.clamp_min(1e-300).log() - logprobs.gather(1, tokens))
            total += torch.where(p > 0, terms, 0.0).sum().item()
            count += len(positions)
        return total / count

    @torch.inference_mode()
    def logprobs(self, model: Transformer) -> Iterator[tuple[Tensor, Tensor]]:
        """Positions [n] of predicted tokens, and the model's ln p of the token there, [n, V] in float64."""
        length = min(model.config.context, 2 * tiny.MAX_LENGTH)
        for inputs, targets in windows(torch.arange(len(self.ids)), length, len(self.ids)):
            half = length // 2
            logits = model(self.ids[inputs].to(model.device))[:, half:].flatten(0, 1)
            yield targets[:, half:].flatten(), logits.to("cpu", torch.float64).log_softmax(-1)
