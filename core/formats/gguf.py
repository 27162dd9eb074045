"""The tables of a GGUF file: metadata, then names and shapes of tensors, then the tensors at aligned offsets.

Source: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

import math
import mmap
import struct
from array import array
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import DAMAGE, StoredTensor, WeightsFile, damaged, map_file, release_pages, truncated
from core.formats.text import shown
from core.language import _

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SCALARS = {0: "<B", 1: "<b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "<?", 10: "<Q", 11: "<q", 12: "<d"}
"""`struct` layouts of metadata values by their type number."""
_STRING, _ARRAY = 8, 9
_LENGTH = struct.Struct("<Q")
TENSOR_TYPES = {
    0: ("F32", 1, 4), 1: ("F16", 1, 2), 2: ("Q4_0", 32, 18), 3: ("Q4_1", 32, 20), 6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24), 8: ("Q8_0", 32, 34), 9: ("Q8_1", 32, 40), 10: ("Q2_K", 256, 84), 11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144), 13: ("Q5_K", 256, 176), 14: ("Q6_K", 256, 210), 15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66), 17: ("IQ2_XS", 256, 74), 18: ("IQ3_XXS", 256, 98), 19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18), 21: ("IQ3_S", 256, 110), 22: ("IQ2_S", 256, 82), 23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1), 25: ("I16", 1, 2), 26: ("I32", 1, 4), 27: ("I64", 1, 8), 28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56), 30: ("BF16", 1, 2), 34: ("TQ1_0", 256, 54), 35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17), 40: ("NVFP4", 64, 36), 41: ("Q1_0", 128, 18),
}  # fmt: skip
"""By type number: the name of the format, numbers in a block, bytes of a block."""


LONGEST_KEY, LONGEST_STRING, LONGEST_ARRAY = 1 << 16, 1 << 24, 1 << 22
"""Bytes of a key (the limit of GGUF) and of a string; items of an array. The largest vocabularies have 2^18 tokens."""
LARGEST_ALIGNMENT = 1 << 16


class _Reader:
    """Reads one value after the other."""

    def __init__(self, view: mmap.mmap) -> None:
        self.view, self.offset = view, 0

    def number(self, layout: str) -> Any:
        (value,) = struct.unpack_from(layout, self.view, self.offset)
        self.offset += struct.calcsize(layout)
        return value

    def string(self, longest: int = LONGEST_STRING) -> str:
        length = self.number("<Q")
        self.offset += length
        if self.offset > len(self.view) or length > longest:
            raise ValueError("cut short")
        return self.view[self.offset - length : self.offset].decode()

    def value(self, type_number: int) -> Any:
        if type_number == _STRING:
            return self.string()
        if type_number != _ARRAY:
            return self.number(_SCALARS[type_number])
        inner, count = self.number("<I"), self.number("<Q")
        if count > LONGEST_ARRAY or inner == _ARRAY:
            raise ValueError("an array too long, or of arrays, which no model has")
        if inner == _STRING:
            return StringArray(self, count)
        layout = f"<{count}{_SCALARS[inner][1]}"
        values = list(struct.unpack_from(layout, self.view, self.offset))
        self.offset += struct.calcsize(layout)
        return values


class StringArray:
    """An array of strings that stays in the file. Each access reads and decodes one; nothing is cached."""

    def __init__(self, reader: _Reader, count: int) -> None:
        view, bounds, offset, length = reader.view, array("Q", [reader.offset]), reader.offset, _LENGTH.unpack_from
        append = bounds.append
        for _unused in range(count):  # a hundred thousand strings or more
            offset += 8 + length(view, offset)[0]
            append(offset)
        if offset > len(view):
            raise ValueError("cut short")
        self._view, self._bounds, reader.offset = view, bounds, offset

    def __iter__(self) -> Iterator[str]:
        return (self._view[start + 8 : end].decode() for start, end in pairwise(self._bounds))

    def __getitem__(self, index: int) -> str:
        return self._view[self._bounds[index] + 8 : self._bounds[index + 1]].decode()

    def __len__(self) -> int:
        return len(self._bounds) - 1

    def __repr__(self) -> str:
        return f"<{len(self)} strings>"


def _metadata(reader: _Reader, count: int) -> Iterator[tuple[str, Any]]:
    for _unused in range(count):
        key = reader.string(LONGEST_KEY)
        yield key, reader.value(reader.number("<I"))


def _unique(path: Path, pairs: Iterator[tuple[str, Any]]) -> dict[str, Any]:
    """The metadata. Raises `UserError` for a key that occurs twice."""
    metadata: dict[str, Any] = {}
    for key, value in pairs:
        if key in metadata:
            raise UserError(_("{file}: the key {key} occurs twice; download it again"), file=path.name, key=shown(key))
        metadata[key] = value
    return metadata


def _counts(reader: _Reader) -> tuple[int, int]:
    """The number of tensors and the number of metadata pairs, from the beginning of the file."""
    reader.offset = len(MAGIC)
    if (version := reader.number("<I")) not in VERSIONS:
        raise UserError(
            _("GGUF version {version} is not supported (supported: 2, 3); convert the model again"), version=version
        )
    return reader.number("<Q"), reader.number("<Q")


def read_head(path: Path) -> dict[str, Any]:
    """The metadata of a file before its tokenizer, which is most of it; the tensors are not looked at.

    Raises `UserError` where the file is not GGUF or is damaged at its beginning.
    """
    reader, metadata = _Reader(map_file(path)), {}
    if reader.view[: len(MAGIC)] != MAGIC:
        raise UserError(_("{file} is not a GGUF file; download it again"), file=path.name)
    try:
        for key, value in _metadata(reader, _counts(reader)[1]):
            if key.startswith("tokenizer."):
                break
            metadata[key] = value
    except UserError:
        raise
    except DAMAGE as error:
        raise damaged(path) from error
    _alignment(CheckedValues(path.name, metadata, _("download it again")))
    return metadata


def parse(path: Path, view: mmap.mmap) -> WeightsFile:
    """Metadata and tensors of a mapped file. Raises `UserError`, or `ValueError` and the like for a broken table."""
    reader = _Reader(view)
    tensor_count, pair_count = _counts(reader)
    metadata = _unique(path, _metadata(reader, pair_count))
    entries = [_entry(path, reader) for _ in range(tensor_count)]
    values = CheckedValues(path.name, metadata, _("download it again"))
    alignment = _alignment(values)
    begin = -(-reader.offset // alignment) * alignment
    release_pages(view, 0, min(begin, len(view)))
    tensors: dict[str, StoredTensor] = {}
    expected = 0
    for name, shape, (dtype, block, size), offset in entries:
        if name in tensors or not 1 <= len(shape) <= 4 or shape[-1] % block:
            problem = _("{name} occurs twice, or its shape {shape} does not fit the format {dtype}")
            raise values.error(problem.format(name=shown(name), shape=list(shape), dtype=dtype))
        if offset != expected:  # as in llama.cpp: without gap, overlap or another order
            problem = _("{name} is at the offset {offset:,}, where {expected:,} is expected")
            raise values.error(problem.format(name=shown(name), offset=offset, expected=expected))
        tensors[name] = StoredTensor(dtype, shape, view, begin + offset, math.prod(shape) // block * size)
        expected += -(-tensors[name].size // alignment) * alignment
    end = max((stored.start + stored.size for stored in tensors.values()), default=begin)
    if end > len(view):
        raise truncated(path, len(view), end)
    return WeightsFile(path, metadata, tensors)


def _alignment(values: CheckedValues) -> int:
    """Bytes, of which the offsets of tensors are multiples. Raises `UserError` for an impossible one."""
    alignment = values.integer("general.alignment", low=1, below=LARGEST_ALIGNMENT + 1, default=32)
    if alignment.bit_count() != 1:
        raise values.invalid("general.alignment", _("a power of 2"))
    return alignment


def _entry(path: Path, reader: _Reader) -> tuple[str, tuple[int, ...], tuple[str, int, int], int]:
    """Name, shape, number format and offset of a tensor. The file has the sizes in reverse order: columns first."""
    name, rank = reader.string(LONGEST_KEY), reader.number("<I")
    shape = tuple(reader.number("<Q") for _ in range(min(rank, 5)))[::-1]
    type_number, offset = reader.number("<I"), reader.number("<Q")
    if type_number not in TENSOR_TYPES:
        raise UserError(
            _(
                "{file}: {name} has the unknown tensor type {type_number} (known: 0 to {last}); get the model in "
                "another format"
            ),
            file=path.name,
            name=shown(name),
            type_number=type_number,
            last=max(TENSOR_TYPES),
        )
    return name, shape, TENSOR_TYPES[type_number], offset
