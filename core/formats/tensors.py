"""Tensors as they lie in a weights file that is mapped into memory."""

import mmap
import struct
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.bounded import open_file
from core.errors import UserError
from core.language import _

FAULT_AROUND = 1 << 16
"""Linux maps up to this many bytes on either side of each page that is read."""
BYTES_AT_ONCE = 1 << 20
"""Bytes of two tensors that are compared together."""

PACKED_FLOATS = "MXFP4_PAIRS"
"""The format of two 4-bit floats a byte whose scales are another tensor; a .safetensors file calls it `U8`."""
DAMAGE = (struct.error, ValueError, KeyError, TypeError, IndexError, OverflowError, RecursionError, AttributeError)
"""What reading a broken table can raise."""


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in a file; its numbers are not read yet."""

    dtype: str
    """The number format as the file names it: `F32`, `BF16`, `Q4_1` …"""
    shape: tuple[int, ...]
    """[rows, columns] for a matrix, in both file formats."""
    view: mmap.mmap
    """The whole file, mapped copy-on-write."""
    start: int
    """Offset of the first byte in the file."""
    size: int
    """Length in bytes."""

    def equals(self, other: "StoredTensor") -> bool:
        """Whether both have the same shape, number format and bytes. Leaves no page of either in memory."""
        if (self.dtype, self.shape, self.size) != (other.dtype, other.shape, other.size):
            return False
        same = all(
            self.view[self.start + first : self.start + last] == other.view[other.start + first : other.start + last]
            for first, last in pairwise((*range(0, self.size, BYTES_AT_ONCE), self.size))
        )
        self.release()
        other.release()
        return same

    def release(self) -> None:
        """Give the pages of this tensor back to the system, which reads them from the file again when needed."""
        release_pages(self.view, self.start, self.size)


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """The tables of one weights file."""

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, StoredTensor]


def release_pages(view: mmap.mmap, start: int, size: int) -> None:
    """Give the pages around these bytes back to the system; does nothing where the system has no such call."""
    if hasattr(view, "madvise"):
        first = max(0, start - FAULT_AROUND) // mmap.PAGESIZE * mmap.PAGESIZE
        view.madvise(mmap.MADV_DONTNEED, first, start + size + FAULT_AROUND - first)


def map_file(path: Path) -> mmap.mmap:
    """The file in memory. Raises `UserError` where it is empty or cannot be read.

    Where the system has huge pages for files (Linux 6.16 with ext4) a token of a large model takes a tenth less time.
    """
    try:
        with open_file(path) as stream:
            if not path.stat().st_size:
                raise UserError(_("{file} is empty; download it again"), file=path.name)
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_COPY)
            if hasattr(mmap, "MADV_HUGEPAGE"):
                with suppress(OSError):
                    mapped.madvise(mmap.MADV_HUGEPAGE)
            return mapped
    except OSError as error:
        raise UserError(_("{path} cannot be read: {reason}"), path=path, reason=error.strerror) from error


def truncated(path: Path, size: int, wanted: int) -> UserError:
    """The error for a file of `size` bytes that has to have at least `wanted`."""
    return UserError(
        _("{file} is cut short: it has {size:,} of at least {wanted:,} bytes; download it again"),
        file=path.name,
        size=size,
        wanted=wanted,
    )


def damaged(path: Path) -> UserError:
    """The error for a file whose table cannot be read."""
    return UserError(_("{file} is cut short or corrupt at its beginning; download it again"), file=path.name)
