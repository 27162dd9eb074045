"""Owns the Hugging Face Hub: its cache on this machine, and fetching into it. Needs no torch.

Only `fetch` uses the network, and asks for configuration, tokenizer and .safetensors files alone: no code, no pickle.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.formats.checked import read_json

WANTED = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "*.safetensors*",
]
UNWANTED = ["*/*", "consolidated*"]
Report = Callable[[int, int], None]
"""Told the bytes that were fetched, and of how many."""


def cache() -> Path:
    """Where huggingface_hub keeps what it fetched, by the rules of its own documentation."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    hub = os.environ.get("HF_HUB_CACHE") or Path(os.environ.get("HF_HOME", home)) / "hub"
    return Path(hub).expanduser()


def cached(id: str) -> Path | None:
    """The folder of a model that was fetched whole."""
    snapshot = _snapshot(cache() / f"models--{id.replace('/', '--')}")
    return snapshot if snapshot and _complete(snapshot) else None


def all_cached() -> Iterator[tuple[str, Path]]:
    """Every model in the cache, whole or not: its id and its folder."""
    for repository in sorted(cache().glob("models--*--*")):
        snapshot = _snapshot(repository)
        if snapshot and (snapshot / "config.json").is_file():
            yield repository.name.removeprefix("models--").replace("--", "/", 1), snapshot


def _snapshot(repository: Path) -> Path | None:
    """The files of a cached repository as its main branch was when they were fetched."""
    try:
        snapshot = repository / "snapshots" / (repository / "refs" / "main").read_text().strip()
    except OSError:
        return None
    return snapshot if snapshot.is_dir() else None


def _complete(folder: Path) -> bool:
    index = folder / "model.safetensors.index.json"
    try:
        named: Iterable[Any] = read_json(index).optional_object("weight_map").values.values() if index.exists() else ()
    except UserError:
        return False
    weights = {folder / str(name) for name in named} or set(folder.glob("*.safetensors"))
    return (folder / "config.json").exists() and bool(weights) and all(each.exists() for each in weights)


def fetch(id: str, report: Report | None = None) -> Path:
    """Download a model into the cache, with a progress bar on stderr or telling `report`; returns its folder.

    Raises `UserError` where the Hub cannot be reached or will not give the model.
    """
    from huggingface_hub import constants, errors, snapshot_download  # noqa: PLC0415

    bar = _silent(report) if report else None
    try:
        return Path(snapshot_download(id, allow_patterns=WANTED, ignore_patterns=UNWANTED, tqdm_class=bar))
    except errors.GatedRepoError as error:
        raise UserError(
            f"{id} asks you to accept its licence: do so at huggingface.co/{id}, then hf auth login"
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(f"the Hugging Face Hub has no model {id}, or it is private; check the name") from error
    except Exception as error:  # what a network can do is a list without end
        why = "the Hugging Face Hub did not answer"
        if constants.HF_HUB_OFFLINE:
            why = "HF_HUB_OFFLINE is set"
        elif isinstance(error, OSError) and error.strerror:
            why = f"it could not be fetched ({error.strerror})"
        raise UserError(
            f"{id} is not on this machine and {why}; mend that, or choose a model that is here (tokenwalk models)"
        ) from error


def _silent(report: Report) -> type:
    """A progress bar that draws nothing and tells the bytes."""
    from tqdm.auto import tqdm  # noqa: PLC0415

    class Silent(tqdm):  # type: ignore[misc]
        def display(self, *_: Any, **__: Any) -> None:
            if self.unit == "B" and self.total:
                report(int(self.n), int(self.total))

    return Silent
