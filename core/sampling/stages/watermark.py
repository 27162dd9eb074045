"""A watermark: tokens of a green list, which the tokens before choose, become likelier."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, cast

from core.errors import UserError
from core.language import N_, _
from core.sampling.stages.stage import Stage, knob

if TYPE_CHECKING:
    from core.sampling.context import DrawContext
    from core.sampling.greenlist import Greenlists, Scheme
    from core.sampling.partial_selection import PartialSelection, Selected
    from core.sampling.selection import Selection

SCHEMES = ("lefthash", "selfhash")
TRIED = 40
"""Tokens that selfhash tries, the likeliest ones, as in transformers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Watermark(Stage):
    """Add δ to the scores of the green list, a share γ of the vocabulary.

    `lefthash` chooses the list by the last token, `selfhash` by the last tokens and the token itself, as in
    transformers.
    """

    NAME: ClassVar[str] = "watermark"
    TITLE: ClassVar[str] = N_("watermark")
    SHORT: ClassVar[str] = "mark"
    FORMULA: ClassVar[str] = N_("zᵢ ← zᵢ + δ for i in the green list of the tokens before")
    SOURCE: ClassVar[str] = "Kirchenbauer et al. 2023, A watermark for large language models; transformers"
    PLACE: ClassVar[float] = 9.5

    bias: float = knob(0.0, 2.0, label="δ", low=-100.0, high=100.0, step=0.5, reach=(0.0, 20.0))
    ratio: float = knob(0.25, label="γ", low=0.01, high=0.99, step=0.05)
    scheme: str = knob("lefthash", label=N_("scheme"))
    width: int = knob(1, low=1, high=16)
    key: int = knob(15485863, low=1, high=2**31 - 1)

    def __post_init__(self) -> None:
        Stage.__post_init__(self)
        if self.scheme not in SCHEMES:
            raise UserError(
                _("the watermark's scheme must be {choices}, not {scheme!r}"),
                choices=" or ".join(SCHEMES),
                scheme=self.scheme,
            )

    def lists(self, vocab_size: int) -> "Greenlists":
        """Its green lists over a vocabulary."""
        from core.sampling.greenlist import greenlists  # noqa: PLC0415  # torch

        return greenlists(vocab_size, self.ratio, cast("Scheme", self.scheme), self.width, self.key)

    def apply(self, selection: "Selection", context: "DrawContext") -> "Selection":
        if len(context.ids) < self.width:
            return selection
        size = context.vocabulary.vocab_size
        ids, lists = list(context.ids[-self.width :]), self.lists(size)
        if self.scheme == "lefthash":
            return selection.scores_at(lists.green(ids)[selection.ids].nonzero()[0], self._raised)
        tried = selection.ids[selection.ranking.first(min(TRIED, len(selection)))].tolist()
        return selection.scores_at(
            selection.positions([id for id in tried if lists.green([*ids, id])[id]]), self._raised
        )

    def bounded(self, selection: "PartialSelection", context: "DrawContext") -> "Selected":
        if len(context.ids) < self.width:
            return selection
        ids, lists = list(context.ids[-self.width :]), self.lists(context.vocabulary.vocab_size)
        if self.scheme == "lefthash":
            return selection.raised(lists.green(ids).nonzero()[0], self.bias)
        tried = selection.first_ids(TRIED)
        if len(tried) < TRIED:
            raise selection.undecided()
        return selection.raised([id for id in tried if lists.green([*ids, id])[id]], self.bias)

    def _raised(self, scores: Any) -> Any:
        return scores + self.bias
