"""Encodes with the sentencepiece library, which is the reference for tokenizer.model and for such vocabularies in GGUF.

Source of the fields: sentencepiece_model.proto of https://github.com/google/sentencepiece.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from core.errors import UserError
from core.formats.gguf import StringArray
from core.language import _
from core.tokenizers.added_tokens import AddedToken, AddedTokenFinder

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""Types of pieces, in the proto and in `tokenizer.ggml.token_type`."""
UNIGRAM, BPE = 1, 2
"""Values of `model_type`."""
_TRAINER, _NORMALIZER = 2, 3
_SCORE_AND_TYPE = struct.Struct("<BfBB")
"""The fields 2 and 3 of a piece, with their tags."""
_WITHOUT_PREFIX = b"\x1a\x02\x18\x00"
"""A second normalizer_spec {add_dummy_prefix: false}: the proto merges it into the first."""


class Piece(NamedTuple):
    """An entry of the vocabulary."""

    text: str
    score: float
    type: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PieceModel:
    """A vocabulary of SentencePiece, and how a text is prepared for it."""

    proto: bytes
    """The model as the library reads it."""
    add_prefix: bool
    """Whether a space is put before a text."""
    suffix: bool = False
    """Whether spaces belong to the end of words."""
    algorithm: int = UNIGRAM


class SentencePieceEncoder:
    """A vocabulary of SentencePiece with tokens that are found before it, for any thread.

    `prefix_after_added` says whether the space is also put before a text that follows an added token. `texts` are the
    pieces as the file has them, where they are not those of the model.
    Raises `UserError` for a vocabulary that the library refuses.
    """

    def __init__(
        self,
        model: PieceModel,
        added: Iterable[AddedToken],
        source: str,
        *,
        prefix_after_added: bool,
        texts: StringArray | None = None,
    ) -> None:
        tokens = list(added)
        self.kind = "SentencePiece BPE" if model.algorithm == BPE else "SentencePiece Unigram"
        self._texts = texts
        self._always_found = AddedTokenFinder(each for each in tokens if not each.special)
        self._found_with_special = AddedTokenFinder(tokens)
        self._prefix_after_added = prefix_after_added
        self._inside = _load(model.proto + _WITHOUT_PREFIX, source)
        self._begin = _load(model.proto, source) if model.add_prefix else self._inside

    def ids(self, text: str, special: bool) -> list[int]:
        """Ids of `text`."""
        return [id for ids, _, _ in self._parts(text, special) for id in ids]

    def starts(self, text: str, special: bool) -> tuple[list[int], list[int]]:
        """Ids of `text`, and for each the character at which it starts, as far as the tokens spell the text."""
        all_ids: list[int] = []
        starts: list[int] = []
        for ids, begin, length in self._parts(text, special):
            spelled = "".join(self._inside.id_to_piece(id) for id in ids)
            at = -(len(spelled) - length) if 0 < len(spelled) - length <= 1 else 0  # the space before the text
            for id in ids:
                starts.append(begin + min(max(at, 0), length))
                at += len(self._inside.id_to_piece(id)) if not self._inside.is_byte(id) else 1
            all_ids += ids
        return all_ids, starts

    def continuation(self, text: str) -> list[int]:
        """Ids of `text` without a space that the tokenizer would put before it."""
        return list(self._inside.encode(text))

    def token(self, id: int) -> str | None:
        """The piece of an id."""
        if self._texts is not None:
            return self._texts[id] if id < len(self._texts) else None
        return self._inside.id_to_piece(id) if id < self._inside.get_piece_size() else None

    def special_ids(self) -> Iterator[int]:
        """Ids that no text is encoded to, or only one that has no token."""
        model = self._inside
        return (id for id in range(model.get_piece_size()) if model.is_control(id) or model.is_unknown(id))

    def _parts(self, text: str, special: bool) -> Iterator[tuple[list[int], int, int]]:
        """Ids of each part of a text, the character at which it begins, and its length."""
        begin, first = 0, True
        for part, token in (self._found_with_special if special else self._always_found).split(text):
            if token:
                yield [token.id], begin, len(part)
                first = self._prefix_after_added
            else:
                yield list((self._begin if first else self._inside).encode(part)), begin, len(part)
                first = False
            begin += len(part)


def _load(proto: bytes, source: str) -> Any:
    from sentencepiece import SentencePieceProcessor  # noqa: PLC0415  # most models do not need it

    try:
        processor = SentencePieceProcessor()
        processor.LoadFromSerializedProto(proto)
        return processor
    except (RuntimeError, ValueError, TypeError, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            _("{source} is not a SentencePiece model ({reason}); download the model again"),
            source=source,
            reason=reason,
        ) from error


# The proto: fields as (number, wire type) and their values ------------------------------------------------------------


def write_model(
    pieces: Iterable[Piece],
    *,
    algorithm: int,
    unknown_id: int,
    byte_fallback: bool,
    charsmap: bytes = b"",
    add_prefix: bool = True,
    remove_extra_whitespaces: bool = False,
) -> PieceModel:
    """A model with these pieces, in the order of their ids. `charsmap` is the compiled normalization."""
    parts = list(map(_piece, pieces))
    trainer = _number(3, algorithm) + _number(35, byte_fallback) + _number(40, unknown_id)
    trainer += b"".join(_number(key, -1) for key in (41, 42, 43))  # BOS, EOS and padding are no matter of encoding
    normalizer = _field(1, b"identity") + _field(2, charsmap) + _number(3, add_prefix)
    normalizer += _number(4, remove_extra_whitespaces) + _number(5, True)
    parts += [_field(_TRAINER, trainer), _field(_NORMALIZER, normalizer)]
    return PieceModel(proto=b"".join(parts), add_prefix=add_prefix, algorithm=algorithm)


def read_model(proto: bytes) -> PieceModel:
    """What the encoder must know of a tokenizer.model. Raises `ValueError` where it is no such file."""
    fields = dict(_fields(proto))
    trainer, normalizer = (dict(_fields(fields[key])) for key in (_TRAINER, _NORMALIZER))
    return PieceModel(
        proto=proto,
        add_prefix=bool(normalizer.get(3, 1)),
        suffix=bool(trainer.get(24, 0)),
        algorithm=trainer.get(3, UNIGRAM),
    )


def _piece(piece: Piece) -> bytes:
    text = piece.text.encode()
    size = len(text)
    head = bytes((10, size)) if size < 128 else b"\n" + _varint(size)
    message = head + text + _SCORE_AND_TYPE.pack(0x15, piece.score, 0x18, piece.type)
    size = len(message)
    return (bytes((10, size)) if size < 128 else b"\n" + _varint(size)) + message


def _varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _number(key: int, value: int) -> bytes:
    return _varint(key << 3) + _varint(int(value))


def _field(key: int, value: bytes) -> bytes:
    return _varint(key << 3 | 2) + _varint(len(value)) + value


def _fields(proto: Any) -> Iterator[tuple[int, Any]]:
    """The fields of a message: bytes or whole numbers."""
    at = 0
    while at < len(proto):
        tag, at = _read_varint(proto, at)
        key, wire = tag >> 3, tag & 7
        if wire == 0:
            value, at = _read_varint(proto, at)
            yield key, value
            continue
        if wire == 2:
            size, at = _read_varint(proto, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if at + size > len(proto):
            raise ValueError("cut short")
        yield key, proto[at : at + size]
        at += size


def _read_varint(proto: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(proto) or shift > 63:
            raise ValueError("cut short")
        byte = proto[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
