"""Loads a model: from a `ModelChoice` to weights on a device."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from core.bounded import exists, expanded
from core.engine import device as devices
from core.engine import placement, threads
from core.engine.info import PACKED, STORED
from core.engine.memory import return_free_memory
from core.engine.model import Transformer, random_model
from core.errors import Option, UserError, filled, out_of_memory
from core.language import _
from core.loading import catalog, ladder, tokenizers, weights
from core.loading.adapters import files as adapters
from core.loading.adapters.attach import attach
from core.loading.checkpoints import checkpoint
from core.loading.choice import ModelChoice
from core.loading.description import ModelDescription, describe
from core.loading.families import FAMILIES
from core.loading.families.family import Family
from core.loading.info import ModelInfo
from core.loading.model import LocalModel, Model
from core.loading.room import cards_for, check_room
from core.loading.sizes import described_bytes, usual_dtype
from core.progress import Report
from core.tokenizers.tokenizer import Tokenizer


def load_model(choice: ModelChoice, report: Report | None = None) -> Model:
    """Load the chosen model. `report` is called with the progress of the download and of reading the weights.

    The address of an engine gives the model that it serves.
    Raises `UserError` for a model that does not exist, an impossible setting, or one that does not fit into memory, and
    what `report` raises.
    """
    if catalog.is_served(choice.name):
        catalog.check(choice)
        from core.loading.served.connect import connect  # noqa: PLC0415  # an HTTP client, which files do not need

        return connect(choice, report)
    choice = _by_its_name(choice)
    device = devices.resolve(choice.device)
    if choice.dtype != "auto":
        devices.dtype(choice.dtype, device)
    catalog.check(choice)
    try:
        if catalog.is_rung(choice.name):
            return _rung(choice, device, report)
        trained = catalog.trained(choice.name)
        return _trained(choice, trained, device, report) if trained else _from_files(choice, device, report)
    except (RuntimeError, MemoryError) as error:
        if problem := out_of_memory(error):
            raise UserError(
                _(
                    "{name} does not fit on {device}: {problem}{memory}; choose a smaller model, a {dtype} of fewer "
                    "bits or another {option}"
                ),
                name=choice.name,
                device=device,
                problem=problem,
                memory=_memory(device),
                dtype=Option("dtype"),
                option=Option("device"),
            ) from error
        raise


def _by_its_name(choice: ModelChoice) -> ModelChoice:
    """The same choice; SmolLM2 by its name where it was chosen by its path, so that it is one model to all."""
    path, packaged = expanded(choice.name), catalog.find(catalog.SMOLLM2)
    same = packaged and path.suffix == ".gguf" and exists(path) and path.samefile(packaged.path)
    return replace(choice, name=catalog.SMOLLM2) if same else choice


def _memory(device: torch.device) -> str:
    sizes = {info.name: info.memory_bytes for info in devices.devices()}
    total = sizes.get(str(device))
    return _(" of its {total:.1f} GB").format(total=total / 1e9) if total else ""


def _rung(choice: ModelChoice, device: torch.device, report: Report | None) -> LocalModel:
    """A rung of the ladder, with random weights drawn on the CPU in float32."""
    _refuse_packed(choice)
    tokenizer = tokenizers.load_tokenizer(choice.tokenizer)
    rung = ladder.rung(choice.name, tokenizer.vocab_size, choice.changes)
    if not 0 <= choice.weights_seed < 2**63:
        raise UserError(
            _("the weights seed must be between 0 and 2^63 - 1, not {weights_seed}"), weights_seed=choice.weights_seed
        )
    options = {"embed_dim": Option("embed-dim"), "context": Option("context"), "blocks": Option("blocks")}
    smaller = filled(_("choose a smaller {embed_dim}, {context} or {blocks}"), options)
    check_room(_("{name} in these sizes").format(name=rung.name), 4 * rung.config.parameter_count(), device, smaller)
    dtype = devices.DTYPES["fp32" if choice.dtype == "auto" else choice.dtype]
    transformer = random_model(rung.config, choice.weights_seed).to(device, dtype)
    transformer = _compiled_if_large(transformer, rung.name, report)
    return _model(choice, rung.title, transformer, tokenizer, f"random weights, seed {choice.weights_seed}")


def _trained(choice: ModelChoice, path: Path, device: torch.device, report: Report | None) -> LocalModel:
    """A trained rung, from its checkpoint."""
    _refuse_packed(choice)
    found = checkpoint.read_checkpoint(path)
    dtype = devices.DTYPES["fp32" if choice.dtype == "auto" else choice.dtype]
    transformer = random_model(found.config, seed=0)
    found.fill(transformer)
    transformer = _compiled_if_large(transformer.to(device, dtype), choice.name, report)
    title = ladder.rung(found.card.recipe.rung, 1).title
    return _model(choice, title, transformer, found.tokenizer, found.card.origin)


def _compiled_if_large(transformer: Transformer, name: str, report: Report | None) -> Transformer:
    """The model, for compiled code on the CPU in float32: GPT-2 is three times as fast then, a small model is not."""
    large = transformer.config.parameter_count() >= threads.SMALL
    plain = (transformer.device.type, transformer.dtype) == ("cpu", torch.float32)
    return weights.compile_model(transformer, name, report) if large and plain else transformer


def _refuse_packed(choice: ModelChoice) -> None:
    if choice.dtype in PACKED:
        raise UserError(
            _("the dtype {dtype} applies to models from files, and {name} is not one; choose fp32, bf16 or fp16"),
            dtype=choice.dtype,
            name=choice.name,
        )


def _from_files(choice: ModelChoice, device: torch.device, report: Report | None) -> LocalModel:
    """A model from a folder, a GGUF file or the Hub."""
    location = catalog.find(choice.name) or catalog.fetch(choice.name, report)
    tokenizer = tokenizers.load_model_tokenizer(location.path, choice.name)
    return_free_memory()
    description = describe(location.path)
    dtype_name = _usual_dtype(description, device) if choice.dtype == "auto" else choice.dtype
    if dtype_name == STORED and not description.format:
        raise UserError(
            _(
                "{name} is not a GGUF file, so its weights cannot be used as they are stored; choose {dtype} auto, "
                "int8, int4, bf16 or fp32"
            ),
            name=choice.name,
            dtype=Option("dtype"),
        )
    if dtype_name == STORED and device.type != "cpu":  # no kernels of GPUs compute GGUF's blocks here
        dtype_name = devices.dtype_name(devices.half(device))
    packing = dtype_name if dtype_name in (*PACKED, weights.FLOAT32) else None
    smaller = filled(_("choose a smaller model, or a {dtype} of fewer bits"), {"dtype": Option("dtype")})
    needed = described_bytes(description, dtype_name, on_cpu=device.type == "cpu")
    cards = cards_for(choice.name, needed, device, choice.device, smaller)
    bits = 8 * needed / description.config.parameter_count()
    place = partial(placement.place, room=cards, bits=bits) if cards else None
    transformer = weights.build_model(description, device, devices.dtype(dtype_name, device), packing, report, place)
    converted = f"{description.format} as {dtype_name}" if description.format and device.type != "cpu" else ""
    origin = location.description + "".join(f" ({each})" for each in (description.note, converted) if each)
    model = _model(choice, description.family, transformer, tokenizer, origin, dtype_name)
    if packing == STORED:
        unpacked = ", ".join(weights.unpacked(description))
        model = replace(model, info=replace(model.info, stored=description.format, unpacked=unpacked))
    return _with_adapter(model, FAMILIES[description.model_type], report) if choice.lora else model


def _with_adapter(model: LocalModel, family: Family, report: Report | None) -> LocalModel:
    """The model with the adapter that its choice names."""
    name = model.choice.lora
    path = adapters.locate(name) or adapters.fetch(name, report)
    adapter, _unused = attach(path, family, model.transformer, model.choice.lora_scale)
    return replace(
        model,
        adapter=adapter,
        info=replace(model.info, weights=f"{model.info.weights}, with the LoRA {Path(name).name}"),
    )


def _usual_dtype(description: ModelDescription, device: torch.device) -> str:
    """The format that `auto` means: on the CPU the file's own numbers, on CUDA bf16."""
    if device.type == "cpu":
        return usual_dtype(description)
    return "bf16" if device.type == "cuda" and devices.half(device) is torch.bfloat16 else "fp32"


def _model(
    choice: ModelChoice,
    title: str,
    transformer: Transformer,
    tokenizer: Tokenizer,
    origin: str,
    dtype_name: str = "",
) -> LocalModel:
    info = ModelInfo(
        name=choice.name,
        title=title,
        parameters=transformer.config.parameter_count(),
        vocab_size=transformer.config.vocab_size,
        context=transformer.config.context,
        device=" + ".join(map(str, transformer.devices)),
        dtype=dtype_name or devices.dtype_name(transformer.dtype),
        tokenizer=tokenizer.name,
        weights=origin,
        choice=choice,
        slow_path=transformer.slow_path or "",
    )
    return LocalModel(choice, info, transformer, tokenizer)
