"""Owns the two file formats that weights come in, safetensors and GGUF: mapped into memory, checked, never written.

Both are a table of names and byte ranges. A pickle is a program, so it is refused. Needs no torch.
"""

import json
import math
import mmap
import struct
from array import array
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from operator import index
from pathlib import Path
from typing import Any

from core.errors import UserError

PICKLES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
SAFETENSORS_BYTES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
LARGEST_HEADER = 100_000_000


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor where it lies in a file."""

    kind: str
    """The format of its numbers as the file calls it: `F32`, `BF16`, `Q4_1` …"""
    shape: tuple[int, ...]
    """Rows first."""
    view: mmap.mmap
    """The whole file, mapped; what is written to it stays in memory."""
    start: int
    """Its first byte in the file."""
    size: int
    """Its length in bytes."""

    def release(self) -> None:
        """Let the system take back the pages that were read; they would be read again from the file."""
        _release(self.view, self.start, self.size)


AROUND = 1 << 16
"""Bytes that Linux maps with each page that is read, on either side."""


def _release(view: mmap.mmap, start: int, size: int) -> None:
    if hasattr(view, "madvise"):
        first = max(0, start - AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
        view.madvise(mmap.MADV_DONTNEED, first, start + size + AROUND - first)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """One file of weights."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, Stored]


def read_weights_file(path: Path) -> WeightsFile:
    """The table of a .safetensors or .gguf file. Raises `UserError` for what is neither, cut short or corrupt."""
    refuse_pickle(path)
    view = _mapped(path)
    kind = sniff(view[:512])
    wanted = "a GGUF file" if path.suffix == ".gguf" else "a safetensors file"
    if kind != wanted:
        raise UserError(f"{path.name} is {kind}, not {wanted}; {_CURES.get(kind, 'download it again')}")
    try:
        return _gguf(path, view) if path.suffix == ".gguf" else _safetensors(path, view)
    except (struct.error, UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path.name} is cut short or corrupt at its beginning; download it again") from error


def refuse_pickle(path: Path) -> None:
    """Raise `UserError` for a file that only a program could read."""
    if path.suffix in PICKLES:
        raise UserError(
            f"{path.name} is a pickle, which can run any program when it is opened, so it never is; "
            "get the model as .safetensors or .gguf"
        )


_CURES = {
    "a pickle": "get the model as .safetensors or .gguf",
    "a Git LFS pointer": "fetch the weights with git lfs pull",
    "a GGUF file": "name it .gguf",
    "a safetensors file": "name it .safetensors",
}


def sniff(head: bytes) -> str:
    """What a file is by its first bytes, in words."""
    if head[:4] == b"GGUF":
        return "a GGUF file"
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= LARGEST_HEADER:
        return "a safetensors file"
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return "a pickle"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if head.lstrip()[:1] == b"<":
        return "a web page"
    return "empty" if not head.strip(b"\0") else "something else"


def _mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as stream:
            if not path.stat().st_size:
                raise UserError(f"{path.name} is empty; download it again")
            return mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error


def _cut_short(path: Path, there: int, wanted: int) -> UserError:
    return UserError(f"{path.name} is cut short: {there:,} of at least {wanted:,} bytes are there; download it again")


# safetensors ---------------------------------------------------------------------------------------------------------


def _safetensors(path: Path, view: mmap.mmap) -> WeightsFile:
    """Eight bytes of length, a JSON table, then the numbers without gaps."""
    begin = 8 + struct.unpack_from("<Q", view)[0]
    if begin > len(view):
        raise _cut_short(path, len(view), begin)
    table = json.loads(view[8:begin].decode())
    metadata = dict(table.pop("__metadata__", {}))
    tensors = {}
    for name, entry in table.items():
        kind, shape, (first, last) = (
            entry["dtype"],
            tuple(map(index, entry["shape"])),
            map(index, entry["data_offsets"]),
        )
        if kind not in SAFETENSORS_BYTES:
            raise UserError(f"{path.name}: {name} is stored as {kind}, which is not a format known here")
        if last - first != math.prod(shape) * SAFETENSORS_BYTES[kind]:
            raise UserError(f"{path.name} is corrupt: {name} has {last - first:,} bytes, which do not fit its shape")
        tensors[name] = Stored(kind, shape, view, begin + first, last - first)
    end = begin
    for stored in sorted(tensors.values(), key=lambda stored: (stored.start, stored.size)):
        if stored.start != end:
            raise UserError(f"{path.name} is corrupt: its tensors overlap or leave gaps; download it again")
        end += stored.size
    if end > len(view):
        raise _cut_short(path, len(view), end)
    if end < len(view):
        raise UserError(f"{path.name} is corrupt: {len(view) - end:,} bytes belong to no tensor; download it again")
    return WeightsFile(path, metadata, tensors)


# GGUF ----------------------------------------------------------------------------------------------------------------

_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
GGUF_KINDS = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""The formats of numbers: a name, how many numbers lie in a block, and its bytes."""


class _Cursor:
    """Reads one value after the other from a GGUF file."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view, self.at = view, 0

    def number(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.view, self.at)
        self.at += struct.calcsize(layout)
        return value

    def string(self) -> str:
        length = self.number("<Q")
        self.at += length
        if self.at > len(self.view):
            raise ValueError("cut short")
        return self.view[self.at - length : self.at].decode()

    def value(self, kind: int) -> Any:
        if kind == _STRING:
            return self.string()
        if kind != _ARRAY:
            return self.number(_SCALARS[kind])
        inner, count = self.number("<I"), self.number("<Q")
        if inner in _SCALARS:
            layout = f"<{count}{_SCALARS[inner][1]}" if count <= len(self.view) else "<Q"
            values = list(struct.unpack_from(layout, self.view, self.at))
            self.at += struct.calcsize(layout)
            return values
        return Strings(self, count) if inner == _STRING else [self.value(inner) for _ in range(count)]


class Strings:
    """An array of strings that stays where it lies; each is read when it is asked for, and none is kept."""

    def __init__(self, cursor: _Cursor, count: int) -> None:
        self._view, self._bounds = cursor.view, array("Q", [cursor.at])
        for _ in range(count):
            cursor.at += 8 + _LENGTH.unpack_from(self._view, cursor.at)[0]
            if cursor.at > len(self._view):
                raise ValueError("cut short")
            self._bounds.append(cursor.at)

    def __iter__(self) -> Iterator[str]:
        return (self._view[start + 8 : end].decode() for start, end in pairwise(self._bounds))

    def __getitem__(self, index: int) -> str:
        return self._view[self._bounds[index] + 8 : self._bounds[index + 1]].decode()

    def __len__(self) -> int:
        return len(self._bounds) - 1


def _pairs(cursor: _Cursor, count: int) -> Iterator[tuple[str, Any]]:
    for _ in range(count):
        key = cursor.string()
        yield key, cursor.value(cursor.number("<I"))


def _preamble(cursor: _Cursor) -> tuple[int, int]:
    """How many tensors and how many metadata pairs follow."""
    cursor.at = 4
    version = cursor.number("<I")
    if version not in (2, 3):
        raise UserError(f"GGUF version {version} is not one known here (2 and 3 are); convert the model again")
    return cursor.number("<Q"), cursor.number("<Q")


def gguf_architecture(path: Path) -> str | None:
    """What a GGUF file says it is, read from its first bytes; None where it cannot be told."""
    try:
        cursor = _Cursor(_mapped(path))
        if cursor.view[:4] != b"GGUF":
            return None
        _, count = _preamble(cursor)
        return next((str(value) for key, value in _pairs(cursor, min(count, 8)) if key == "general.architecture"), None)
    except (UserError, struct.error, ValueError, KeyError):
        return None


def _gguf(path: Path, view: mmap.mmap) -> WeightsFile:
    """Metadata pairs, a table of tensors, then the numbers, each at a multiple of the alignment."""
    cursor = _Cursor(view)
    tensor_count, pair_count = _preamble(cursor)
    metadata = dict(_pairs(cursor, pair_count))
    table = []
    for _ in range(tensor_count):
        name, rank = cursor.string(), cursor.number("<I")
        shape = tuple(cursor.number("<Q") for _ in range(min(rank, 5)))[::-1]
        table.append((name, shape, GGUF_KINDS[cursor.number("<I")], cursor.number("<Q")))
    alignment = metadata.get("general.alignment", 32)
    begin = -(-cursor.at // alignment) * alignment
    _release(view, 0, begin)
    tensors: dict[str, Stored] = {}
    for name, shape, (kind, block, size), offset in table:
        if name in tensors or not 1 <= len(shape) <= 4 or shape[-1] % block:
            raise UserError(
                f"{path.name} is corrupt: {name} is there twice or has an impossible shape; download it again"
            )
        tensors[name] = Stored(kind, shape, view, begin + offset, math.prod(shape) // block * size)
    end = max((stored.start + stored.size for stored in tensors.values()), default=begin)
    if end > len(view):
        raise _cut_short(path, len(view), end)
    return WeightsFile(path, metadata, tensors)
