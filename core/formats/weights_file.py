"""Opens a weights file by its suffix, after a look at its first bytes. A pickle is a program, so it is refused."""

import struct
from pathlib import Path

from core.errors import UserError
from core.formats import gguf, safetensors
from core.formats.tensors import DAMAGE, WeightsFile, damaged, map_file
from core.language import N_, _

PICKLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl"}
_GGUF, _SAFETENSORS = N_("a GGUF file"), N_("a safetensors file")
_PICKLE, _POINTER = N_("a pickle file"), N_("a Git LFS pointer")
_ADVICE = {
    _PICKLE: N_("get the model as .safetensors or .gguf"),
    _POINTER: N_("fetch the weights with git lfs pull"),
    _GGUF: N_("give its name the ending .gguf"),
    _SAFETENSORS: N_("give its name the ending .safetensors"),
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
        raise UserError(
            _("{file} is {found}, not {wanted}; {advice}"),
            file=path.name,
            found=_(found),
            wanted=_(wanted),
            advice=_(_ADVICE.get(found, N_("download it again"))),
        )
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
            _("{file} is a pickle file, which can run any program when it is opened, so it is never opened; {advice}"),
            file=path.name,
            advice=_(_ADVICE[_PICKLE]),
        )


def sniff(head: bytes) -> str:
    """The kind of a file, in words, by its first bytes."""
    if head[:4] == gguf.MAGIC:
        return _GGUF
    if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= safetensors.LARGEST_HEADER:
        return _SAFETENSORS
    if head[:4] == b"PK\x03\x04" or head[:1] == b"\x80":
        return _PICKLE
    if head.startswith(b"version https://git-lfs"):
        return _POINTER
    if head.lstrip()[:1] == b"<":
        return N_("a web page")
    return N_("empty") if not head.strip(b"\0") else N_("a file of an unknown format")
