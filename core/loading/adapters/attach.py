"""Puts an adapter beside the weights of a model: names of its files become modules and rows of the model."""

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from core.engine.config import ModelConfig
from core.engine.lora import (
    Adapter,
    EmbeddingLowRank,
    LowRank,
    Replacement,
    Shift,
    WeightDecomposed,
)
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.engine.quantized import Quantized
from core.errors import UserError
from core.language import N_, _
from core.loading.adapters.files import read_adapter
from core.loading.adapters.stored import Role, StoredAdapter, StoredPart
from core.loading.families.family import Family, KeyMap, Layouts, key_map
from core.loading.families.layouts import Layout, as_stored, transposed
from core.loading.weights.plan import rows_of_parts
from core.loading.weights.reading import read_tensor

_ADVICE = N_("it belongs to another model; choose an adapter that was made for this one")


@dataclass(frozen=True, slots=True)
class Target:
    """A module of the model, and the rows of its output that one module of the files has."""

    name: str
    module: nn.Module
    rows: slice
    height: int
    """How many rows these are."""
    width: int
    """Inputs of a linear map; V of an embedding; 0 of a norm."""
    embeds: bool
    """Whether the module is an embedding."""
    layout: Layout
    """Makes our layout of a weight or bias in the files."""

    def bias(self) -> Tensor | None:
        """The bias of these rows, float32 on the CPU; None where the module has none."""
        own: Tensor | None = getattr(self.module, "bias", None)
        return None if own is None else own[self.rows].detach().to("cpu", torch.float32)


def attach(path: Path, family: Family, transformer: Transformer, scale: float) -> tuple[Adapter, StoredAdapter]:
    """Load the adapter at `path` onto a model of `family`.

    Raises `UserError` where the adapter is broken, not supported, or made for a model of other modules or sizes.
    """
    stored = read_adapter(path, family)
    names, layouts = (family.gguf_names, family.gguf_layouts) if stored.gguf else (family.names, family.layouts)
    changed = {f"{part.module}.weight" for part in stored.parts}
    targets = dict(_targets(key_map(names, transformer.config, changed), layouts, transformer))
    deltas: dict[str, list[tuple[slice, nn.Module]]] = {}
    for part in stored.parts:
        module = part.module if stored.gguf else part.module.removeprefix(family.prefix)
        if module not in targets:
            raise UserError(
                _("{source} changes {module}, which this {title} model lacks; {advice}"),
                source=stored.source,
                module=part.module,
                title=family.title,
                advice=_(_ADVICE),
            )
        target = targets[module]
        _check_roles(stored, part, target)
        if "up" in part.tensors and not _orders_rows(target, transformer.config):
            raise UserError(
                _(
                    "{source} changes {module}, whose layout of weights does not support low-rank matrices; choose "
                    "another adapter"
                ),
                source=stored.source,
                module=part.module,
            )
        numbers = _numbers(stored, part, target, transformer.config)
        for delta in _deltas(stored, part, target, numbers):
            deltas.setdefault(target.name, []).append((target.rows, delta.to(transformer.device)))
    return Adapter(transformer, deltas, scale), stored


# Modules -------------------------------------------------------------------------------------------------------------


def _targets(names: KeyMap, layouts: Layouts, transformer: Transformer) -> Iterator[tuple[str, Target]]:
    """Every module of the files by its name there, and where it is in the model."""
    config = transformer.config
    for name, module in transformer.named_modules():
        number = re.search(r"(?<=blocks\.)\d+", name)
        block = number.group() if number else ""
        sources = names.get(name.replace(f"blocks.{block}.", "blocks.#."), ())
        sizes = _sizes(module) if sources else None
        if sizes:
            height, width = sizes
            embeds, first = isinstance(module, nn.Embedding) or getattr(module, "embeds", False), 0
            for source, count in zip(sources, rows_of_parts(config, name, height, len(sources)), strict=True):
                rows = slice(first, first := first + count)
                layout = layouts.get(source, as_stored)
                yield source.replace("#", block), Target(name, module, rows, count, width, embeds, layout)


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """`height` and `width` of the whole module as in `Target`; None for a module without weights of its own."""
    if isinstance(module, Quantized):
        return module.shape[::-1] if module.embeds else module.shape
    weight = getattr(module, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim > 2:
        return None
    if weight.ndim == 1:
        return weight.shape[0], 0
    rows, columns = weight.shape
    return (columns, rows) if isinstance(module, nn.Embedding) else (rows, columns)


# Numbers -------------------------------------------------------------------------------------------------------------


def _numbers(stored: StoredAdapter, part: StoredPart, target: Target, config: ModelConfig) -> dict[Role, Tensor]:
    """The tensors of a part in float32 and in our layout. Raises `UserError` for wrong sizes and non-finite numbers."""
    numbers: dict[Role, Tensor] = {}
    wanted = _shapes(part, target)
    for role, tensor in part.tensors.items():
        number = read_tensor(part.names[role], tensor).to(torch.float32, copy=True)
        tensor.release()
        if stored.gguf and role == "embedding_down":
            number = number.t()
        if role == "weight" or (role not in ("down", "embedding_down") and target.layout is not transposed):
            number = _in_our_layout(number, target, config)
        if number.shape != wanted[role]:
            raise UserError(
                _("{name} of {source} is {shape}, but this model needs {wanted}; {advice}"),
                name=part.names[role],
                source=stored.source,
                shape=_by(number.shape),
                wanted=_by(wanted[role]),
                advice=_(_ADVICE),
            )
        if not bool(torch.isfinite(number).all()):
            raise UserError(
                _("{name} of {source} has non-finite weights; get the adapter again"),
                name=part.names[role],
                source=stored.source,
            )
        numbers[role] = number
    return numbers


def _orders_rows(target: Target, config: ModelConfig) -> bool:
    """Whether the layout of the files changes at most the order of rows, apart from a transposition."""
    rows = torch.arange(target.height)[:, None].expand(-1, 2)
    if target.layout in (as_stored, transposed):
        return True
    ordered = _in_our_layout(rows, target, config)
    return ordered.shape == rows.shape and torch.equal(ordered.sort(dim=0).values, rows)


def _in_our_layout(number: Tensor, target: Target, config: ModelConfig) -> Tensor:
    """A weight, a bias, or another matrix with the rows of the weight; unchanged where the layout does not fit it."""
    try:
        return target.layout(number, config)
    except RuntimeError:
        return number


def _shapes(part: StoredPart, target: Target) -> dict[Role, tuple[int, ...]]:
    """The shape that each tensor of a part must have in our layout."""
    up = part.tensors.get("up") or part.tensors.get("embedding_up")
    rank = max(1, up.shape[-1] if up and up.shape else 1)
    height, width = target.height, target.width
    weight = (width, height) if target.embeds else (height, width) if width else (height,)
    return {
        "down": (rank, width), "up": (height, rank), "up_bias": (height,), "magnitude": (height,),
        "embedding_down": (rank, width), "embedding_up": (height, rank), "weight": weight, "bias": (height,),
    }  # fmt: skip


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape)) or "one number"


# Deltas --------------------------------------------------------------------------------------------------------------


def _check_roles(stored: StoredAdapter, part: StoredPart, target: Target) -> None:
    """Raise `UserError` for tensors that do not belong together or to the module."""
    roles = set(part.tensors)
    for pair in (("down", "up"), ("embedding_down", "embedding_up")):
        if len(roles & set(pair)) == 1:
            raise UserError(
                _("{source} has only one of the two low-rank matrices of {module}; get the adapter again"),
                source=stored.source,
                module=part.module,
            )
    if (roles & {"down", "up_bias", "magnitude"} and (target.embeds or not target.width)) or (
        "embedding_down" in roles and not target.embeds
    ):
        raise UserError(
            _("{source} has {name}, which does not belong to a module such as {module}; choose another adapter"),
            source=stored.source,
            name=part.names[min(roles)],
            module=part.module,
        )
    if (roles & {"up_bias", "magnitude"} and "down" not in roles) or {"up_bias", "magnitude"} <= roles:
        raise UserError(
            _("{source}: the tensors of {module} do not form a known kind of LoRA; choose another adapter"),
            source=stored.source,
            module=part.module,
        )
    if "magnitude" in roles and "weight" in roles:
        raise UserError(
            _(
                "{source}: DoRA for {module}, whose weights the adapter replaces as well, is not supported; choose "
                "another adapter"
            ),
            source=stored.source,
            module=part.module,
        )


def _deltas(
    stored: StoredAdapter, part: StoredPart, target: Target, numbers: dict[Role, Tensor]
) -> Iterator[nn.Module]:
    """What a part adds to the output of its module."""
    roles = set(numbers)
    if "down" in roles:
        low_rank = LowRank(numbers["down"], numbers["up"], part.factor, numbers.get("up_bias"))
        yield _weight_decomposed(low_rank, numbers["magnitude"], target) if "magnitude" in roles else low_rank
    if "embedding_down" in roles:
        yield EmbeddingLowRank(numbers["embedding_down"], numbers["embedding_up"], part.factor)
    if "weight" in roles:
        yield Replacement(_module(target, numbers["weight"], numbers.get("bias")))
    elif "bias" in roles:
        own = target.bias()
        if own is None:
            raise UserError(
                _("{source} has {name}, but {module} has no bias; {advice}"),
                source=stored.source,
                name=part.names["bias"],
                module=part.module,
                advice=_(_ADVICE),
            )
        yield Shift(numbers["bias"] - own)


def _weight_decomposed(low_rank: LowRank, magnitude: Tensor, target: Target) -> WeightDecomposed:
    whole = matrix(target.module, target.rows.start, target.rows.stop)
    norms = torch.linalg.vector_norm(whole + low_rank.factor * (low_rank.up @ low_rank.down), dim=1)
    return WeightDecomposed(low_rank, magnitude, norms, target.bias())


def _module(target: Target, weight: Tensor, bias: Tensor | None) -> nn.Module:
    """The module of a target with another weight, in float32, and with another bias where one is given."""
    if target.embeds:
        return nn.Embedding.from_pretrained(weight)
    bias = target.bias() if bias is None else bias
    if target.width:
        module: nn.Module = nn.utils.skip_init(nn.Linear, target.width, target.height, bias=bias is not None)
    else:
        module = copy.deepcopy(target.module).cpu().float()
    module.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
    return module.requires_grad_(False)
