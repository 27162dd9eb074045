"""Files of steering vectors: safetensors of our own, and llama.cpp's control vectors (GGUF). Imports no torch.

Both name the direction of layer N `direction.N`, [d] in float32, and N counts from 0: it is added to the output of
block N. llama.cpp refuses layer 0 (common/common.cpp, `common_control_vector_load_one`; src/llama-adapter.cpp).
"""

import json
import re
import reprlib
import struct
from pathlib import Path

from core.activations.steering_vector import SteeringVector, little_endian
from core.atomic import replacing
from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import StoredTensor
from core.formats.weights_file import read_weights_file
from core.language import N_, _

FORMAT = "tokenwalk steering vector"
ARCHITECTURE = "controlvector"
SUFFIXES = (".safetensors", ".gguf")
_ADVICE = N_("choose the file of a steering vector")
_F32, _STRING, _UINT32 = 0, 8, 4
_ALIGNMENT = 32


def read_vector(path: Path) -> SteeringVector:
    """The steering vector in a file. Raises `UserError` for a file that is missing or holds something else."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            _("{file} is not a steering vector: its name must end in {choices}; {advice}"),
            file=path.name,
            choices=" or ".join(SUFFIXES),
            advice=_(_ADVICE),
        )
    file = read_weights_file(path)
    values = CheckedValues(path.name, file.metadata, _(_ADVICE))
    gguf = path.suffix == ".gguf"
    key, wanted = ("general.architecture", ARCHITECTURE) if gguf else ("format", FORMAT)
    if (found := values.get(key, "")) != wanted:
        problem = (
            _("its {key} is {found}").format(key=key, found=reprlib.repr(found))
            if found
            else _("it has no {key}").format(key=key)
        )
        raise values.error(
            _("{problem}, so it is not a steering vector (which has {wanted!r} there)").format(
                problem=problem, wanted=wanted
            )
        )
    directions = sorted(_direction(values, name, stored) for name, stored in file.tensors.items())
    if not directions:
        raise values.error(_("it holds no direction"))
    name = values.get("general.name" if gguf else "name", "") or path.stem
    hint = values.get("controlvector.model_hint", "")
    origin = values.get("general.description" if gguf else "origin", "") or (f"for {hint}" if hint else "")
    try:
        return SteeringVector(name[:80], tuple(directions), origin[:500])
    except UserError as error:
        raise values.error(str(error), "") from error


def _direction(values: CheckedValues, name: str, stored: StoredTensor) -> tuple[int, bytes]:
    """The layer of a tensor and its numbers. Raises `UserError` for a tensor that is no direction."""
    match = re.fullmatch(r"direction\.(\d{1,4})", name, re.ASCII)
    if not match:
        raise values.error(
            _("it has the tensor {name}; those of a steering vector are called direction.N").format(
                name=reprlib.repr(name)
            )
        )
    if stored.dtype != "F32" or len(stored.shape) != 1:
        raise values.error(
            _("{name} is {dtype} of shape {shape} (allowed: F32 of one dimension)").format(
                name=name, dtype=stored.dtype, shape=list(stored.shape)
            )
        )
    layer = int(match[1])
    if layer == 0 and "general.architecture" in values.values:
        raise values.error(_("it has direction.0, which llama.cpp refuses, because its layers count from 1"))
    return layer, little_endian(stored.view[stored.start : stored.start + stored.size])


def write_vector(path: Path, vector: SteeringVector) -> None:
    """Write a steering vector, as safetensors or for llama.cpp as GGUF, by the suffix. Raises `UserError`."""
    if path.suffix not in SUFFIXES:
        raise UserError(
            _("the name {file} does not tell the format to save in; end it with {choices}"),
            file=path.name,
            choices=" or ".join(SUFFIXES),
        )
    if path.suffix == ".gguf" and vector.layers[0] == 0:
        raise UserError(
            _("{file}: a control vector of llama.cpp cannot have a direction for layer 0; save it as .safetensors"),
            file=path.name,
        )
    with replacing(path) as file:
        file.write(_gguf(vector) if path.suffix == ".gguf" else _safetensors(vector))


def _tensors(vector: SteeringVector) -> dict[str, bytes]:
    return {f"direction.{layer}": little_endian(numbers) for layer, numbers in vector.directions}


def _safetensors(vector: SteeringVector) -> bytes:
    table: dict[str, object] = {"__metadata__": {"format": FORMAT, "name": vector.name, "origin": vector.origin}}
    data = b""
    for name, numbers in _tensors(vector).items():
        offsets = [len(data), len(data) + len(numbers)]
        table[name] = {"dtype": "F32", "shape": [vector.width], "data_offsets": offsets}
        data += numbers
    head = json.dumps(table).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + data


def _gguf(vector: SteeringVector) -> bytes:
    def string(text: str) -> bytes:
        encoded = text.encode("utf-8", "replace")
        return struct.pack("<Q", len(encoded)) + encoded

    texts = {
        "general.architecture": ARCHITECTURE,
        "general.name": vector.name,
        "general.description": vector.origin,
    }
    tensors, size = _tensors(vector), 4 * vector.width
    step = size + -size % _ALIGNMENT
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(texts) + 1)
    for key, text in texts.items():
        head += string(key) + struct.pack("<I", _STRING) + string(text)
    head += string("controlvector.layer_count") + struct.pack("<II", _UINT32, len(tensors))
    for number, name in enumerate(tensors):
        head += string(name) + struct.pack("<IQIQ", 1, vector.width, _F32, number * step)
    head += b"\0" * (-len(head) % _ALIGNMENT)
    return head + b"".join(numbers.ljust(step, b"\0") for numbers in tensors.values())
