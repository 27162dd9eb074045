"""Text to ids and back: tiktoken encodings, tokens as bytes, incremental UTF-8."""

import codecs
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

import tiktoken

from core.errors import UserError
from core.formats.text import well_formed
from core.language import _
from core.tokenizers.chat_template import ChatTemplate

END_OF_TEXT = "<|endoftext|>"
LONGEST_WHITESPACE = 200_000
"""Characters of white space in a row that tiktoken is given at once."""
_TOO_LONG = re.compile(rf"(?<!\s)\s{{{LONGEST_WHITESPACE + 1},}}")


class Tokenizer:
    """A tiktoken encoding with a name. A piece is the bytes of one token."""

    template: ChatTemplate | None = None
    """The chat template, where the model's files have one."""
    stops: frozenset[int] = frozenset()
    """Ids that end a text. A model with random weights has none."""
    originals: tuple[int, ...] = ()
    """For each id its id in cl100k, where the vocabulary was pruned from cl100k; else empty."""
    begin: tuple[int, ...] = ()
    """Ids that stand before every text, such as BOS."""
    end: tuple[int, ...] = ()
    """Ids that stand after every text, such as the EOS of T5."""
    warning: str = ""
    """One line on what may be wrong with the ids; empty where nothing is."""

    def __init__(self, name: str, encoding: tiktoken.Encoding) -> None:
        self.name = name
        self.encoding = encoding
        self.vocab_size = encoding.n_vocab
        """V: one more than the highest id. Ids without a token count too."""
        self.end_of_text = encoding.encode_single_token(END_OF_TEXT)

    @property
    def kind(self) -> str:
        """Its algorithm, such as `byte-level BPE`; empty where that is not known."""
        return "byte-level BPE" if self.encoding.max_token_value > 256 else "bytes"

    def special_ids(self) -> frozenset[int]:
        """Ids that no ordinary text is encoded to, as far as they are known without asking."""
        return frozenset(self.encoding.encode_single_token(token) for token in self.encoding.special_tokens_set)

    def encode(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` between the `begin` and `end` ids. `<|endoftext|>` and the like are text unless `special`.

        Half of a surrogate pair becomes U+FFFD. `begin` and `end` are not repeated where `text` has them.
        """
        ids, begin, end = self.inner_ids(text, special=special), list(self.begin), list(self.end)
        ids = ids if begin and ids[: len(begin)] == begin else begin + ids
        return ids if end and ids[-len(end) :] == end else ids + end

    def inner_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` alone, without the `begin` and `end` ids."""
        allowed = self.encoding.special_tokens_set if special else set()
        return [
            id
            for part in split_long_whitespace(well_formed(text))
            for id in self.encoding.encode(part, allowed_special=allowed, disallowed_special=())
        ]

    def inner_starts(self, text: str, *, special: bool = False) -> tuple[list[int], list[int]]:
        """`inner_ids`, and for each the character of `text` at which it starts."""
        ids = self.inner_ids(text, special=special)
        starts, at, decoder = [], 0, Decoder()
        for id in ids:
            starts.append(at)
            at += len(decoder.feed(self.piece(id)))
        return ids, starts

    def continuation(self, text: str) -> list[int]:
        """Ids of `text` where it stands after other text: without `begin`, `end` and a space that is not in `text`."""
        return self.inner_ids(text)

    def piece(self, id: int) -> bytes:
        """The bytes of an id; `<|unused id|>` for one without a token. Raises `UserError` for an id outside V."""
        if not 0 <= id < self.vocab_size:
            raise UserError(
                _("{id} is not a token id of {name} (allowed: 0 to {last})"),
                id=id,
                name=self.name,
                last=self.vocab_size - 1,
            )
        known = self._known(id)
        return f"<|unused {id}|>".encode() if known is None else known

    def _known(self, id: int) -> bytes | None:
        """The bytes of an id; None where it has no token."""
        try:
            return self.encoding.decode_single_token_bytes(id)
        except KeyError:
            return None

    def spelled(self, id: int) -> bytes:
        """The bytes of text of an id: empty for a special token and for an id without a token."""
        return b"" if self._is_special(id) else self._known(id) or b""

    def _is_special(self, id: int) -> bool:
        return self.encoding.is_special_token(id)

    def text(self, ids: Sequence[int]) -> str:
        """The text of `ids`; bytes that are not UTF-8 are escaped (`\\xe2`)."""
        pieces = {id: self.piece(id) for id in dict.fromkeys(ids)}  # a long text has few of them
        return b"".join(map(pieces.__getitem__, ids)).decode("utf-8", "backslashreplace")

    def typed(self, ids: Sequence[int]) -> list[bytes]:
        """The bytes of text that each of `ids`, which begin a text, came from: none for the `begin` and `end` ids.

        Together they are the text that was encoded, unless the tokenizer normalizes text.
        """
        begin = len(self.begin) if tuple(ids[: len(self.begin)]) == self.begin else 0
        stop = len(ids) - len(self.end)
        end = len(self.end) if self.end and stop >= begin and tuple(ids[stop:]) == self.end else 0
        return [b""] * begin + self._inner_typed(ids[begin : len(ids) - end]) + [b""] * end

    def _inner_typed(self, ids: Sequence[int]) -> list[bytes]:
        """`typed` of ids without the `begin` and `end` ids."""
        return [self.piece(id) for id in ids]

    def written(self, ids: Sequence[int]) -> str:
        """The text that `ids` came from; bytes that are not UTF-8 are escaped (`\\xe2`)."""
        return b"".join(self.typed(ids)).decode("utf-8", "backslashreplace")

    def spell(self, ids: Sequence[int]) -> list[bytes]:
        """`typed`, with nothing for special tokens."""
        return [b"" if self._is_special(id) else piece for id, piece in zip(ids, self.typed(ids), strict=True)]


@lru_cache(maxsize=8)
def same_tokens(a: Tokenizer, b: Tokenizer) -> bool:
    """Whether each id is the same token in both."""
    return a is b or (a.vocab_size == b.vocab_size and all(a.piece(id) == b.piece(id) for id in range(a.vocab_size)))


def split_long_whitespace(text: str) -> Iterator[str]:
    """`text` in parts that tiktoken can split: its patterns need memory for each character of a white-space run."""
    at = 0
    for run in _TOO_LONG.finditer(text):
        for end in range(run.start() + LONGEST_WHITESPACE, run.end(), LONGEST_WHITESPACE):
            yield text[at:end]
            at = end
    yield text[at:]


def piece_text(piece: bytes) -> str:
    """The text of one token; a part of a character is escaped (`\\xe2\\x80`)."""
    return piece.decode("utf-8", "backslashreplace")


class Decoder:
    """Decodes pieces one by one; a character appears with the piece that completes it."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")

    def feed(self, piece: bytes) -> str:
        """The text that `piece` completes, which may be empty."""
        return self._decoder.decode(piece)

    def finish(self) -> str:
        """The bytes of a character that was not completed, escaped."""
        return self._decoder.decode(b"", final=True)
