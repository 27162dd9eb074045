"""Matrices for compiled code: a file's blocks or plain numbers as they are, mapped, or quantized to 8 or 4 bits."""

from collections.abc import Sequence

import torch
from torch import Tensor

from core.engine.memory import return_free_memory
from core.engine.packed.compiled import PLAIN, Matrix
from core.engine.packed.quantize import q4_1, q8_0
from core.errors import Option, UserError
from core.language import _
from core.loading.description import ModelDescription
from core.loading.families.layouts import ROW_ORDERS, as_stored
from core.loading.weights.plan import Part
from core.loading.weights.reading import Reader, blocks

BLOCKS = frozenset(("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL", "IQ4_XS"))
"""GGUF's formats that are computed from their own blocks."""
LARGE = 2**20
"""Bytes of a matrix from which memory is returned after it was made."""
FLOAT32 = "fp32"
"""Every number as it is: float32, or the 16 bits of the file, which float32 has too."""


def pack(reader: Reader, name: str, parts: Sequence[Part], packing: str) -> list[Matrix]:
    """The matrices of our parameter `name`, in the order of their rows; `packing` is `FLOAT32` or of `info.PACKED`.

    Raises `UserError` for weights that are not finite or too large, where they are converted here.
    """
    if packing == "int4" and not name.startswith("blocks."):  # embedding and unembedding have 8 bits then
        packing = "int8"
    exact = {"int8": (), "int4": ("Q4_0", "Q4_1"), "stored": (*BLOCKS, *PLAIN), FLOAT32: PLAIN}[packing]
    return [
        _stored(reader, part) if part.stored.dtype in exact else _converted(reader, part, packing) for part in parts
    ]


def unpacked(description: ModelDescription) -> tuple[str, ...]:
    """The formats of matrices that cannot be computed as stored, and so become 16-bit numbers."""
    found = {each.dtype for each in description.tensors.values() if len(each.shape) > 1}
    return tuple(sorted(found - BLOCKS - set(PLAIN)))


def _stored(reader: Reader, part: Part) -> Matrix:
    """A part as the file has it; a copy where other than whole rows are in another order."""
    if part.stored.dtype in PLAIN and part.layout not in ROW_ORDERS:
        copy = reader.read(part, PLAIN[part.stored.dtype]).contiguous()
        part.stored.release()
        return Matrix(part.stored.dtype, (copy.shape[0], copy.shape[1]), copy.view(torch.uint8), name=part.name)
    reader.began(part)
    rows, dtype = blocks(part.stored), PLAIN.get(part.stored.dtype)
    if dtype and part.stored.start % dtype.itemsize:  # torch has no views of such numbers
        rows = rows.clone()
    return Matrix(part.stored.dtype, _shape(part), rows, _order(reader, part), part.name)


def _shape(part: Part) -> tuple[int, int]:
    rows, columns = part.stored.shape
    return rows, columns


def _order(reader: Reader, part: Part) -> Tensor | None:
    """The rows of the file in our order; None where it is the same."""
    if part.layout is as_stored:
        return None
    return reader.arranged(part, torch.arange(part.stored.shape[0])[:, None])[:, 0].contiguous()


def _converted(reader: Reader, part: Part, packing: str) -> Matrix:
    """A part in blocks of ours or in float32, or in 16 bits where it has a format that cannot be computed as it is."""
    format, convert = {
        "int8": ("Q8_0", q8_0),
        "int4": ("Q4_1", q4_1),
        "stored": ("F16", torch.Tensor.half),
        FLOAT32: ("F32", torch.Tensor.float),
    }[packing]
    whole, first = torch.empty(0, 0), 0
    for block in reader.row_blocks(part):
        rows = convert(block).view(torch.uint8)
        if format != "F32" and not _finite(rows, format):
            raise UserError(
                _("{name} has weights too large for {packing}; choose {dtype} fp32 or bf16"),
                name=part.name,
                packing=packing,
                dtype=Option("dtype"),
            )
        if first == 0:
            height = part.stored.shape[0] if part.layout is as_stored else len(rows)
            whole, columns = rows.new_empty(height, rows.shape[1]), block.shape[1]
        whole[first : (first := first + len(rows))] = rows
    part.stored.release()
    if whole.nbytes > LARGE:
        return_free_memory()
    return Matrix(format, (len(whole), columns), whole)


def _finite(packed: Tensor, format: str) -> bool:
    """Whether the float16 numbers of blocks or of plain rows are finite."""
    starts = {"Q8_0": (34, 1), "Q4_1": (20, 2), "F16": (packed.shape[1], packed.shape[1] // 2)}
    size, count = starts[format]
    halves = packed.unflatten(1, (-1, size))[..., : 2 * count].contiguous().view(torch.float16)
    return bool(halves.isfinite().all())
