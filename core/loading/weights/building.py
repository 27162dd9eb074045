"""Makes the model of a description and assigns its parameters, in a dtype of torch or as matrices of compiled code."""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from core.engine import placement
from core.engine.experts import Router
from core.engine.graphs import transformer_class
from core.engine.memory import release_clean_pages
from core.engine.model import Transformer
from core.engine.packed import compiled
from core.engine.packed.compiled import Matrix
from core.engine.packed.decode import CompiledTransformer
from core.engine.packed.linear import PackedEmbedding, PackedLinear
from core.engine.quantized import Int4Linear, Int8Embedding, Int8Linear, int4, int8, quantizes
from core.loading.description import ModelDescription
from core.loading.weights.packing import FLOAT32, pack
from core.loading.weights.plan import Part, make_plan
from core.loading.weights.reading import TORCH, Reader, read_tensor
from core.progress import Loading, Report

LARGE = 2**24
"""Parameters from which a lower peak of memory is worth the time: a tenth of a second, and faults of pages after it."""


def build_model(
    description: ModelDescription,
    device: torch.device,
    dtype: torch.dtype,
    packing: str | None = None,
    report: Report | None = None,
    place: Callable[[Transformer], placement.Placement] | None = None,
) -> Transformer:
    """The model with its weights in `dtype`; with `packing`, of `info.PACKED` or fp32, its matrices are packed.

    On the CPU they are computed by compiled kernels, elsewhere by torch's. fp32 is packed on the CPU only, where 16-bit
    numbers of the file stay mapped. `place` spreads the blocks over several devices, whose first is `device`.
    `report` is called before each tensor is read; what it raises ends the loading.
    Raises `UserError` where tensors and configuration disagree, or for non-finite weights.
    """
    large = description.config.parameter_count() >= LARGE
    if large:
        release_clean_pages()
    compiles = packing is not None and device.type == "cpu" and not place
    if compiles:
        _report_compiling(description.family, report)
    if compiles and compiled.available() and large:  # compiling needs much memory, so it comes before the weights
        release_clean_pages()
    if packing == FLOAT32 and not (compiles and compiled.available()):
        packing, compiles = None, False
    kind = CompiledTransformer if compiles else transformer_class(device, place)
    model = kind.without_weights(description.config)
    places = place(model) if place else {"": device}
    parameters = dict(model.named_parameters())
    plan = make_plan(description, parameters)
    packed = _packable(model, plan) if packing else []
    reader = Reader(description.config, plan, report)
    weights = {
        name: _weight(reader, parameters[name], plan[name], dtype).to(placement.device_of(places, name))
        for name in plan
        if name not in packed
    }
    model.load_state_dict(weights, assign=True, strict=False)  # not strict: a tied matrix is in the plan once
    for name in packed:
        module = name.removesuffix(".weight")
        bias = getattr(model.get_submodule(module), "bias", None)
        if compiles:
            parts = pack(reader, name, plan[name], packing or "")
            made: nn.Module = PackedEmbedding(parts) if name == "embed.weight" else PackedLinear(parts, bias)
        else:
            rows = (block for part in plan[name] for block in reader.row_blocks(part))
            where, shape = placement.device_of(places, name), tuple(parameters[name].shape)
            made = _quantized(name, rows, shape, packing or "", dtype, where, bias)
        model.set_submodule(module, made)
    if description.config.tied:
        _tie(model)
    model.requires_grad_(False).eval()
    return placement.spread(model, places) if place else model


def compile_model(model: Transformer, name: str, report: Report | None = None) -> Transformer:
    """The same model, float32 on the CPU, for compiled code; its weights are shared. Itself where nothing compiles."""
    _report_compiling(name, report)
    if not compiled.available():
        return model
    made = CompiledTransformer.without_weights(model.config)
    made.load_state_dict(model.state_dict(), assign=True)
    for parameter in ("embed.weight", *_linear(model)):
        module, weight = parameter.removesuffix(".weight"), model.get_parameter(parameter).detach()
        parts = [Matrix("F32", (weight.shape[0], weight.shape[1]), weight.view(torch.uint8))]
        bias = getattr(model.get_submodule(module), "bias", None)
        made.set_submodule(module, PackedEmbedding(parts) if module == "embed" else PackedLinear(parts, bias))
    return made.requires_grad_(False).eval()


def _report_compiling(name: str, report: Report | None) -> None:
    if report and compiled.compiles():
        report(Loading("compiling", name, 0, 0))


def _quantized(
    name: str,
    rows: Iterable[Tensor],
    shape: tuple[int, ...],
    packing: str,
    dtype: torch.dtype,
    device: torch.device,
    bias: Tensor | None,
) -> nn.Module:
    """A matrix for torch's kernels. Embedding and unembedding have 8 bits, as does what fits no 4-bit kernel."""
    if packing == "int4" and name.startswith("blocks.") and quantizes(shape):
        return Int4Linear(*int4(rows, dtype, device), bias)
    weight, scales = int8(rows, dtype, device)
    return Int8Embedding(weight, scales) if name == "embed.weight" else Int8Linear(weight, scales, bias)


def _tie(model: Transformer) -> None:
    """Make the unembedding share the embedding's matrix."""
    if isinstance(model.embed, PackedEmbedding):
        model.set_submodule("unembed", PackedLinear(model.embed.parts))
    elif isinstance(model.embed, Int8Embedding):
        model.set_submodule("unembed", Int8Linear(model.embed.weight, model.embed.scales))
    else:
        model.unembed.weight = model.embed.weight


def _linear(model: Transformer) -> list[str]:
    """The names of the matrices of linear maps, without those that choose experts."""
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    return [f"{name}.weight" for name, module in linear.items() if not isinstance(module, Router)]


# A dtype of torch -----------------------------------------------------------------------------------------------------


def _weight(reader: Reader, parameter: Tensor, parts: Sequence[Part], dtype: torch.dtype) -> Tensor:
    """A parameter: a view of the file where that has its numbers, else its parts one after the other.

    Of what is copied only some rows are in memory twice.
    """
    if len(parts) == 1 and TORCH.get(parts[0].stored.dtype) is dtype and not parts[0].scales:
        view = reader.arranged(parts[0], read_tensor(parts[0].name, parts[0].stored))
        if _is_mapped(view, parts[0]):
            return reader.read(parts[0], dtype)
    whole, first = torch.empty(tuple(parameter.shape), dtype=dtype), 0
    for part in parts:
        for block in reader.row_blocks(part, dtype):
            whole[first : (first := first + len(block))] = block
    return whole


def _is_mapped(tensor: Tensor, part: Part) -> bool:
    """Whether `tensor` is a view of the mapped file."""
    address = torch.frombuffer(part.stored.view, dtype=torch.uint8).data_ptr()
    return address <= tensor.data_ptr() < address + len(part.stored.view)


# Packed ---------------------------------------------------------------------------------------------------------------


def _packable(model: Transformer, plan: Iterable[str]) -> list[str]:
    """The names of the matrices that are packed."""
    wanted = {*_linear(model), "embed.weight"}
    return [name for name in plan if name in wanted]
