"""Owns how a rung is measured on text that it did not learn: its loss, and how far that is from truth.

Only the second halves of windows count, so whatever is predicted, half a context or more came before it.
"""

from collections.abc import Iterator
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from core.engine.model import Transformer
from core.world import tiny
from core.world.machine import Machine
from core.world.walker import Walker

MEASURED = 4096
"""Predictions that a validation loss is the mean of, at least where there is so much text."""


@torch.inference_mode()
def validation_loss(model: Transformer, ids: Tensor, limit: int = MEASURED) -> float:
    """Mean -ln p of the second halves of windows of T that overlap by half, nats; `limit` predictions or a few more.

    So whatever is predicted, half a context or more came before it.
    """
    total, count = torch.zeros((), device=model.device), 0
    for inputs, targets in windows(ids, model.config.context, limit):
        half = inputs.shape[1] // 2
        logits = model(inputs.to(model.device))[:, half:]  # [B, T - half, V]
        total += F.cross_entropy(logits.flatten(0, 1), targets[:, half:].flatten().to(model.device), reduction="sum")
        count += targets[:, half:].numel()
    return total.item() / count


def windows(ids: Tensor, length: int, limit: int, batch: int = 16) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs [B, length] and the tokens after each, [B, length], whose second halves lie side by side in a text."""
    stride = max(1, length - length // 2)
    starts = torch.arange(0, len(ids) - length, stride)[: -(-limit // stride)]
    for part in starts.split(batch):
        whole = ids[part[:, None] + torch.arange(length + 1)]
        yield whole[:, :-1], whole[:, 1:]


class HeldOut:
    """Some text of the tiny world, and what is true after each of its tokens."""

    def __init__(self, machine: Machine, walker: Walker, tokens: int, seed: int) -> None:
        self.edges = list(islice(machine.run(seed), tokens))
        self.ids = torch.tensor([edge.token for edge in self.edges])
        self._floors, self._walker = machine.floors(), walker
        self._states = torch.tensor([0, *(edge.after for edge in self.edges)])
        """Before each token, and after the last."""
        self._shares = walker.through.diff(dim=1, prepend=torch.zeros(len(walker.through), 1, dtype=torch.float64))
        pairs = machine.pairs
        highest = max(token for pair in pairs for token in pair)
        self._after = torch.zeros(highest + 1, highest + 1, dtype=torch.float64)
        for (before, token), share in pairs.items():
            self._after[before, token] = share

    def floor(self, model: Transformer) -> float:
        """The lowest loss of a model that sees as far: the last token alone, or all of the text."""
        return self._floors.last_token if model.config.reach == 1 else self._floors.context

    def above(self, model: Transformer) -> float:
        """How much more a model's loss is than its floor, nats a token.

        That is the mean of Σ p (ln f - ln q) over the true p, the model's q and the best f that sees as far, so little
        is left to the chance of which text it is.
        """
        total, count = 0.0, 0
        for places, logprobs in self.logprobs(model):
            states = self._states[places]
            p, tokens = self._shares[states], self._walker.tokens[states]  # [n, edges]
            f = self._after[self.ids[places - 1, None], tokens] if model.config.reach == 1 else p
            terms = p * (f.clamp_min(1e-300).log() - logprobs.gather(1, tokens))
            total += torch.where(p > 0, terms, 0.0).sum().item()
            count += len(places)
        return total / count

    @torch.inference_mode()
    def logprobs(self, model: Transformer) -> Iterator[tuple[Tensor, Tensor]]:
        """Places, [n], and what the model says comes there, [n, V] in float64."""
        length = min(model.config.context, 2 * tiny.LONGEST)
        for inputs, after in windows(torch.arange(len(self.ids)), length, len(self.ids)):
            half = length // 2
            logits = model(self.ids[inputs].to(model.device))[:, half:].flatten(0, 1)
            yield after[:, half:].flatten(), logits.to("cpu", torch.float64).log_softmax(-1)
