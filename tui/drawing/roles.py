"""Who says a token of a conversation: the letter and the name of its style that panels show."""

from bisect import bisect_right
from collections.abc import Sequence

from core.language import _
from core.tokenizers.chat import Span

LETTERS = {"system": "ˢ", "user": "ᵘ", "assistant": "ᵃ", "tool": "ᵗ", "thinking": "∴"}
"""By style: what stands before the first id of a span. The template has no letter."""


class Roles:
    """The spans of a conversation, by token; none where the walk is no conversation."""

    def __init__(self, spans: Sequence[Span] = ()) -> None:
        self._spans = spans
        self._starts = [span.start for span in spans]

    def __bool__(self) -> bool:
        return bool(self._spans)

    def span(self, token: int) -> Span | None:
        """The span that a token belongs to; None for one that came after the spans were made."""
        found = self._spans[bisect_right(self._starts, token) - 1] if self._spans else None
        return found if found and token < found.end else None

    def style(self, token: int) -> str:
        """`template`, `system`, `user`, `assistant`, `tool` or `thinking`; empty where the walk is no conversation."""
        span = self.span(token)
        return (
            "" if span is None else "thinking" if span.thinking else span.role if span.role in LETTERS else "template"
        )

    def letter(self, token: int) -> str:
        """The letter of a span at its first token, else a space."""
        span = self.span(token)
        return LETTERS.get(self.style(token), " ") if span and span.start == token else " "

    def label(self, token: int) -> str:
        """Who says a token, in words."""
        span = self.span(token)
        return (
            "" if span is None else _("{role}, thinking").format(role=_(span.role)) if span.thinking else _(span.role)
        )
