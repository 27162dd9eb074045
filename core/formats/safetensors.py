"""The table of a safetensors file: eight bytes of length, a JSON object, then the tensors without gaps.

Source: https://github.com/huggingface/safetensors (README, "Format").
"""

import json
import math
import mmap
import reprlib
import struct
from operator import index
from pathlib import Path

from core.errors import UserError
from core.formats.tensors import StoredTensor, WeightsFile, truncated
from core.formats.text import shown
from core.language import _

BYTES_PER_NUMBER = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip
LARGEST_HEADER = 25_000_000
"""Bytes: enough for 200,000 tensors."""


def parse(path: Path, view: mmap.mmap) -> WeightsFile:
    """Metadata and tensors of a mapped file. Raises `UserError`, or `ValueError` and the like for a broken table."""
    begin = 8 + struct.unpack_from("<Q", view)[0]
    if begin > len(view):
        raise truncated(path, len(view), begin)
    table = json.loads(view[8:begin].decode())
    metadata = dict(table.pop("__metadata__", {}))
    tensors = {}
    for name, entry in table.items():
        dtype, shape = entry["dtype"], tuple(map(index, entry["shape"]))
        first, last = map(index, entry["data_offsets"])
        if dtype not in BYTES_PER_NUMBER:
            raise UserError(
                _("{file}: {name} has the number format {dtype}, which is not supported (supported: {choices})"),
                file=path.name,
                name=shown(name),
                dtype=reprlib.repr(dtype),
                choices=", ".join(BYTES_PER_NUMBER),
            )
        if last - first != math.prod(shape) * BYTES_PER_NUMBER[dtype]:
            raise UserError(
                _("{file} is corrupt: the {last:,} bytes of {name} do not fit its shape; download it again"),
                file=path.name,
                last=last - first,
                name=shown(name),
            )
        tensors[name] = StoredTensor(dtype, shape, view, begin + first, last - first)
    _check_layout(path, view, begin, tensors)
    return WeightsFile(path, metadata, tensors)


def _check_layout(path: Path, view: mmap.mmap, begin: int, tensors: dict[str, StoredTensor]) -> None:
    """Raise `UserError` unless the tensors fill the file from `begin` to its end, without gap or overlap."""
    end = begin
    for stored in sorted(tensors.values(), key=lambda stored: (stored.start, stored.size)):
        if stored.start != end:
            raise UserError(
                _("{file} is corrupt: its tensors overlap or leave gaps; download it again"), file=path.name
            )
        end += stored.size
    if end > len(view):
        raise truncated(path, len(view), end)
    if end < len(view):
        raise UserError(
            _("{file} is corrupt: {count:,} bytes belong to no tensor; download it again"),
            file=path.name,
            count=len(view) - end,
        )
