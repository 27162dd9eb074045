"""Logit bias."""

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, ClassVar

from core.language import N_
from core.sampling.stages import syntax
from core.sampling.stages.ban import completed, sequence
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

FORM = "bias=13+2;' my'-1.5"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bias(Stage):
    """Add a number to the scores of tokens: of ids, and of texts as the tokenizer splits them.

    A text of several tokens moves its last one where the others have just come, as with transformers'
    `sequence_bias`. Biases of one token add up.
    """

    NAME: ClassVar[str] = "bias"
    TITLE: ClassVar[str] = N_("logit bias")
    SHORT: ClassVar[str] = "bias"
    FORMULA: ClassVar[str] = "zᵢ ← zᵢ + bᵢ"
    SOURCE: ClassVar[str] = "OpenAI's API reference, logit_bias; transformers, SequenceBiasLogitsProcessor; llama.cpp"
    EXAMPLE: ClassVar[str] = FORM
    PLACE: ClassVar[float] = 1

    tokens: str = knob("", kind="list")

    def __post_init__(self) -> None:
        if self.tokens:
            _entries(self.tokens)

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        sums = self._sums(context)
        moved = selection.positions(list(sums))
        biases = [sums[id] for id in selection.ids[moved].tolist()]

        def add(scores: Any) -> Any:
            return scores + biases

        return selection.scores_at(moved, add)

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        sums = self._sums(context)
        return selection.raised(list(sums), list(sums.values()))

    def _sums(self, context: "DrawContext") -> dict[int, float]:
        """The bias of each id."""
        sums = dict[int, float]()
        for token, bias in _entries(self.tokens):
            ids = sequence(token, context.vocabulary)
            if completed(context.ids, ids):
                sums[ids[-1]] = sums.get(ids[-1], 0.0) + bias
        return sums


@lru_cache(maxsize=64)
def _entries(text: str) -> tuple[tuple[int | str, float], ...]:
    return syntax.entries(text, biases=True, form=FORM)
