"""DRY: don't repeat yourself."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages.penalty import last
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

LARGEST_LOG = 88.7228391
"""ln of the largest float32: longer repetitions get the penalty at which float32 ends, as in llama.cpp."""


def suffix_lengths(ids: Sequence[int]) -> list[int]:
    """For each position before the last, how many tokens that end there equal those that end the text.

    The Z-function of the reversed text (Gusfield 1997, section 1.3), in linear time.
    """
    turned = list(reversed(ids))
    size = len(turned)
    lengths, left, right = [0] * size, 0, 0
    for at in range(1, size):
        same = min(lengths[at - left], right - at) if at < right else 0
        while at + same < size and turned[same] == turned[at + same]:
            same += 1
        lengths[at] = same
        if at + same > right:
            left, right = at, at + same
    return lengths[:0:-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Dry(Stage):
    """Lower the score of each token that would continue a repetition, the more the longer it is.

    L is the longest run at the end of the text that came before followed by that token; runs of at least `allowed`
    tokens count. A token with a breaker in it ends a run and gets no penalty. Tokens of the prompt count. As in
    llama.cpp, for breakers of one character; there a breaker may be longer and span tokens.
    """

    NAME: ClassVar[str] = "dry"
    TITLE: ClassVar[str] = "DRY"
    SHORT: ClassVar[str] = "DRY"
    FORMULA: ClassVar[str] = N_("zᵢ ← zᵢ − m · b^(L − a) where i would continue a run of L ≥ a tokens")
    SOURCE: ClassVar[str] = "Weidmann 2024, text-generation-webui pull request 5677; llama.cpp"
    PLACE: ClassVar[float] = 7

    multiplier: float = knob(0.0, 0.8, low=0.0, high=100.0, step=0.1, reach=(0.0, 5.0))
    base: float = knob(1.75, low=1.0, high=100.0, step=0.05, reach=(1.0, 4.0))
    allowed: int = knob(2, label=N_("allowed length"), low=1, high=1000, step=1, reach=(1, 20))
    window: int = knob(0, low=0, label=N_("last n, 0 all"), ladder=(64, 128, 256, 512, 1024, 2048, 0))
    breakers: str = knob('\n:"*')

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        penalties = self._penalties(context)
        seen = selection.positions(list(penalties))
        return selection.scores_at(seen, lambda scores: scores - [penalties[id] for id in selection.ids[seen].tolist()])

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        penalties = self._penalties(context)
        return selection.raised(list(penalties), [-each for each in penalties.values()])

    def _penalties(self, context: "DrawContext") -> dict[int, float]:
        """The penalty of each id that would continue a repetition."""
        ids = list(last(context.ids, self.window))
        longest = self._longest(ids, self._unbroken(ids, context))
        most = int(LARGEST_LOG / math.log(self.base)) if self.base > 1.000001 else 0
        return {id: self._penalty(run, most) for id, run in longest.items() if not self._breaks(id, context)}

    def _penalty(self, length: int, most: int) -> float:
        exponent = length - self.allowed
        return self.multiplier * self.base ** (min(exponent, most) if most else exponent)

    def _unbroken(self, ids: Sequence[int], context: "DrawContext") -> int:
        """How many tokens at the end hold no breaker."""
        return next((n for n, id in enumerate(reversed(ids)) if self._breaks(id, context)), len(ids))

    def _breaks(self, id: int, context: "DrawContext") -> bool:
        return bool(self.breakers) and any(each.encode() in context.vocabulary.piece(id) for each in self.breakers)

    def _longest(self, ids: Sequence[int], limit: int) -> dict[int, int]:
        """The length of the longest run of at most `limit` tokens that each next token would continue."""
        longest = dict[int, int]()
        if limit < self.allowed or ids[-1] not in ids[:-1]:
            return longest
        for length, (_unused, following) in zip(suffix_lengths(ids), pairwise(ids), strict=True):
            if (run := min(length, limit)) >= self.allowed:
                longest[following] = max(run, longest.get(following, 0))
        return longest
