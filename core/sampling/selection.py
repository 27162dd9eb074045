"""The tokens that can still be drawn, and their scores, between two stages of a sampler."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from core.sampling.distribution import Distribution
from core.sampling.ranking import LOWEST, RankedToken, Ranking


@cache
def _all_ids(size: int) -> Any:
    """0 … size - 1, read only."""
    ids = np.arange(size)
    ids.flags.writeable = False
    return ids


class Selection:
    """Tokens with a score each, n of the V tokens of a vocabulary. It never changes: a stage returns another one.

    Scores are logits as far as no stage has changed them; their softmax over the selected tokens is what is drawn from.
    A selection may be empty, after a mask that allows nothing.
    """

    def __init__(self, ids: Any, scores: Any, ranking: Ranking | None = None) -> None:
        self.ids = ids
        """[n], ascending."""
        self.scores = scores
        """[n], float32 as the model gave them or float64 after a stage; -inf for a token that cannot be drawn."""
        self._ranking = ranking

    @classmethod
    def of(cls, distribution: Distribution) -> "Selection":
        """Every token, with its logit."""
        return cls(_all_ids(len(distribution.scores)), distribution.scores, distribution)

    def __len__(self) -> int:
        return len(self.ids)

    # What a stage reads ----------------------------------------------------------------------------------------------

    @property
    def ranking(self) -> Ranking:
        """The order of the tokens, for a selection that is not empty."""
        if self._ranking is None:
            self._ranking = Ranking(self.scores)
        return self._ranking

    @property
    def drawable(self) -> bool:
        """Whether a token can be drawn at all."""
        return len(self.ids) > 0 and self.ranking.highest > -np.inf

    @property
    def highest(self) -> float:
        """The highest score."""
        return self.ranking.highest

    @property
    def probabilities(self) -> Any:
        """softmax(scores), [n] float32."""
        return self.ranking.shares

    @property
    def logprobs(self) -> Any:
        """log softmax(scores), [n] float64, in nats."""
        logprobs: Any = self.scores.astype(np.float64)
        logprobs -= self.ranking.log_total
        return logprobs

    @property
    def entropy_nats(self) -> float:
        """The entropy of the softmax, in nats."""
        return self.ranking.entropy_nats

    def positions(self, ids: Sequence[int]) -> Any:
        """Where those of `ids` that are selected stand in `ids` and `scores`, ascending and each once."""
        wanted = np.unique(np.asarray(ids, dtype=np.int64))
        if len(self.ids) and len(self.ids) == self.ids[-1] + 1:  # all of them, from 0 on
            return wanted[(wanted >= 0) & (wanted < len(self.ids))]
        at = np.searchsorted(self.ids, wanted)
        return at[np.take(self.ids, at, mode="clip") == wanted] if len(self.ids) else at[:0]

    def finite(self, logits: Any) -> Any:
        """Other `logits` [V] at the selected ids, [n] float64; -inf becomes `LOWEST` below the highest."""
        return np.maximum(logits[self.ids].astype(np.float64), float(logits.max()) - LOWEST)

    def beside(self, logits: Any) -> Any:
        """log softmax of other `logits` [V] at the selected ids, [n] float64, in nats; finite as in `finite`."""
        total = Ranking(logits).log_total
        return self.finite(logits) - total

    # What a stage returns --------------------------------------------------------------------------------------------

    def keep(self, mask: Any) -> "Selection":
        """The tokens for which `mask` [n] is true."""
        return self if mask.all() else Selection(self.ids[mask], self.scores[mask])

    def without(self, positions: Any) -> "Selection":
        """All tokens but those at `positions`."""
        mask = np.ones(len(self.ids), dtype=bool)
        mask[positions] = False
        return self.keep(mask)

    def first(self, count: int) -> "Selection":
        """The `count` likeliest tokens, at least one."""
        return self if count >= len(self.ids) else self.keep(self.ranking.first_mask(max(1, count)))

    def up_to(self, position: int) -> "Selection":
        """The token at a position of `ids`, and all that come before it in the order."""
        return self.keep(self.ranking.up_to(position))

    def with_scores(self, scores: Any) -> "Selection":
        """The same tokens with other scores [n]."""
        return Selection(self.ids, scores)

    def scores_at(self, positions: Any, change: Any) -> "Selection":
        """The same tokens; `change` maps the scores at `positions`, float64, to those that replace them."""
        if not len(positions):
            return self
        scores = self.scores.astype(np.float64)
        scores[positions] = change(scores[positions])
        return self.with_scores(scores)

    # The draw --------------------------------------------------------------------------------------------------------

    def token_at(self, u: float) -> RankedToken:
        """The token whose interval of the cumulative probability contains `u` in [0, 1); `at` is its id."""
        if len(self.ids) == 1:
            return RankedToken(int(self.ids[0]), 0, 1.0)
        found = self.ranking.at_mass(u)
        return found._replace(at=int(self.ids[found.at]))

    def probabilities_of(self, ids: Any) -> Any:
        """The probabilities of `ids` [m], float64; 0 for those that are not selected."""
        found = np.zeros(len(ids))
        if self.drawable:
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            there = self.ids[at] == ids
            found[there] = self.probabilities[at[there]]
        return found

    def contains(self, ids: Any) -> Any:
        """Which of `ids` [m] are selected, bool."""
        if not len(self.ids):
            return np.zeros(len(ids), dtype=bool)
        return self.ids[np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)] == ids

    def probability(self, id: int) -> float:
        """The probability of an id; 0 if it is not selected."""
        at = int(np.searchsorted(self.ids, id))
        if at == len(self.ids) or self.ids[at] != id:
            return 0.0
        return float(self.probabilities[at])

    def spread(self, size: int) -> Any:
        """The probabilities of all `size` tokens of the vocabulary, [V] float32; 0 for those that are not selected."""
        if len(self.ids) == size:
            return self.probabilities
        whole = np.zeros(size, dtype=np.float32)
        if self.drawable:
            whole[self.ids] = self.probabilities
        return whole
