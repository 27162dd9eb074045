"""Banned tokens and texts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

from core.language import N_
from core.sampling.stages import syntax
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext, Vocabulary
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

FORM = "ban=13;' my'"


def sequence(token: int | str, vocabulary: "Vocabulary") -> tuple[int, ...]:
    """The ids of an id or a text. Raises `ValueError` or `UserError` for an id outside the vocabulary."""
    if isinstance(token, int):
        vocabulary.piece(token)  # raises UserError for an id outside the vocabulary
        return (token,)
    return tuple(vocabulary.encode(token)[len(vocabulary.encode("")) :])


def completed(ids: Sequence[int], tokens: Sequence[int]) -> bool:
    """Whether `ids` end with all of `tokens` but the last, so that the last one would complete them."""
    before = list(tokens[:-1])
    return not before or list(ids[-len(before) :]) == before


@dataclass(frozen=True, kw_only=True, slots=True)
class Ban(Stage):
    """Remove tokens: ids, and texts as the tokenizer splits them.

    A text of several tokens loses its last one where the others have just come, as with transformers' `bad_words_ids`.
    A text is meant as it is written: ' my' with its space is another text than 'my'.
    """

    NAME: ClassVar[str] = "ban"
    TITLE: ClassVar[str] = "ban"
    SHORT: ClassVar[str] = "ban"
    FORMULA: ClassVar[str] = N_("remove i where i, or the text that i completes, is banned")
    SOURCE: ClassVar[str] = "transformers, NoBadWordsLogitsProcessor"
    EXAMPLE: ClassVar[str] = FORM
    PLACE: ClassVar[float] = 2

    tokens: str = knob("", kind="list")

    def __post_init__(self) -> None:
        if self.tokens:
            syntax.entries(self.tokens, biases=False, form=FORM)

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        return selection.without(selection.positions(self._banned(context)))

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        return selection.without(self._banned(context))

    def _banned(self, context: "DrawContext") -> list[int]:
        wanted = [sequence(token, context.vocabulary) for token, _ in _entries(self.tokens)]
        return [ids[-1] for ids in wanted if completed(context.ids, ids)]


@lru_cache(maxsize=64)
def _entries(text: str) -> tuple[tuple[int | str, float], ...]:
    return syntax.entries(text, biases=False, form=FORM)
