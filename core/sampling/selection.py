"""The tokens that can still be drawn, and their scores, between two stages of a sampler."""

from collections.abc import Sequence
from functools import cache
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from core.sampling.bounds import Bounded
from core.sampling.ranking import LOWEST, RankedToken, Ranking

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import Selected
    from core.sampling.stages.stage import Stage


@cache
def all_ids(size: int) -> Any:
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

    complete = True
    """Whether the score of every selected token is known."""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def count(self) -> int:
        """How many tokens are selected."""
        return len(self.ids)

    def through(self, stage: "Stage", context: "DrawContext") -> "Selected":
        """What a stage leaves. Raises `UserError` if it cannot be computed."""
        return stage.apply(self, context)

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

    # What a stage did ------------------------------------------------------------------------------------------------

    def change(self, after: "Selected") -> tuple[Bounded, Bounded, Bounded]:
        """How many tokens a stage removed that left `after`, their mass, and the total variation distance."""
        if after is self or not after.drawable or not isinstance(after, Selection):
            gone = 0 if after is self else len(self)
            return gone, float(gone > 0), float(gone > 0)
        same = len(after) == len(self)
        kept = self.probabilities if same else self.probabilities[np.searchsorted(self.ids, after.ids)]
        removed = max(0.0, 1.0 - (1.0 if same else float(kept.sum(dtype=np.float64))))
        distance = 0.5 * (removed + float(np.abs(after.probabilities - kept).sum(dtype=np.float64)))
        return len(self) - len(after), removed, distance

    # The draw --------------------------------------------------------------------------------------------------------

    def token_at(self, u: float) -> RankedToken:
        """The token whose interval of the cumulative probability contains `u` in [0, 1); `at` is its id."""
        if len(self.ids) == 1:
            return RankedToken(int(self.ids[0]), 0, 1.0)
        found = self.ranking.at_mass(u)
        return found._replace(at=int(self.ids[found.at]))

    def interval(self, id: int) -> tuple[float, float]:
        """The values of u that draw a selected id, [from, to)."""
        at = int(self.positions([id])[0])
        end = min(1.0, self.ranking.at_rank(self.ranking.rank(at)).cumulative)
        return max(0.0, end - self.probability(id)), end

    def intervals(self, count: int) -> dict[int, tuple[float, float]]:
        """The values of u that draw each of the `count` likeliest tokens."""
        first = self.ranking.first(min(count, len(self.ids)))
        edges = list(accumulate(self.probabilities[first].tolist(), initial=0.0))
        total = edges[-1] if len(first) == len(self.ids) else max(1.0, edges[-1])  # float32 shares sum to nearly 1
        return dict(zip(self.ids[first].tolist(), pairwise(edge / total for edge in edges), strict=False))

    def first_ids(self, count: int) -> list[int]:
        """The likeliest tokens, at most `count`."""
        found: list[int] = self.ids[self.ranking.first(min(count, len(self.ids)))].tolist()
        return found

    def probabilities_of(self, ids: Any) -> list[Bounded]:
        """The probabilities of `ids` [m]; 0 for those that are not selected."""
        found = np.zeros(len(ids))
        if self.drawable:
            at = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
            there = self.ids[at] == ids
            found[there] = self.probabilities[at[there]]
        return list(found.tolist())

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
