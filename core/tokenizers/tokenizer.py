"""Owns the way from text to ids and back: tiktoken encodings, pieces as bytes, incremental UTF-8. Needs no torch."""

import codecs
import re
from collections.abc import Iterator, Sequence

import tiktoken

from core.errors import UserError
from core.tokenizers.template import Template

END_OF_TEXT = "<|endoftext|>"
LONGEST_BLANK = 200_000
"""Characters of white space in a row that are read at once."""
_LONG_BLANK = re.compile(rf"(?<!\s)\s{{{LONGEST_BLANK + 1},}}")


class Tokenizer:
    """A tiktoken encoding under the name a person chose."""

    template: Template | None = None
    """How the model is spoken with, where its files say so."""
    stops: frozenset[int] = frozenset()
    """Ids with which the model ends what it has to say. Random weights learned none."""
    originals: tuple[int, ...] = ()
    """Of each id the one it has in cl100k, where the vocabulary was cut from that."""

    def __init__(self, name: str, encoding: tiktoken.Encoding) -> None:
        self.name = name
        self.encoding = encoding
        self.vocab_size = encoding.n_vocab
        """V: one more than the highest id, so ids that mean nothing count too."""
        self.end_of_text = encoding.encode_single_token(END_OF_TEXT)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` (S4). Text such as `<|endoftext|>` is plain text unless `special` is set.

        Half a surrogate pair, which is no text, becomes U+FFFD.
        """
        allowed = self.encoding.special_tokens_set if special else set()
        return [
            id
            for part in readable(well_formed(text))
            for id in self.encoding.encode(part, allowed_special=allowed, disallowed_special=())
        ]

    def piece(self, id: int) -> bytes:
        """The bytes an id stands for; an id without meaning stands for its own number. Raises `UserError` outside V."""
        if not 0 <= id < self.vocab_size:
            raise UserError(f"no token has the id {id}; {self.name} has ids 0 to {self.vocab_size - 1}")
        known = self._known(id)
        return f"<|unused {id}|>".encode() if known is None else known

    def _known(self, id: int) -> bytes | None:
        """The bytes of an id that has a meaning."""
        try:
            return self.encoding.decode_single_token_bytes(id)
        except KeyError:
            return None

    def spelled(self, id: int) -> bytes:
        """The bytes of text an id stands for: none where it is special or without meaning."""
        return b"" if self._is_special(id) else self._known(id) or b""

    def _is_special(self, id: int) -> bool:
        return self.encoding.is_special_token(id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of whole tokens; bytes that are no UTF-8 are shown escaped."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "backslashreplace")


def well_formed(text: str) -> str:
    """`text` with U+FFFD for each half of a surrogate pair that stands alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def readable(text: str) -> Iterator[str]:
    """`text` in parts that tiktoken can read: its patterns take memory for every character of a run of white space."""
    at = 0
    for run in _LONG_BLANK.finditer(text):
        for end in range(run.start() + LONGEST_BLANK, run.end(), LONGEST_BLANK):
            yield text[at:end]
            at = end
    yield text[at:]


def piece_text(piece: bytes) -> str:
    """One token's text by itself; part of a character is shown escaped (`\\xe2\\x80`)."""
    return piece.decode("utf-8", "backslashreplace")


class Decoder:
    """Turns pieces into text as they come; a character appears with the token that completes it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, piece: bytes) -> str:
        """The text that `piece` completes, which may be empty."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """What is left of a character that never was completed, escaped."""
        return self._decoder.decode(b"", final=True)
