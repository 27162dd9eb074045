"""The next-token distribution of a model at one position, in float32 on the CPU, and the order of its tokens.

The order is likeliest first, and by id among equal logits. What a sampler makes of it is a `selection.Selection`.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from core.errors import UserError
from core.language import _
from core.sampling.ranking import Ranking
from core.sampling.selection import Selection, all_ids
from core.sampling.values import Score


class Distribution(Ranking):
    """The next-token distribution of a model at one position; the index of a token is its id.

    `logits` is [V] of any float dtype on any device; `from_logprobs` says that they are log-probabilities, so that the
    model's own logits are known up to a constant only. Raises `UserError` for a logit that is NaN or +inf.
    """

    rest = 0.0
    """The probability of tokens that are not known: there are none."""

    def __init__(self, logits: Tensor, *, from_logprobs: bool = False) -> None:
        self.from_logprobs = from_logprobs
        self.logits = logits.detach().to("cpu", torch.float32)
        """[V], float32, CPU."""
        super().__init__(self.logits.numpy())
        if not math.isfinite(self.highest):
            raise UserError(
                _("the model computes non-finite logits, because of its weights or of this dtype; choose another dtype")
            )
        self.probabilities = torch.from_numpy(self.shares)
        """softmax(logits), [V]."""
        self.entropy_bits = self.entropy_nats / math.log(2)
        """H = -Σ p log2 p, in bits."""

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.scores)

    @property
    def known(self) -> int:
        """V: the probability of every token is known."""
        return len(self.scores)

    def id_at(self, rank: int) -> int:
        """The token of a rank."""
        return self.at_rank(rank).at

    @property
    def rounded(self) -> None:
        """None: it is exact."""

    def margin(self) -> float:
        """The probability of the likeliest token minus that of the second."""
        first, second = [*self.shares[self.first(2)].tolist(), 0.0][:2]
        return first - second

    def score(self, id: int) -> Score:
        """Logit, log-probability, entropy and rank for `id` as the next token."""
        logit = float(self.scores[id])
        rank = int(np.count_nonzero(self.scores > logit)) if logit < self.highest else 0
        return Score(logit, logit - self.log_total, self.entropy_bits, rank)

    def logits_of(self, ids: Sequence[int]) -> list[float]:
        """The logits of some tokens."""
        found: list[float] = self.scores[list(ids)].tolist()
        return found

    def probabilities_of(self, ids: Sequence[int]) -> list[float]:
        """The probabilities of some tokens."""
        found: list[float] = self.shares[list(ids)].tolist()
        return found

    def mass_count(self, share: float) -> int:
        """How many of the likeliest tokens together have at least the probability `share`."""
        return self.at_mass(share, reached=True).rank + 1

    def selected(self) -> Selection:
        """All tokens, from which the stages of a sampler select."""
        return Selection(all_ids(len(self.scores)), self.scores, self)

    def others(self, ids: Sequence[int]) -> Tensor:
        """The logits of all tokens but `ids`, [V - n]."""
        kept = torch.ones(len(self.logits), dtype=torch.bool)
        kept[list(ids)] = False
        return self.logits[kept]

    def head(self, count: int) -> Tensor:
        """The ids of the `count` likeliest tokens, in order."""
        return torch.from_numpy(self.first(count))


def scores(logits: Tensor, ids: Sequence[int]) -> list[Score]:
    """The score of each of `ids` [n] under its own row of `logits` [n, V]."""
    return [Distribution(row).score(id) for row, id in zip(logits, ids, strict=True)]
