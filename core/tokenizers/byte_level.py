"""Byte-level BPE with a model's own ids, split pattern, added tokens and beginning of text.

tiktoken does the merging. It requires that the id of a token is also its rank among the merges, which in these files it
need not be, so tiktoken's ranks are translated to the model's ids.
"""

import unicodedata
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import tiktoken

from core.errors import UserError
from core.formats.text import well_formed
from core.tokenizers.added_tokens import AddedToken, AddedTokenFinder
from core.tokenizers.chat_template import ChatTemplate
from core.tokenizers.tokenizer import END_OF_TEXT, Tokenizer, split_long_whitespace


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerData:
    """What the files of a model say of its tokenizer."""

    ids: Mapping[str, int]
    """Ordinary tokens, each byte written as the character of `BYTE_OF` that stands for it."""
    merges: Iterable[tuple[str, str]]
    """In order of priority; iterated over once."""
    pattern: str
    """The regular expression that splits a text before merging."""
    added: Sequence[AddedToken] = ()
    nfc: bool = False
    """Whether text is normalized to Unicode NFC first."""
    add_prefix_space: bool = False
    """Whether a space is put before a text that does not begin with one."""
    ignore_merges: bool = False
    """Whether a part of the text that is a token is taken whole, even where no merges lead to it."""
    unknown_id: int | None = None
    """The id for a byte that has no token; None drops such a byte."""
    bos_ids: tuple[int, ...] = ()
    """Ids before every text."""
    end_of_text: int | None = None
    """The id from which an empty prompt starts."""
    stops: frozenset[int] = frozenset()
    """Ids that end a text."""
    template: ChatTemplate | None = None


def _byte_alphabet() -> dict[str, int]:
    """The printable characters that stand for bytes in the files (Radford et al. 2019, `bytes_to_unicode`)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}


BYTE_OF = _byte_alphabet()
_NONE = -1
"""In an array of ids or ranks: there is none."""


class ModelTokenizer(Tokenizer):
    """A model's own tokenizer. Raises `UserError` for merges that do not fit its vocabulary."""

    def __init__(self, name: str, data: TokenizerData, vocab_size: int) -> None:
        ranks, self._id_of_rank = _ranks(data)
        self._rank_of_id, self._other_pieces = _pieces(data, ranks)
        self.name = name
        self.encoding = tiktoken.Encoding(name, pat_str=data.pattern, mergeable_ranks=ranks, special_tokens={})
        ranks.clear()  # tiktoken holds a copy and a reference to this dict, which is large
        self.vocab_size = vocab_size
        self.template = data.template
        self.begin = tuple(data.bos_ids)
        self.stops = frozenset(id for id in data.stops if 0 <= id < vocab_size)
        self._data = replace(data, ids={}, merges=())  # the encoding has them now, and they are large
        self._added = {each.content: each.id for each in data.added}
        self._always_found = AddedTokenFinder(each for each in data.added if not each.special)
        self._found_with_special = AddedTokenFinder(data.added)
        self._special_ids = {each.id for each in data.added if each.special}
        self.end_of_text = next(id for id in (data.end_of_text, self._added.get(END_OF_TEXT), 0) if id is not None)

    def inner_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text` alone."""
        return list(self._encode_without_bos(well_formed(text), special))

    def _encode_without_bos(self, text: str, special: bool) -> Iterator[int]:
        finder = self._found_with_special if special else self._always_found
        for part in finder.split(text):
            if isinstance(part, AddedToken):
                yield part.id
            else:
                yield from self._encode_ordinary(part)

    def _encode_ordinary(self, text: str) -> Iterator[int]:
        if self._data.nfc:
            text = unicodedata.normalize("NFC", text)
        if self._data.add_prefix_space and not text.startswith(" "):
            text = " " + text
        for part in split_long_whitespace(text):
            for rank in self.encoding.encode_ordinary(part):
                if (id := self._id_of_rank[rank]) != _NONE:
                    yield id

    def _known(self, id: int) -> bytes | None:
        if id in self._other_pieces or not 0 <= id < len(self._rank_of_id) or self._rank_of_id[id] == _NONE:
            return self._other_pieces.get(id)
        return self.encoding.decode_single_token_bytes(self._rank_of_id[id])

    def _is_special(self, id: int) -> bool:
        return id in self._special_ids


def _ranks(data: TokenizerData) -> tuple[dict[bytes, int], "array[int]"]:
    """tiktoken's ranks (the 256 bytes, then the results of merges), and the model's id for each rank."""
    ranks = {bytes([byte]): byte for byte in range(256)}
    unknown = _NONE if data.unknown_id is None else data.unknown_id
    ids = array("q", [unknown]) * 256
    for char, byte in BYTE_OF.items():
        ids[byte] = data.ids.get(char, unknown)
    merged = (left + right for left, right in data.merges)
    for token in chain(merged, data.ids if data.ignore_merges else ()):
        if token not in data.ids:
            raise UserError(f"the tokenizer is corrupt: it merges to {token!r}, which has no id; download it again")
        if (piece := _to_bytes(token)) not in ranks:
            ranks[piece] = len(ranks)
            ids.append(data.ids[token])
    return ranks, ids


def _pieces(data: TokenizerData, ranks: Mapping[bytes, int]) -> tuple["array[int]", dict[int, bytes]]:
    """tiktoken's rank of each id, and the bytes of the ids that have no rank; tiktoken holds those of the rest."""
    rank_of_id, others = array("q", [_NONE]) * (len(data.ids) + len(data.added)), {}
    for token, id in data.ids.items():
        piece = _to_bytes(token)
        if piece in ranks and 0 <= id < len(rank_of_id):
            rank_of_id[id] = ranks[piece]
        else:
            others[id] = piece
    return rank_of_id, others | {each.id: each.content.encode() for each in data.added}


def _to_bytes(token: str) -> bytes:
    """The bytes of a token; a token with a character outside the byte alphabet is plain text."""
    try:
        return bytes([BYTE_OF[char] for char in token])
    except KeyError:
        return token.encode()


def not_byte_level(source: str, found: str) -> UserError:
    """The error for a file that holds another kind of tokenizer."""
    return UserError(
        f"{source} holds {found}, which is not supported (supported: byte-level BPE, as GPT-2, Llama 3, Qwen and "
        "SmolLM2 have it); choose another model"
    )


def parse_merge(merge: str | Sequence[str]) -> tuple[str, str]:
    """A merge, which files write as one string with a space or as two strings."""
    left, right = merge.split(" ") if isinstance(merge, str) else merge
    return left, right
