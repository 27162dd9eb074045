"""The tokenizer of a model: an encoder of its ids, and the bytes of each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from core.formats.text import well_formed
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.pieces import ToBytes, byte_level
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer


class Encoder(Protocol):
    """Text to ids, by a library that is the reference for them."""

    kind: str
    """Its algorithm: `BPE`, `Unigram`, `SentencePiece BPE` …"""

    def ids(self, text: str, special: bool) -> list[int]:
        """Ids of `text`; with `special`, special tokens in it are tokens."""

    def starts(self, text: str, special: bool) -> tuple[list[int], list[int]]:
        """Ids of `text`, and for each the character at which it starts."""

    def continuation(self, text: str) -> list[int]:
        """Ids of `text` where it stands after other text."""

    def token(self, id: int) -> str | None:
        """The token of an id as the files write it; None where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerData:
    """What the files of a model say of its tokenizer."""

    encoder: Encoder
    to_bytes: ToBytes
    """The bytes of a token that is not among `verbatim`."""
    verbatim: Mapping[int, str] = field(default_factory=dict)
    """Tokens that stand for their text as it is written: added and special ones."""
    special: frozenset[int] = frozenset()
    """Ids that no ordinary text is encoded to."""
    begin: tuple[int, ...] = ()
    """Ids before every text."""
    end: tuple[int, ...] = ()
    """Ids after every text."""
    prefix_space: bool = False
    """Whether the first token of a text has a space that is not in the text."""
    end_of_text: int | None = None
    """The id from which an empty prompt starts."""
    stops: frozenset[int] = frozenset()
    """Ids that end a text."""
    template: ChatTemplate | None = None
    warning: str = ""
    """One line on what may be wrong with the ids."""


class ModelTokenizer(Tokenizer):
    """A model's own tokenizer; `vocab_size` is the model's."""

    def __init__(self, name: str, data: TokenizerData, vocab_size: int) -> None:
        self.name, self.vocab_size = name, vocab_size
        self.template, self.warning = data.template, data.warning
        self.begin, self.end = data.begin, data.end
        self.stops = frozenset(id for id in data.stops if 0 <= id < vocab_size)
        self._data, self._encoder = data, data.encoder
        named = next((id for id, content in data.verbatim.items() if content == END_OF_TEXT), 0)
        self.end_of_text = named if data.end_of_text is None else data.end_of_text

    @property
    def kind(self) -> str:
        """Its algorithm, such as `byte-level BPE`."""
        return f"byte-level {self._encoder.kind}" if self._data.to_bytes is byte_level else self._encoder.kind

    def special_ids(self) -> frozenset[int]:
        """Ids that no ordinary text is encoded to."""
        return self._data.special

    def inner_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` alone."""
        return self._encoder.ids(well_formed(text), special)

    def inner_starts(self, text: str, *, special: bool = False) -> tuple[list[int], list[int]]:
        """Ids of `text` alone, and for each the character at which it starts."""
        return self._encoder.starts(well_formed(text), special)

    def continuation(self, text: str) -> list[int]:
        """Ids of `text` where it stands after other text."""
        return self._encoder.continuation(well_formed(text))

    def _known(self, id: int) -> bytes | None:
        if (content := self._data.verbatim.get(id)) is not None:
            return content.encode()
        token = self._encoder.token(id)
        return None if token is None else self._data.to_bytes(token)

    def _is_special(self, id: int) -> bool:
        return id in self._data.special

    def _inner_typed(self, ids: Sequence[int]) -> list[bytes]:
        pieces = [self.piece(id) for id in ids]
        if self._data.prefix_space and pieces and not self._is_special(ids[0]):
            pieces[0] = pieces[0].removeprefix(b" ")
        return pieces
