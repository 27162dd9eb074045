"""Opens a weights file by its suffix, after a look at its first bytes. A pickle is a program, so it is refused."""

import struct
from pathlib import Path

from core.errors import UserError
from core.formats import gguf, safetensors
from core.formats.tensors import DAMAGE, WeightsFile, damaged, map_file

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_GGUF, _SAFETENSORS = "a GGUF file", "a safetensors file"
_ADVICE = {
    "a pickle": "get the model as .safetensors or .gguf",
    "a Git LFS pointer": "fetch the weights with git lfs pull",
    _GGUF: "name it .gguf",
    _SAFETENSORS: "name it .safetensors",
}


def read_weights_file(path: Path) -> WeightsFile:
    """Metadata and tensors of a .safetensors or .gguf file; the numbers stay on the disk.

    Raises `UserError` for a file that is of another kind, cut short or corrupt.
    """
    refuse_pickle(path)
    view = map_file(path)
    found = sniff(view[:512])
    wanted, parse = (_GGUF, gguf.parse) if path.suffix == ".gguf" else (_SAFETENSORS, safetensors.parse)
    if found != wanted:
        raise UserError(f"{path.name} is {found}, not {wanted}; {_ADVICE.get(found, 'download it again')}")
    try:
        return parse(path, view)
    except UserError:
        raise
    except DAMAGE as error:
        raise damaged(path) from error


def refuse_pickle(path: Path) -> None:
    """Raise `UserError` for a file whose suffix is that of a pickle."""
    if path.suffix in PICKLE_SUFFIXES:
        raise UserError(
            f"{path.name} is a pickle, which can run any program when it is opened, so it is never opened; "
            f"{_ADVICE['a pickle']}"
        )


def sniff(head: bytes) -> str:
    """The kind of a file, in words, by its first bytes."""
    if head[:4] == gguf.MAGIC:
        return _GGUF
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= safetensors.LARGEST_HEADER:
        return _SAFETENSORS
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return "a pickle"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer"
    if head.lstrip()[:1] == b"<":
        return "a web page"
    return "empty" if not head.strip(b"\0") else "a file of an unknown format"
