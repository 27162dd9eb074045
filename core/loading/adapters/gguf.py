"""Reads GGUF adapters, as llama.cpp's convert_lora_to_gguf.py writes them: pairs of tensors NAME.lora_a, NAME.lora_b.

Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp.
"""

import reprlib
from pathlib import Path

from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.formats.weights_file import read_weights_file
from core.loading.adapters.stored import Role, StoredAdapter, StoredPart

EMBEDDING = "token_embd"
_ADVICE = "choose another adapter"


def read_gguf(path: Path, architecture: str) -> StoredAdapter:
    """The adapter in a file, for a base whose GGUF architecture is `architecture`. Raises `UserError`."""
    file = read_weights_file(path)
    values = CheckedValues(path.name, file.metadata, _ADVICE)
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        if (found := values.get(key, "")) != wanted:
            problem = f"{key} is {reprlib.repr(found)}" if found else f"{key} is missing"
            raise values.error(f"{problem}, so it is not a LoRA adapter (which has {wanted!r} there)")
    if (found := values.get("general.architecture", "")) != architecture:
        raise values.error(
            f"it is an adapter for the architecture {reprlib.repr(found)}, but the model is {architecture}"
        )
    if values.values.get("adapter.alora.invocation_tokens"):
        raise values.error("adapter.alora.invocation_tokens is set, which is not supported")
    alpha = values.get("adapter.lora.alpha", 0.0)
    modules: dict[str, dict[Role, tuple[str, StoredTensor]]] = {}
    for name, stored in file.tensors.items():
        module, role = _role(values, name)
        modules.setdefault(module, {})[role] = name, stored
    if not modules:
        raise values.error("it holds no tensors")
    parts, ranks = [], set()
    for module, tensors in modules.items():
        down, up = (tensors.get(role) for role in _pair(module))
        if not (down and up):
            raise values.error(f"{module} has only one of lora_a and lora_b")
        rank = up[1].shape[-1]
        ranks.add(rank)
        stored_tensors = {role: tensor for role, (_, tensor) in tensors.items()}
        names = {role: name for role, (name, _) in tensors.items()}
        parts.append(StoredPart(module, stored_tensors, names, alpha / rank if alpha and rank else 1.0))
    return StoredAdapter(path.name, tuple(parts), gguf=True, ranks=tuple(sorted(ranks)))


def _pair(module: str) -> tuple[Role, Role]:
    return ("embedding_down", "embedding_up") if module == EMBEDDING else ("down", "up")


def _role(values: CheckedValues, name: str) -> tuple[str, Role]:
    """The module and the role that a tensor's name gives. Raises `UserError` for a name that is not known."""
    weight, _, end = name.rpartition(".")
    module = weight.removesuffix(".weight")
    if end not in ("lora_a", "lora_b") or module == weight:
        raise values.error(f"it has the tensor {name[:200]!r}, which is not supported in an adapter")
    return module, _pair(module)[end == "lora_b"]


def is_adapter(path: Path) -> bool:
    """Whether a .gguf file says that it is an adapter. Raises `UserError` where it cannot be read."""
    return read_weights_file(path).metadata.get("general.type") == "adapter"
