"""Which tensors of the files become which parameter. Checks names and shapes, and reads no numbers."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from core.engine.config import ModelConfig
from core.errors import UserError
from core.formats.tensors import PACKED_FLOATS, StoredTensor
from core.formats.text import shown
from core.language import _
from core.loading.description import COMPUTED, ModelDescription
from core.loading.families.layouts import Layout, as_stored
from core.loading.weights import float8, mxfp4
from core.loading.weights.float8 import Block


@dataclass(frozen=True, slots=True)
class Part:
    """A tensor of a file, whose rows are some or all of the rows of a parameter."""

    name: str
    """In the file."""
    stored: StoredTensor
    layout: Layout
    """Makes our layout of the file's."""
    scales: StoredTensor | None = None
    """One for each `block` of a matrix of 8-bit floats, or each 32 numbers of a row of 4-bit floats."""
    scales_name: str = ""
    block: Block = (1, 1)


Plan = Mapping[str, Sequence[Part]]
"""Our parameter → the tensors whose rows, in this order, form it."""


def make_plan(description: ModelDescription, parameters: Mapping[str, Tensor]) -> Plan:
    """The plan for parameters that may be on the meta device.

    Raises `UserError` where a tensor is missing, has another shape than the configuration says, or is not used.
    """
    plan = {name: list(_parts(description, name, parameter.shape)) for name, parameter in parameters.items()}
    used = [part for parts in plan.values() for part in parts]
    _refuse_unused(description, {name for part in used for name in (part.name, part.scales_name)})
    return plan


def _parts(description: ModelDescription, name: str, shape: Sequence[int]) -> Iterator[Part]:
    module, _unused, field = name.rpartition(".")
    number = re.search(r"(?<=blocks\.)\d+", module)
    block = number.group() if number else ""
    sources = description.names[module.replace(f"blocks.{block}.", "blocks.#.")]
    for source, rows in zip(sources, rows_of_parts(description.config, module, shape[0], len(sources)), strict=True):
        found = f"{source.replace('#', block)}.{field}"
        expected = (rows, *shape[1:])
        if found not in description.tensors:
            raise UserError(
                _("the weights have no tensor {name} ({shape}), which {source} requires; download the model again"),
                name=found,
                shape=_by(expected),
                source=description.source,
            )
        part = Part(found, description.tensors[found], description.layouts.get(source, as_stored))
        if (shape_found := _shape(part, description.config)) != expected:
            raise UserError(
                _(
                    "{name} is {shape} in the weights, but {expected} by {source}: they belong to different models; "
                    "download both again"
                ),
                name=found,
                shape=_by(shape_found),
                expected=_by(expected),
                source=description.source,
            )
        yield _with_scales(description, part)


def _with_scales(description: ModelDescription, part: Part) -> Part:
    """The part with the scales of its blocks, where its format or the configuration says that there are some."""
    if part.stored.dtype == PACKED_FLOATS:
        name, expected = part.name + mxfp4.SUFFIX, mxfp4.scales_shape(part.stored)
    elif description.float8_block and part.stored.dtype in float8.FORMATS:
        name, expected = part.name + float8.SUFFIX, float8.scales_shape(part.stored, description.float8_block)
    else:
        return part
    scales = description.tensors.get(name)
    if scales is None or scales.shape != expected:
        text = (
            _("{name} is {found}, but {source} says {shape}; download the model again")
            if scales
            else _("{name} is missing, but {source} says {shape}; download the model again")
        )
        raise UserError(
            text,
            name=name,
            found=_by(scales.shape) if scales else "",
            source=description.source,
            shape=_by(expected),
        )
    return replace(part, scales=scales, scales_name=name, block=description.float8_block or part.block)


def _shape(part: Part, config: ModelConfig) -> tuple[int, ...]:
    """The shape in our layout; that in the file where its layout does not apply to it."""
    try:
        return tuple(part.layout(torch.empty(part.stored.shape, device="meta"), config).shape)
    except RuntimeError:
        return part.stored.shape


def rows_of_parts(config: ModelConfig, module: str, rows: int, count: int) -> Sequence[int]:
    """How many of the `rows` of a module each of the `count` modules of the files has that are stacked in it."""
    if module.endswith("qkv") and count > 1:
        return [heads * config.head_dim for heads in (config.heads, config.kv_heads, config.kv_heads)]
    return [rows // count] * count


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape)) or _("one number")


def _refuse_unused(description: ModelDescription, used: set[str]) -> None:
    if description.config.tied:  # then an unembedding that is stored too equals the embedding
        used = used | {f"{description.names['unembed'][0]}.weight"}
    unused = [name for name in description.tensors if name not in used and not name.endswith(COMPUTED)]
    if unused:
        raise UserError(
            _(
                "the weights have the tensor {name} ({shape}), which {source} does not mention ({count} such "
                "tensors): they belong to different models; download both again"
            ),
            name=shown(unused[0]),
            shape=_by(description.tensors[unused[0]].shape),
            source=description.source,
            count=len(unused),
        )
