"""Which files hold the weights of a model: of a folder in the layout of Hugging Face, and of a GGUF model in parts."""

import re
from functools import lru_cache
from pathlib import Path

from core.bounded import exists
from core.errors import UserError
from core.formats.checked import CheckedValues, read_json
from core.formats.tensors import StoredTensor, WeightsFile
from core.formats.text import shown
from core.formats.weights_file import PICKLE_SUFFIXES, read_weights_file, refuse_pickle
from core.language import N_, _

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_ADVICE = N_("download the model again")
_PART = re.compile(r"(?P<name>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")
"""As llama.cpp's gguf-split names the parts of a model, counted from 1."""
Version = tuple[tuple[int, ...], ...]
"""Device, number, bytes and time of each file of a model."""


def weights_files(folder: Path) -> list[Path]:
    """The files of weights in a folder, there or not: the whole file, else those of the index, else all there are.

    Transformers looks for them in this order. Raises `UserError` for an index that cannot be read.
    """
    if exists(folder / WHOLE):
        return [folder / WHOLE]
    if exists(index := folder / INDEX):
        names = {str(name) for name in read_json(index).object("weight_map").values.values()}
        return [folder / name for name in sorted(Path(name).name for name in names)]
    return sorted(folder.glob("*.safetensors"))


def read_folder(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a folder. Raises `UserError` where files are missing, broken, or two have the same tensor."""
    paths = weights_files(folder)
    if missing := [path.name for path in paths if not exists(path)]:
        raise UserError(
            _("{folder} is incomplete: {missing} of {count} weights files are missing, such as {example}; {advice}"),
            folder=folder,
            missing=len(missing),
            count=len(paths),
            example=shown(missing[0]),
            advice=_(_ADVICE),
        )
    if not paths:
        for path in sorted(folder.iterdir()):
            if path.suffix in PICKLE_SUFFIXES:
                refuse_pickle(path)
        raise UserError(_("{folder} has no .safetensors file; {advice}"), folder=folder, advice=_(_ADVICE))
    return _joined([read_weights_file(path) for path in paths])


def parts(path: Path) -> list[Path]:
    """All parts of the GGUF model that `path` is a part of, there or not, the first one first; else `path` alone."""
    found = _PART.fullmatch(path.name)
    if not found:
        return [path]
    count = int(found["count"])
    return [path.with_name(f"{found['name']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]


def read_gguf(path: Path) -> WeightsFile:
    """A GGUF file, or all parts of the model that it is a part of: metadata of the first, tensors of all.

    Raises `UserError` where a part is missing, broken, or of another model.
    """
    paths = parts(path)
    if len(paths) == 1:
        file = read_weights_file(path)
        count = CheckedValues(path.name, file.metadata).integer("split.count", default=0)
        if count > 1:
            raise UserError(
                _(
                    "{file} is one of {count} parts of a model, but its name does not say which; name the parts "
                    "NAME-00001-of-{count:05}.gguf and so on"
                ),
                file=path.name,
                count=count,
            )
        return file
    if missing := [part.name for part in paths if not exists(part)]:
        raise UserError(
            _(
                "{file} is one of {count} parts of a model, and {missing} of them are missing, such as {example}; put "
                "all parts into one folder"
            ),
            file=path.name,
            count=len(paths),
            missing=len(missing),
            example=missing[0],
        )
    files = [read_weights_file(part) for part in paths]
    for number, file in enumerate(files):
        values = CheckedValues(file.path.name, file.metadata, _("get all parts of one model"))
        values.require("split.no", number)
        values.require("split.count", len(files))
    tensors = _joined(files)
    CheckedValues(paths[0].name, files[0].metadata, _("get all parts of one model")).require(
        "split.tensors.count", len(tensors)
    )
    return WeightsFile(paths[0], files[0].metadata, tensors)


def version(path: Path) -> Version:
    """What differs when a file of the model at `path` was changed or replaced. Raises `OSError` where one is gone."""
    paths = sorted(path.iterdir()) if path.is_dir() else parts(path)
    stats = [each.stat() for each in paths if exists(each)]
    return tuple((each.st_dev, each.st_ino, each.st_size, each.st_mtime_ns) for each in stats)


def check_gguf(path: Path) -> None:
    """Raise `UserError` where the tables of a GGUF model are broken. Whole ones are read once, until they change."""
    _check_gguf(path, version(path))


@lru_cache(maxsize=256)
def _check_gguf(path: Path, version: Version) -> None:
    read_gguf(path)


def _joined(files: list[WeightsFile]) -> dict[str, StoredTensor]:
    """The tensors of all files. Raises `UserError` for a name that is in two."""
    owners: dict[str, str] = {}
    for file in files:
        for name in file.tensors:
            if name in owners:
                raise UserError(
                    _("{name} is in both {first} and {file}; {advice}"),
                    name=shown(name),
                    first=owners[name],
                    file=file.path.name,
                    advice=_(_ADVICE),
                )
            owners[name] = file.path.name
    return {name: stored for file in files for name, stored in file.tensors.items()}
