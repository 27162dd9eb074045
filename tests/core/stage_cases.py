"""Logits with ties, holes and extremes, texts that repeat themselves, and the comparison of two results of a stage."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from core.errors import UserError
from core.sampling.apply import apply_stages
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler

SIZE = 120


class Letters:
    """A vocabulary of 120 tokens; token 7 is a line feed, token 11 holds a colon."""

    vocab_size = SIZE

    def encode(self, text: str) -> list[int]:
        """Each letter is the token of its number in the alphabet."""
        return [ord(letter) - ord("a") for letter in text]

    def piece(self, id: int) -> bytes:
        if not 0 <= id < SIZE:
            raise UserError(f"no such token: {id}")
        return {7: b"\n", 11: b"x:y"}.get(id, b"<%d>" % id)


def normal(seed: int, scale: float = 1.0, shift: float = 0.0) -> Tensor:
    return shift + scale * torch.randn(SIZE, generator=torch.Generator().manual_seed(seed))


def with_holes(logits: Tensor, every: int) -> Tensor:
    logits = logits.clone()
    logits[::every] = -math.inf
    return logits


def with_extremes(logits: Tensor) -> Tensor:
    logits = logits.clone()
    logits[3], logits[50], logits[90] = 88.0, -1e4, -104.0
    return logits


CASES = {
    "usual": normal(1, 2.0),
    "flat": normal(2, 0.05),
    "peaked": normal(3, 12.0),
    "ties": normal(4, 2.0).mul(2).round().div(2),
    "coarse ties": normal(5, 1.5).round(),
    "holes": with_holes(normal(6, 2.0), 3),
    "extremes": with_extremes(normal(7, 3.0)),
    "far up": normal(8, 2.0, 1e4),
    "far down": normal(9, 2.0, -1e4),
    "two left": with_holes(with_holes(normal(10), 2), 1).index_fill(0, torch.tensor([5, 9]), 1.5),
}
TEXTS = {
    "short": [4],
    "plain": [1, 2, 3, 4, 5, 6],
    "repeats": [4, 5, 6, 9, 4, 5, 8, 4, 5, 6, 9, 4, 5],
    "runs": [3] * 9,
    "broken": [1, 2, 3, 7, 1, 2, 3, 5, 1, 2, 3],
    "breaker inside": [1, 2, 11, 3, 4, 1, 2, 11, 3],
    "long": [(n * n) % 13 for n in range(200)],
}


def context(ids: Sequence[int] = (), **more: Any) -> DrawContext:
    return DrawContext(ids=list(ids), tokens=Letters(), **more)


def result(logits: Tensor, stages: str, where: DrawContext = DrawContext()) -> tuple[set[int], Tensor]:
    """The ids that the stages leave, and the probabilities [V] in float64."""
    applied = apply_stages(Distribution(logits), Sampler.read(stages), where)
    selection = applied.checked()
    return set(selection.ids.tolist()), torch.from_numpy(selection.spread(len(logits))).double()


def difference(logits: Tensor, ours: tuple[set[int], Tensor], theirs: Tensor) -> float:
    """The worst difference of probabilities from `theirs`, scores [V] where -inf was removed.

    Where a cut goes through a tie, the two may keep other ones of the equal tokens: then the others are compared.
    """
    kept, shares = ours
    alive = {id for id in range(len(logits)) if theirs[id] > -math.inf}
    mine = {id for id in kept if logits[id] > -math.inf}
    if alive != mine:
        edge = {logits[id].item() for id in alive ^ mine}
        assert len(edge) == 1, "the kept sets differ beyond a tie"
        tied = [id for id in range(len(logits)) if logits[id].item() in edge]
        assert alive.intersection(tied), "only ours keeps a token"
        assert mine.intersection(tied), "only theirs keeps a token"
        shares, theirs = shares.clone(), theirs.clone()
        shares[tied], theirs[tied] = 0.0, -math.inf
        if not shares.any():
            return 0.0
        shares = shares / shares.sum()
    return (torch.softmax(theirs.double(), 0) - shares).abs().max().item()
