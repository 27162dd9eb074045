"""What a stage may know besides the scores: the tokens before the position, the tokenizer, another distribution."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from core.errors import UserError
from core.language import _

GuideKind = Literal["prompt", "model"]


class Vocabulary(Protocol):
    """What stages need of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """V."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def piece(self, id: int) -> bytes:
        """The bytes of an id."""

    def spelled(self, id: int) -> bytes:
        """The bytes of text of an id: empty for a special token and for an id without a token."""

    @property
    def end_of_text(self) -> int:
        """The id that ends a text where `stops` is empty."""

    @property
    def stops(self) -> Iterable[int]:
        """Ids that end a text."""


@dataclass(frozen=True, slots=True)
class DrawContext:
    """Where a token is drawn."""

    ids: Sequence[int] = ()
    """The ids before it, those of the prompt included."""
    prompt_length: int = 0
    """How many of them are the prompt."""
    chance: float = 0.0
    """A second uniform number in [0, 1), for stages that are applied by chance."""
    tokens: Vocabulary | None = None
    """The tokenizer; None where only numbers are known."""
    surprisals: Sequence[float] = ()
    """-log2 of the probability it was drawn with, in bits, of each token before it that mirostat drew."""
    guide: Callable[[GuideKind, str], Any] | None = None
    """The logits [V] of the next token after another prompt, or in another model."""

    @property
    def generated(self) -> Sequence[int]:
        """The ids since the prompt."""
        return self.ids[self.prompt_length :]

    @property
    def vocabulary(self) -> Vocabulary:
        """The tokenizer. Raises `UserError` where it is not known."""
        if self.tokens is None:
            raise UserError(_("this stage of the sampler needs the tokens of a text"))
        return self.tokens

    def logits_of(self, kind: GuideKind, name: str) -> Any:
        """The logits [V], float32, of the same position after the prompt `name`, or in the model `name`.

        Raises `UserError` if they cannot be computed.
        """
        if self.guide is None:
            raise UserError(_("the {kind} {name!r} cannot be read here; switch the stage off"), kind=kind, name=name)
        return self.guide(kind, name)
