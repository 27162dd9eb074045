"""The tokens of a tokenizer as llguidance holds them."""

import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from core.errors import UserError
from core.language import _

if TYPE_CHECKING:
    from llguidance import LLTokenizer


class Tokens(Protocol):
    """What a constraint needs of a tokenizer."""

    @property
    def vocab_size(self) -> int:
        """V."""

    @property
    def end_of_text(self) -> int:
        """The id that ends a text where `stops` is empty."""

    @property
    def stops(self) -> Iterable[int]:
        """Ids that end a text."""

    def encode(self, text: str) -> list[int]:
        """The ids of a text."""

    def piece(self, id: int) -> bytes:
        """The bytes of an id."""

    def spelled(self, id: int) -> bytes:
        """The bytes of text of an id: empty for a special token and for an id without a token."""


class _Vocabulary:
    """The tokens as llguidance asks for them. It refers weakly to the tokenizer, so that the cache below can end."""

    bos_token_id = None
    is_tokenizer_wrapper = True

    def __init__(self, tokens: Tokens) -> None:
        self._tokenizer = weakref.ref(tokens)
        self.eos_token_id = min(ends(tokens))
        self.tokens = [tokens.spelled(id) for id in range(tokens.vocab_size)]
        self.special_token_ids = [id for id, piece in enumerate(self.tokens) if not piece]

    def __call__(self, text: str | bytes) -> list[int]:
        tokens = self._tokenizer()
        return tokens.encode(text if isinstance(text, str) else text.decode("utf-8", "replace")) if tokens else []


_known: "weakref.WeakKeyDictionary[Tokens, LLTokenizer]" = weakref.WeakKeyDictionary()


def ends(tokens: Tokens) -> frozenset[int]:
    """The ids with which a text that matches ends."""
    return frozenset(tokens.stops) or frozenset((tokens.end_of_text,))


def vocabulary(tokens: Tokens) -> "LLTokenizer":
    """The tokens of a tokenizer for llguidance; made once, which takes 0.3 s for 100,000 tokens."""
    from llguidance import LLTokenizer  # noqa: PLC0415

    found = _known.get(tokens)
    if found is None:
        made = _Vocabulary(tokens)
        if len(made.special_token_ids) == len(made.tokens):
            raise UserError(_("no token of this model is text, so no text can match; choose another model"))
        found = LLTokenizer(made, n_vocab=tokens.vocab_size, eos_token=sorted(ends(tokens)))  # type: ignore[arg-type]
        _known[tokens] = found
    return found
