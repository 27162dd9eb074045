"""Reads adapters in the layout of peft: adapter_config.json beside adapter_model.safetensors.

Every key of the configuration is used, known to have no effect on what an adapter computes, or refused by name.
Source: https://huggingface.co/docs/peft/package_reference/lora.
"""

import math
import re
import reprlib
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.formats.tensors import StoredTensor
from core.formats.weights_file import PICKLE_SUFFIXES, read_weights_file, refuse_pickle
from core.language import _
from core.loading.adapters.stored import Role, StoredAdapter, StoredPart

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
"""What stands before the name of a module in a tensor's name."""
ROLES: dict[str, Role] = {
    "lora_A.weight": "down",
    "lora_B.weight": "up",
    "lora_B.bias": "up_bias",
    "lora_magnitude_vector": "magnitude",
    "lora_magnitude_vector.weight": "magnitude",
    "lora_embedding_A": "embedding_down",
    "lora_embedding_B": "embedding_up",
    "base_layer.weight": "weight",
    "base_layer.bias": "bias",
    "weight": "weight",
    "bias": "bias",
}
"""The end of a tensor's name → what the tensor is."""
USED = {
    "peft_type", "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "target_modules",
    "init_lora_weights", "use_dora", "lora_bias", "bias", "modules_to_save",
}  # fmt: skip
"""Keys that this module reads, or whose effect is in the names of the tensors."""
WITHOUT_EFFECT = {
    "task_type", "auto_mapping", "base_model_name_or_path", "revision", "peft_version", "inference_mode",
    "lora_dropout", "fan_in_fan_out", "exclude_modules", "layers_to_transform", "layers_pattern", "loftq_config",
    "eva_config", "corda_config", "lora_ga_config", "megatron_config", "megatron_core", "runtime_config",
    "qalora_group_size",
}  # fmt: skip
"""Keys about training or about other keys. `fan_in_fan_out` says how the base stores its weights, which it knows."""
INITIALIZATIONS = (True, False, None, "gaussian", "eva", "orthogonal")
"""Values of `init_lora_weights` that leave the weights of the base as they are."""
MOST_QUANTIFIERS = 3
"""`*`, `+`, `?` and `{` in a pattern of a file at most; matching takes the length of a name to this power."""


def read_peft(folder: Path) -> StoredAdapter:
    """The adapter in a folder. Raises `UserError` where something in it is broken or not supported."""
    values = read_json(folder / CONFIG)
    values = CheckedValues(values.source, values.values, _("get the adapter again, or choose another one"))
    _check(values)
    path = folder / WEIGHTS
    if not path.exists():
        for other in sorted(folder.iterdir()):
            if other.suffix in PICKLE_SUFFIXES:
                refuse_pickle(other)
        raise UserError(
            _("{folder} has {config} but no {weights}; get the adapter again"),
            folder=folder,
            config=CONFIG,
            weights=WEIGHTS,
        )
    modules: dict[str, dict[Role, tuple[str, StoredTensor]]] = {}
    for name, stored in read_weights_file(path).tensors.items():
        module, role = _role(path.name, name)
        modules.setdefault(module, {})[role] = name, stored
    parts = tuple(_part(values, module, tensors) for module, tensors in modules.items())
    if not parts:
        raise UserError(_("{path} holds no tensors; get the adapter again"), path=path)
    ranks = {
        down.shape[0] for part in parts if (down := part.tensors.get("down") or part.tensors.get("embedding_down"))
    }
    return StoredAdapter(path.name, parts, gguf=False, ranks=tuple(sorted(ranks)))


def _check(values: CheckedValues) -> None:
    """Raise `UserError` for another kind of adapter, or for a setting whose mathematics is not here."""
    if (kind := values.get("peft_type", "")) != "LORA":
        raise values.error(
            _("peft_type is {kind}, which is not supported (supported: LORA)").format(kind=reprlib.repr(kind))
        )
    for key, value in values.values.items():
        if key not in USED and key not in WITHOUT_EFFECT and value not in (None, False, [], {}):
            raise values.error(
                _("{key} is {value}, which is not supported").format(key=reprlib.repr(key), value=reprlib.repr(value))
            )
    initialization = values.values.get("init_lora_weights", True)
    if isinstance(initialization, str):
        initialization = initialization.lower()
    if initialization not in INITIALIZATIONS:
        raise values.error(
            _(
                "init_lora_weights is {initialization}, which also changes the weights of the base and is not "
                "supported; convert the adapter to plain LoRA (path_initial_model_for_weight_conversion in peft)"
            ).format(initialization=reprlib.repr(initialization))
        )


def _role(file: str, name: str) -> tuple[str, Role]:
    """The module and the role that a tensor's name gives. Raises `UserError` for a name that is not known."""
    for end, role in ROLES.items():
        module = name.removeprefix(PREFIX).removesuffix(f".{end}")
        if name.startswith(PREFIX) and name.endswith(f".{end}") and "lora_" not in module and "_adapter" not in module:
            return module, role
    raise UserError(
        _("{file} has the tensor {name!r}, which is not supported in an adapter; choose another adapter"),
        file=file,
        name=name[:200],
    )


def _part(values: CheckedValues, module: str, tensors: dict[Role, tuple[str, StoredTensor]]) -> StoredPart:
    down = tensors.get("down") or tensors.get("embedding_down")
    factor = 1.0
    if down:
        if not _targeted(values, module):
            raise values.error(
                _("target_modules does not name {module}, but the weights have {name} for it").format(
                    module=module, name=down[0]
                )
            )
        rank = _count(values, "r", _pattern(values, "rank_pattern", module), 8)
        alpha = _number(values, "lora_alpha", _pattern(values, "alpha_pattern", module), 8.0)
        if down[1].shape[:1] != (rank,):
            raise values.error(
                _("{name} has rank {found}, but r is {rank}").format(
                    name=down[0], found=down[1].shape[0] if down[1].shape else 0, rank=rank
                )
            )
        factor = alpha / (math.sqrt(rank) if values.get("use_rslora", False) else rank)
    stored = {role: tensor for role, (_, tensor) in tensors.items()}
    return StoredPart(module, stored, {role: name for role, (name, _) in tensors.items()}, factor)


def _count(values: CheckedValues, key: str, own: Any, default: int) -> int:
    """A rank: the one of a pattern, else that of all modules."""
    given = CheckedValues(values.source, {key: values.values.get(key) if own is None else own}, values.advice)
    if (rank := given.get(key, default)) < 1:
        raise given.invalid(key, _("a whole number of at least 1"))
    return rank


def _number(values: CheckedValues, key: str, own: Any, default: float) -> float:
    return CheckedValues(values.source, {key: values.values.get(key) if own is None else own}, values.advice).get(
        key, default
    )


def _pattern(values: CheckedValues, key: str, module: str) -> Any:
    """The value of the first pattern under `key` that matches a module; None where none does."""
    for pattern, value in values.optional_object(key).values.items():
        if _matches(values, key, rf"(.*\.)?({pattern})$", module):
            return value
    return None


def _targeted(values: CheckedValues, module: str) -> bool:
    """Whether `target_modules` names a module: a pattern for whole names, or a list of their ends."""
    targets = values.values.get("target_modules")
    if targets is None or targets in ("all-linear", ["all-linear"]):
        return True
    if isinstance(targets, str):
        return _matches(values, "target_modules", rf"(?:{targets})\Z", module)
    if not isinstance(targets, list):
        raise values.invalid("target_modules", _("a list of names or one pattern"))
    return any(f".{module}".endswith(f".{target}") for target in targets)


def _matches(values: CheckedValues, key: str, pattern: str, module: str) -> bool:
    """Whether a pattern of the file matches. Raises `UserError` for one that is invalid or may take long."""
    own = pattern[8:-3] if pattern.startswith(r"(.*\.)?(") else pattern
    if len(re.findall(r"[*+?{]", own.replace("(?:", ""))) > MOST_QUANTIFIERS or re.search(r"\)[*+?{]", own):
        raise values.error(
            _("{key} has the pattern {own}, which may take too long to match").format(key=key, own=reprlib.repr(own))
        )
    try:
        return bool(re.match(pattern, module))
    except re.error as error:
        raise values.error(
            _("{key} has an invalid pattern, {own} ({error})").format(key=key, own=reprlib.repr(own), error=error)
        ) from error
