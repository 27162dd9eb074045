"""Owns the way from a model's files to a `Transformer` filled with their numbers.

The model is built without memory, then each parameter is assigned. What the file stores as it is computed with stays
where it lies, mapped; what must be put together, turned or unpacked is copied, one parameter at a time, and what was
read of the file for it is let go.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.engine.packed import compiled
from core.engine.packed.decode import CompiledTransformer
from core.engine.packed.linear import Int4Linear, Int8Embedding, Int8Linear
from core.engine.packed.quantize import DTYPE, ROWS_AT_ONCE, int4, int8, unpack_q4, unpack_q8
from core.errors import Mistake
from core.families import IGNORED, Described
from core.files import Stored, give_back, let_go
from core.model import Transformer

TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class _Unfilled(TorchFunctionMode):
    """Draws no random numbers: for those of a tensor without memory torch would import 800 modules first."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def build(described: Described, device: torch.device, dtype: torch.dtype, bits: int | None = None) -> Transformer:
    """The model with its weights, its matrices packed in 8 or 4 `bits` where they are given.

    Raises `Mistake` where files and configuration disagree, or for NaN and infinity.
    """
    let_go()
    if bits:
        compiled.available()  # before the weights are there, for a compiler is large
        let_go()
    with torch.device("meta"), _Unfilled():
        model = (CompiledTransformer if bits else Transformer)(described.config)
    wanted = dict(model.named_parameters())
    plan = {name: list(_parts(described, name, parameter.shape)) for name, parameter in wanted.items()}
    _refuse_left_over(described, {source for parts in plan.values() for source, _ in parts})
    packed = _packable(model, plan) if bits else []
    weights = {
        name: _weight(described, name, parts, dtype).to(device) for name, parts in plan.items() if name not in packed
    }
    model.load_state_dict(weights, assign=True, strict=False)  # the plan has every name; a tied one once
    for name in packed:
        module = name.removesuffix(".weight")
        model.set_submodule(module, _packed(described, name, plan[name], model.get_submodule(module), bits or 8))
        for _, stored in plan[name]:
            stored.release()
        give_back()
    if described.config.tied:
        _tie(model)
    return model.requires_grad_(False).eval()


def _tie(model: Transformer) -> None:
    """Let the unembedding be the embedding."""
    if isinstance(model.embed, Int8Embedding):
        model.set_submodule("unembed", Int8Linear(model.embed.quantized, model.embed.scales))
    else:
        model.unembed.weight = model.embed.weight


def _packable(model: Transformer, plan: Iterable[str]) -> list[str]:
    """The parameters of matrices that can be packed."""
    linear = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in plan if name in {*linear, "embed.weight"}]


def _packed(
    described: Described, name: str, parts: Sequence[tuple[str, Stored]], module: nn.Module, bits: int
) -> nn.Module:
    """What stands for a module of the model; the first and the last always have 8 bits."""
    bias = getattr(module, "bias", None)
    if bits == 4 and name.startswith("blocks."):
        return Int4Linear(*_int4(described, name, parts), bias)
    rows = module.get_parameter("weight").shape
    levels, scale = torch.empty(rows, dtype=torch.int8), torch.empty(rows[0], dtype=DTYPE)
    at = 0
    for block in _row_blocks(described, name, parts):
        here = slice(at, at := at + len(block))
        levels[here], scale[here] = int8(block)
    if name == "embed.weight":
        return Int8Embedding(levels, scale)
    return Int8Linear(levels, scale, bias)


def _row_blocks(described: Described, name: str, parts: Sequence[tuple[str, Stored]]) -> Iterator[Tensor]:
    """A matrix in float32, some rows at a time, so that it is never there in full width."""
    for source, stored in parts:
        if name not in ("embed.weight", "unembed.weight"):
            yield _weight(described, name, [(source, stored)], torch.float32)
            continue
        bytes_a_row = stored.size // stored.shape[0]
        for first in range(0, stored.shape[0], ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, stored.shape[0] - first)
            piece = replace(
                stored,
                shape=(count, stored.shape[1]),
                start=stored.start + first * bytes_a_row,
                size=count * bytes_a_row,
            )
            yield _weight(described, name, [(source, piece)], torch.float32)


def _int4(described: Described, name: str, parts: Sequence[tuple[str, Stored]]) -> tuple[Tensor, Tensor, Tensor]:
    """Levels, scales and zeros of a parameter: those of the file where it has them, else the nearest."""
    if not all(stored.kind in ("Q4_0", "Q4_1") for _, stored in parts):
        return int4(_weight(described, name, parts, torch.float32))
    unpacked = []
    for source, stored in parts:
        numbers = unpack_q4(_blocks(stored), with_minimum=stored.kind == "Q4_1")
        unpacked.append([_ordered(described, source, _checked(source, each, each.dtype)) for each in numbers])
        stored.release()
    levels, scales, zeros = (torch.cat(each) for each in zip(*unpacked, strict=True))
    return levels, scales, zeros


def _blocks(stored: Stored) -> Tensor:
    """The bytes of a tensor as they lie in the file, row by row."""
    raw = torch.frombuffer(stored.view, dtype=torch.uint8, count=stored.size, offset=stored.start)
    return raw.view(math.prod(stored.shape[:-1]), -1)


def _ordered(described: Described, source: str, tensor: Tensor) -> Tensor:
    """A tensor of a file with the rows of queries and keys in our order."""
    if described.interleaved and re.search(r"attn_[qk]\.", source):
        return _halves(tensor, described.config.head_dim)
    return tensor


def _parts(described: Described, name: str, shape: Sequence[int]) -> Iterator[tuple[str, Stored]]:
    """The tensors of the files that lie one below the other in a parameter of ours, each checked against its shape."""
    module, _, field = name.rpartition(".")
    number = re.search(r"(?<=blocks\.)\d+", module)
    block = number.group() if number else ""
    sources = described.names[module.replace(f"blocks.{block}.", "blocks.#.")]
    for source, rows in zip(sources, _rows(described, module, shape[0], len(sources)), strict=True):
        found = f"{source.replace('#', block)}.{field}"
        want = (rows, *shape[1:])
        if found not in described.tensors:
            raise Mistake(
                f"the weights lack {found}, {_by(want)}, that {described.where} asks for; download the model again"
            )
        stored = described.tensors[found]
        there = stored.shape[::-1] if _transposed(described, name, stored) else stored.shape
        if there != want:
            raise Mistake(
                f"{found} is {_by(there)} in the weights but {_by(want)} by {described.where}: "
                "they are not of the same model; download both again"
            )
        yield found, stored


def _rows(described: Described, module: str, rows: int, count: int) -> Sequence[int]:
    """How many rows of a parameter each of its parts has."""
    if module.endswith("qkv") and count > 1:
        config = described.config
        return [heads * config.head_dim for heads in (config.heads, config.kv_heads, config.kv_heads)]
    return [rows // count] * count


def _transposed(described: Described, name: str, stored: Stored) -> bool:
    return described.transposed and name.startswith("blocks.") and len(stored.shape) == 2


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _refuse_left_over(described: Described, used: set[str]) -> None:
    ignored = (*IGNORED, "lm_head.weight", "output.weight") if described.config.tied else IGNORED
    left = [name for name in described.tensors if name not in used and not name.endswith(ignored)]
    if left:
        raise Mistake(
            f"the weights have {left[0]}, {_by(described.tensors[left[0]].shape)}, "
            f"of which {described.where} says nothing ({len(left)} such); they are not of the same model"
        )


def _weight(described: Described, name: str, parts: Sequence[tuple[str, Stored]], dtype: torch.dtype) -> Tensor:
    """One parameter of ours: read, put together, converted, checked."""
    tensors = []
    for source, stored in parts:
        tensor = _ordered(described, source, read(source, stored))
        if _transposed(described, name, stored):
            tensor = tensor.t()
        tensors.append(_checked(source, tensor, dtype))
    whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if dtype is torch.float32 and whole.ndim == 2 and _multiplies(described, name):
        whole = _for_one_token(whole)
    mapped = len(tensors) == 1 and TORCH.get(parts[0][1].kind) is dtype and whole.data_ptr() == tensors[0].data_ptr()
    for _, stored in () if mapped else parts:
        stored.release()
    return whole


def _multiplies(described: Described, name: str) -> bool:
    """Whether a matrix is one of a linear map."""
    return name.startswith(("blocks.", "unembed.")) or (described.config.tied and name == "embed.weight")


def _for_one_token(matrix: Tensor) -> Tensor:
    """The same numbers [out, in], those of the fewer inputs or outputs beside each other in memory.

    A vector in float32 goes through nearly twice as fast as the other way.
    """
    return matrix.t().contiguous().t() if matrix.shape[0] >= matrix.shape[1] else matrix.contiguous()


def read(name: str, stored: Stored) -> Tensor:
    """A tensor of a file: a view of it where torch knows the format, else unpacked to float32."""
    if stored.kind in TORCH:
        dtype = TORCH[stored.kind]
        if stored.size == 0:
            return torch.empty(stored.shape, dtype=dtype)
        if stored.start % dtype.itemsize:
            return torch.frombuffer(
                bytearray(stored.view[stored.start : stored.start + stored.size]), dtype=dtype
            ).view(stored.shape)
        return torch.frombuffer(stored.view, dtype=dtype, count=math.prod(stored.shape), offset=stored.start).view(
            stored.shape
        )
    return _unpacked(name, stored)


def _unpacked(name: str, stored: Stored) -> Tensor:
    if stored.kind == "Q8_0":
        return unpack_q8(_blocks(stored)).view(stored.shape)
    import numpy as np  # noqa: PLC0415
    from gguf.constants import GGMLQuantizationType  # noqa: PLC0415
    from gguf.quants import dequantize  # noqa: PLC0415

    kind = GGMLQuantizationType[stored.kind]
    packed = _blocks(stored).numpy()
    numbers = torch.empty(len(packed), stored.shape[-1])
    try:
        with np.errstate(all="ignore"):
            for first in range(0, len(packed), ROWS_AT_ONCE):
                rows = slice(first, first + ROWS_AT_ONCE)
                numbers[rows] = torch.from_numpy(dequantize(packed[rows], kind))
        return numbers.view(stored.shape)
    except NotImplementedError as error:
        raise Mistake(
            f"{name} is stored as {stored.kind}, which cannot be unpacked here; get another format"
        ) from error


def _halves(tensor: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys whose pairs lie side by side, in our order: first numbers of all pairs, then second."""
    rest = tensor.shape[1:]
    return tensor.view(-1, head_dim // 2, 2, *rest).transpose(1, 2).reshape(-1, *rest)


def _checked(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.to(dtype)
    if not _finite(converted):
        if _finite(tensor):
            raise Mistake(f"{name} has numbers too large for fp16; choose --dtype bf16 or fp32")
        raise Mistake(f"{name} has weights that are not finite numbers (NaN or inf); download the model again")
    return converted


def _finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, in one pass and without a mask."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)
