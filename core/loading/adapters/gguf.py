"""Reads GGUF adapters, as llama.cpp's convert_lora_to_gguf.py writes them: pairs of tensors NAME.lora_a, NAME.lora_b.

Source: https://github.com/ggml-org/llama.cpp/blob/master/src/llama-adapter.cpp.
"""

import reprlib
from pathlib import Path

from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.formats.weights_file import read_weights_file
from core.language import N_, _
from core.loading.adapters.stored import Role, StoredAdapter, StoredPart

EMBEDDING = "token_embd"
_ADVICE = N_("choose another adapter")


def read_gguf(path: Path, architecture: str) -> StoredAdapter:
    """The adapter in a file, for a base whose GGUF architecture is `architecture`. Raises `UserError`."""
    file = read_weights_file(path)
    values = CheckedValues(path.name, file.metadata, _(_ADVICE))
    for key, wanted in (("general.type", "adapter"), ("adapter.type", "lora")):
        if (found := values.get(key, "")) != wanted:
            problem = (
                _("{key} is {found}").format(key=key, found=reprlib.repr(found))
                if found
                else _("{key} is missing").format(key=key)
            )
            raise values.error(
                _("{problem}, so it is not a LoRA adapter (which has {wanted!r} there)").format(
                    problem=problem, wanted=wanted
                )
            )
    if (found := values.get("general.architecture", "")) != architecture:
        raise values.error(
            _("it is an adapter for the architecture {found}, but the model is {architecture}").format(
                found=reprlib.repr(found), architecture=architecture
            )
        )
    if values.values.get("adapter.alora.invocation_tokens"):
        raise values.error(_("adapter.alora.invocation_tokens is set, which is not supported"))
    alpha = values.get("adapter.lora.alpha", 0.0)
    modules: dict[str, dict[Role, tuple[str, StoredTensor]]] = {}
    for name, stored in file.tensors.items():
        module, role = _role(values, name)
        modules.setdefault(module, {})[role] = name, stored
    if not modules:
        raise values.error(_("it holds no tensors"))
    parts, ranks = [], set()
    for module, tensors in modules.items():
        down, up = (tensors.get(role) for role in _pair(module))
        if not (down and up):
            raise values.error(_("{module} has only one of lora_a and lora_b").format(module=module))
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
    weight, _unused, end = name.rpartition(".")
    module = weight.removesuffix(".weight")
    if end not in ("lora_a", "lora_b") or module == weight:
        raise values.error(
            _("it has the tensor {name!r}, which is not supported in an adapter").format(name=name[:200])
        )
    return module, _pair(module)[end == "lora_b"]
