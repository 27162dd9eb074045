"""Reads tensors of files: views of the mapping where torch has the number format, unpacked numbers otherwise."""

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from core.engine.config import ModelConfig
from core.engine.packed.quantize import ROWS_AT_ONCE
from core.errors import Option, UserError
from core.formats.tensors import PACKED_FLOATS, StoredTensor
from core.language import _
from core.loading.families.layouts import as_stored
from core.loading.weights import float8, mxfp4
from core.loading.weights.plan import Part, Plan
from core.progress import Loading, Report

TORCH = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, **float8.FORMATS,
}  # fmt: skip
"""Number formats of files that torch computes with."""


class Reader:
    """Reads the parts of a plan and reports how many of its bytes were read. What `report` raises ends the loading."""

    def __init__(self, config: ModelConfig, plan: Plan, report: Report | None = None) -> None:
        self._config, self._report, self._done = config, report, 0
        self._total = sum(part.stored.size for parts in plan.values() for part in parts)

    def began(self, part: Part) -> None:
        """Report that `part` is read next."""
        if self._report:
            self._report(Loading("reading", part.name, self._done, self._total))
        self._done += part.stored.size

    def read(self, part: Part, dtype: torch.dtype) -> Tensor:
        """A part in our layout, converted. Raises `UserError` where it is not finite, or becomes so in `dtype`."""
        self.began(part)
        return checked(part.name, self.arranged(part, _numbers(part)), dtype)

    def arranged(self, part: Part, tensor: Tensor) -> Tensor:
        """Numbers or quantized rows of a part in our layout."""
        return part.layout(tensor, self._config)

    def row_blocks(self, part: Part, dtype: torch.dtype = torch.float32) -> Iterator[Tensor]:
        """A part in `dtype`; a few rows at a time, for less memory, where the file has them in our order.

        The pages of rows are released when the next ones are asked for.
        """
        stored = part.stored
        if part.layout is not as_stored or part.scales or len(stored.shape) == 1:
            yield self.read(part, dtype)
            stored.release()
            return
        bytes_per_row = stored.size // stored.shape[0]
        for first in range(0, stored.shape[0], ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, stored.shape[0] - first)
            shape, start = (count, *stored.shape[1:]), stored.start + first * bytes_per_row
            piece = replace(stored, shape=shape, start=start, size=count * bytes_per_row)
            yield self.read(replace(part, stored=piece), dtype)
            piece.release()


def _numbers(part: Part) -> Tensor:
    """A part as the file has it, multiplied by its scales where it has some."""
    if part.scales is None:
        return read_tensor(part.name, part.stored)
    if part.stored.dtype == PACKED_FLOATS:
        return mxfp4.numbers(blocks(part.stored), blocks(part.scales))
    scales = read_tensor(part.scales_name, part.scales)
    return float8.scaled(read_tensor(part.name, part.stored), scales, part.block)


def read_tensor(name: str, stored: StoredTensor) -> Tensor:
    """A tensor of a file: a view of the mapping where torch has the number format, else unpacked to float32.

    Raises `UserError` for a format that is not supported.
    """
    if stored.dtype not in TORCH:
        return _unpacked(name, stored)
    dtype = TORCH[stored.dtype]
    if stored.size == 0:
        return torch.empty(stored.shape, dtype=dtype)
    if stored.start % dtype.itemsize:
        copy = bytearray(stored.view[stored.start : stored.start + stored.size])
        return torch.frombuffer(copy, dtype=dtype).view(stored.shape)
    count = math.prod(stored.shape)
    return torch.frombuffer(stored.view, dtype=dtype, count=count, offset=stored.start).view(stored.shape)


def blocks(stored: StoredTensor) -> Tensor:
    """The bytes of a tensor in the file, uint8 [rows, bytes per row]."""
    raw = torch.frombuffer(stored.view, dtype=torch.uint8, count=stored.size, offset=stored.start)
    return raw.view(math.prod(stored.shape[:-1]), -1)


def _unpacked(name: str, stored: StoredTensor) -> Tensor:
    import numpy as np  # noqa: PLC0415
    from gguf.constants import GGMLQuantizationType  # noqa: PLC0415
    from gguf.quants import dequantize  # noqa: PLC0415

    packed = blocks(stored).numpy()
    numbers = torch.empty(len(packed), stored.shape[-1])
    try:
        kind = GGMLQuantizationType[stored.dtype]
        with np.errstate(all="ignore"):
            for first in range(0, len(packed), ROWS_AT_ONCE):
                rows = slice(first, first + ROWS_AT_ONCE)
                numbers[rows] = torch.from_numpy(dequantize(packed[rows], kind))
        return numbers.view(stored.shape)
    except (KeyError, NotImplementedError) as error:
        raise UserError(
            _("{name} has the number format {dtype}, which is not supported; get the model in another format"),
            name=name,
            dtype=stored.dtype,
        ) from error


def checked(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """`tensor` in `dtype`. Raises `UserError` unless all its numbers are finite there."""
    converted = tensor.to(dtype)
    if not _all_finite(converted):
        if _all_finite(tensor.float()):
            raise UserError(
                _("{name} has weights too large for fp16; choose {dtype} bf16 or fp32"),
                name=name,
                dtype=Option("dtype"),
            )
        raise UserError(_("{name} has non-finite weights (NaN or infinity); download the model again"), name=name)
    return converted


def _all_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; one pass, and no memory for a mask."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)
