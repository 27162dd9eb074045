"""Builds a `Transformer` from a model's files.

The model is created on the meta device, without memory; then each parameter is assigned. A tensor that the file stores
in the layout and number format of the parameter stays mapped. Any other is copied, one parameter at a time: several
tensors are concatenated, GPT-2's matrices transposed, quantized ones unpacked. Then the file's pages are released.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.engine.config import ModelConfig
from core.engine.memory import release_clean_pages, return_free_memory
from core.engine.model import Transformer
from core.engine.packed import compiled
from core.engine.packed.decode import CompiledTransformer
from core.engine.packed.linear import Int4Linear, Int8Embedding, Int8Linear
from core.engine.packed.quantize import DTYPE, ROWS_AT_ONCE, int4, int8, unpack_q4, unpack_q8
from core.errors import Option, UserError
from core.formats.tensors import StoredTensor
from core.loading.description import COMPUTED, ModelDescription

TORCH = {"F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}


class _WithoutInitialization(TorchFunctionMode):
    """Skips random initialization: on the meta device torch would import 800 modules for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **(kwargs or {}))


def build_model(
    description: ModelDescription, device: torch.device, dtype: torch.dtype, bits: int | None = None
) -> Transformer:
    """The model with its weights in `dtype`; with `bits` (8 or 4) its matrices are packed.

    Raises `UserError` where tensors and configuration disagree, or for non-finite weights.
    """
    release_clean_pages()
    if bits:
        compiled.available()  # compiling needs much memory, so it comes before the weights
        release_clean_pages()
    with torch.device("meta"), _WithoutInitialization():
        model = (CompiledTransformer if bits else Transformer)(description.config)
    parameters = dict(model.named_parameters())
    plan = {name: list(_parts(description, name, parameter.shape)) for name, parameter in parameters.items()}
    _refuse_unused(description, {source for parts in plan.values() for source, _ in parts})
    packed = _packable(model, plan) if bits else []
    weights = {
        name: _weight(description, name, parts, dtype).to(device) for name, parts in plan.items() if name not in packed
    }
    model.load_state_dict(weights, assign=True, strict=False)  # not strict: a tied matrix is in the plan once
    for name in packed:
        module = name.removesuffix(".weight")
        model.set_submodule(module, _packed(description, name, plan[name], model.get_submodule(module), bits or 8))
        for _, stored in plan[name]:
            stored.release()
        return_free_memory()
    if description.config.tied:
        _tie(model)
    return model.requires_grad_(False).eval()


def _tie(model: Transformer) -> None:
    """Make the unembedding share the embedding's matrix."""
    if isinstance(model.embed, Int8Embedding):
        model.set_submodule("unembed", Int8Linear(model.embed.quantized, model.embed.scales))
    else:
        model.unembed.weight = model.embed.weight


def _packable(model: Transformer, plan: Iterable[str]) -> list[str]:
    """The names of the matrices that are packed."""
    linear = [f"{name}.weight" for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    return [name for name in plan if name in {*linear, "embed.weight"}]


def _packed(
    description: ModelDescription, name: str, parts: Sequence[tuple[str, StoredTensor]], module: nn.Module, bits: int
) -> nn.Module:
    """The packed module in place of `module`. Embedding and unembedding always have 8 bits."""
    bias = getattr(module, "bias", None)
    if bits == 4 and name.startswith("blocks."):
        return Int4Linear(*_int4(description, name, parts), bias)
    shape = module.get_parameter("weight").shape
    quantized, scales = torch.empty(shape, dtype=torch.int8), torch.empty(shape[0], dtype=DTYPE)
    first = 0
    for block in _row_blocks(description, name, parts):
        rows = slice(first, first := first + len(block))
        quantized[rows], scales[rows] = int8(block)
    if name == "embed.weight":
        return Int8Embedding(quantized, scales)
    return Int8Linear(quantized, scales, bias)


def _row_blocks(
    description: ModelDescription, name: str, parts: Sequence[tuple[str, StoredTensor]]
) -> Iterator[Tensor]:
    """A matrix in float32, in blocks of rows, so that it never needs memory for all of them at once."""
    for source, stored in parts:
        if name not in ("embed.weight", "unembed.weight"):
            yield _weight(description, name, [(source, stored)], torch.float32)
            continue
        bytes_per_row = stored.size // stored.shape[0]
        for first in range(0, stored.shape[0], ROWS_AT_ONCE):
            count = min(ROWS_AT_ONCE, stored.shape[0] - first)
            piece = replace(
                stored,
                shape=(count, stored.shape[1]),
                start=stored.start + first * bytes_per_row,
                size=count * bytes_per_row,
            )
            yield _weight(description, name, [(source, piece)], torch.float32)


def _int4(
    description: ModelDescription, name: str, parts: Sequence[tuple[str, StoredTensor]]
) -> tuple[Tensor, Tensor, Tensor]:
    """Quantized weights, scales and zero points: the file's own from Q4_0 and Q4_1, else the nearest."""
    if not all(stored.dtype in ("Q4_0", "Q4_1") for _, stored in parts):
        return int4(_weight(description, name, parts, torch.float32))
    unpacked = []
    for source, stored in parts:
        numbers = unpack_q4(_blocks(stored), with_minimum=stored.dtype == "Q4_1")
        unpacked.append([_ordered(description, source, _checked(source, each, each.dtype)) for each in numbers])
        stored.release()
    levels, scales, zeros = (torch.cat(each) for each in zip(*unpacked, strict=True))
    return levels, scales, zeros


def _blocks(stored: StoredTensor) -> Tensor:
    """The bytes of a tensor in the file, uint8 [rows, bytes per row]."""
    raw = torch.frombuffer(stored.view, dtype=torch.uint8, count=stored.size, offset=stored.start)
    return raw.view(math.prod(stored.shape[:-1]), -1)


def _ordered(description: ModelDescription, source: str, tensor: Tensor) -> Tensor:
    """A tensor of the file, with the rows of queries and keys in our order."""
    if description.interleaved and re.search(r"attn_[qk]\.", source):
        return deinterleave(tensor, description.config.head_dim)
    return tensor


def _parts(description: ModelDescription, name: str, shape: Sequence[int]) -> Iterator[tuple[str, StoredTensor]]:
    """The tensors whose rows, in this order, form our parameter `name`. Raises `UserError` for a wrong shape."""
    module, _, field = name.rpartition(".")
    number = re.search(r"(?<=blocks\.)\d+", module)
    block = number.group() if number else ""
    sources = description.names[module.replace(f"blocks.{block}.", "blocks.#.")]
    for source, rows in zip(sources, rows_of_parts(description.config, module, shape[0], len(sources)), strict=True):
        found = f"{source.replace('#', block)}.{field}"
        expected = (rows, *shape[1:])
        if found not in description.tensors:
            raise UserError(
                f"the weights lack {found}, {_by(expected)}, which {description.source} requires; "
                "download the model again"
            )
        stored = description.tensors[found]
        shape_found = stored.shape[::-1] if _transposed(description, name, stored) else stored.shape
        if shape_found != expected:
            raise UserError(
                f"{found} is {_by(shape_found)} in the weights but {_by(expected)} by {description.source}: "
                "they belong to different models; download both again"
            )
        yield found, stored


def rows_of_parts(config: ModelConfig, module: str, rows: int, count: int) -> Sequence[int]:
    """How many of the `rows` of a module each of the `count` modules of the files has that are stacked in it."""
    if module.endswith("qkv") and count > 1:
        return [heads * config.head_dim for heads in (config.heads, config.kv_heads, config.kv_heads)]
    return [rows // count] * count


def _transposed(description: ModelDescription, name: str, stored: StoredTensor) -> bool:
    return description.transposed and name.startswith("blocks.") and len(stored.shape) == 2


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or "one number"


def _refuse_unused(description: ModelDescription, used: set[str]) -> None:
    ignored = (*COMPUTED, "lm_head.weight", "output.weight") if description.config.tied else COMPUTED
    unused = [name for name in description.tensors if name not in used and not name.endswith(ignored)]
    if unused:
        raise UserError(
            f"the weights have {unused[0]}, {_by(description.tensors[unused[0]].shape)}, "
            f"which {description.source} does not mention ({len(unused)} such tensors); "
            "they belong to different models; download both again"
        )


def _weight(
    description: ModelDescription, name: str, parts: Sequence[tuple[str, StoredTensor]], dtype: torch.dtype
) -> Tensor:
    """A parameter of the model: its parts read, concatenated, converted and checked."""
    tensors = []
    for source, stored in parts:
        tensor = _ordered(description, source, load_weights(source, stored))
        if _transposed(description, name, stored):
            tensor = tensor.t()
        tensors.append(_checked(source, tensor, dtype))
    whole = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
    if dtype is torch.float32 and whole.ndim == 2 and _is_linear(description, name):
        whole = _fast_layout(whole)
    mapped = len(tensors) == 1 and TORCH.get(parts[0][1].dtype) is dtype and whole.data_ptr() == tensors[0].data_ptr()
    for _, stored in () if mapped else parts:
        stored.release()
    return whole


def _is_linear(description: ModelDescription, name: str) -> bool:
    """Whether a matrix is that of a linear map."""
    return name.startswith(("blocks.", "unembed.")) or (description.config.tied and name == "embed.weight")


def _fast_layout(matrix: Tensor) -> Tensor:
    """The same matrix [out, in], contiguous along the smaller dimension.

    A product with one float32 vector is nearly twice as fast in this layout as in the other.
    """
    return matrix.t().contiguous().t() if matrix.shape[0] >= matrix.shape[1] else matrix.contiguous()


def load_weights(name: str, stored: StoredTensor) -> Tensor:
    """A tensor of a file: a view of the mapping where torch has the number format, else unpacked to float32."""
    if stored.dtype in TORCH:
        dtype = TORCH[stored.dtype]
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


def _unpacked(name: str, stored: StoredTensor) -> Tensor:
    if stored.dtype == "Q8_0":
        return unpack_q8(_blocks(stored)).view(stored.shape)
    import numpy as np  # noqa: PLC0415
    from gguf.constants import GGMLQuantizationType  # noqa: PLC0415
    from gguf.quants import dequantize  # noqa: PLC0415

    kind = GGMLQuantizationType[stored.dtype]
    packed = _blocks(stored).numpy()
    numbers = torch.empty(len(packed), stored.shape[-1])
    try:
        with np.errstate(all="ignore"):
            for first in range(0, len(packed), ROWS_AT_ONCE):
                rows = slice(first, first + ROWS_AT_ONCE)
                numbers[rows] = torch.from_numpy(dequantize(packed[rows], kind))
        return numbers.view(stored.shape)
    except NotImplementedError as error:
        raise UserError(
            f"{name} has the number format {stored.dtype}, which is not supported; get the model in another format"
        ) from error


def deinterleave(tensor: Tensor, head_dim: int) -> Tensor:
    """Rows of queries or keys from GGUF's order (pair by pair) to ours: all first rows, then all second ones."""
    rest = tensor.shape[1:]
    return tensor.view(-1, head_dim // 2, 2, *rest).transpose(1, 2).reshape(-1, *rest)


def _checked(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    converted = tensor.to(dtype)
    if not _all_finite(converted):
        if _all_finite(tensor):
            raise UserError(f"{name} has weights too large for fp16; choose ", Option("dtype"), " bf16 or fp32")
        raise UserError(f"{name} has non-finite weights (NaN or infinity); download the model again")
    return converted


def _all_finite(tensor: Tensor) -> bool:
    """Whether all numbers are finite; one pass, and no memory for a mask."""
    if not tensor.numel() or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor)
    return math.isfinite(low) and math.isfinite(high)
