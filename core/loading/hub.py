"""The Hugging Face Hub: its cache on this machine, and downloads into it. Needs no torch.

Only `fetch` uses the network. It downloads configuration, tokenizer and .safetensors files, but no code and no pickle.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.bounded import exists, expanded, is_folder
from core.errors import UserError
from core.language import _
from core.loading.files import weights_files
from core.loading.revisions import MAIN, joined
from core.progress import Cancelled, Loading, Report

WANTED = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "*.safetensors*",
]
UNWANTED = ["*/*", "consolidated*"]
ADAPTER = "adapter_config.json"
"""The file that says that a repository holds a LoRA adapter of peft."""
WANTED_OF_ADAPTER = [ADAPTER, "adapter_model.safetensors"]


def cache() -> Path:
    """The cache folder of huggingface_hub, by the environment variables that it reads once, when it is imported."""
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    hub = named or Path(os.environ.get("HF_HOME", home)) / "hub"
    return expanded(os.path.expandvars(hub))


def cached(id: str, revision: str = MAIN) -> Path | None:
    """The folder of a model in the cache; None where it is missing or incomplete."""
    snapshot = _snapshot(cache() / f"models--{id.replace('/', '--')}", revision)
    return snapshot if snapshot and _complete(snapshot) else None


def cached_adapter(id: str, revision: str = MAIN) -> Path | None:
    """The folder of a LoRA adapter in the cache; None where it is missing or incomplete."""
    snapshot = _snapshot(cache() / f"models--{id.replace('/', '--')}", revision)
    return snapshot if snapshot and all((snapshot / name).exists() for name in WANTED_OF_ADAPTER) else None


def all_cached_adapters() -> Iterator[tuple[str, Path]]:
    """Every revision of every whole LoRA adapter in the cache: its name and its folder."""
    for name, folder in _all_cached(ADAPTER):
        if all((folder / each).exists() for each in WANTED_OF_ADAPTER):
            yield name, folder


def all_cached() -> Iterator[tuple[str, Path]]:
    """Every revision of every model in the cache, complete or not: its name and its folder."""
    yield from _all_cached("config.json")


def _all_cached(file: str) -> Iterator[tuple[str, Path]]:
    """Every revision of everything in the cache that has a file."""
    for repository in sorted(cache().glob("models--*--*")):
        id = repository.name.removeprefix("models--").replace("--", "/", 1)
        for revision in _revisions(repository):
            snapshot = _snapshot(repository, revision)
            if snapshot and (snapshot / file).is_file():
                yield joined(id, revision), snapshot


def _revisions(repository: Path) -> list[str]:
    """The names of the revisions in the cache, the main branch first; commits that have no name by their hash."""
    references = repository / "refs"
    names = sorted(str(path.relative_to(references)) for path in references.rglob("*") if path.is_file())
    named = {_snapshot(repository, name) for name in names}
    unnamed = sorted(each.name for each in repository.glob("snapshots/*") if each not in named)
    return sorted([*names, *unnamed], key=lambda name: (name != MAIN, name in unnamed))


def _snapshot(repository: Path, revision: str) -> Path | None:
    """The folder of a revision: of the commit that its branch or tag had when it was downloaded, or of a commit."""
    reference = repository / "refs" / revision
    try:
        commit = reference.read_text(encoding="utf-8").strip() if reference.is_file() else revision
    except (OSError, ValueError):
        return None
    snapshot = repository / "snapshots" / commit
    return snapshot if commit and "/" not in commit and is_folder(snapshot) else None


def _complete(folder: Path) -> bool:
    try:
        weights = weights_files(folder)
    except UserError:
        return False
    return (folder / "config.json").exists() and bool(weights) and all(map(exists, weights))


def fetch(id: str, report: Report | None = None, revision: str = MAIN, *, adapter: bool = False) -> Path:
    """Download a model, or an adapter, into the cache and return its folder.

    Progress goes to `report`, else to a bar on stderr. Raises `UserError` where the Hub cannot be reached or refuses.
    """
    from huggingface_hub import constants, errors, snapshot_download  # noqa: PLC0415

    name = joined(id, revision)
    bar = _silent(name, report) if report else None
    try:
        return Path(
            snapshot_download(
                id,
                revision=revision,
                cache_dir=cache(),
                allow_patterns=WANTED_OF_ADAPTER if adapter else WANTED,
                ignore_patterns=UNWANTED,
                tqdm_class=bar,
            )
        )
    except Cancelled:
        raise
    except errors.GatedRepoError as error:
        raise UserError(
            _("{id} requires you to accept its licence: do so at huggingface.co/{id}, then run hf auth login"), id=id
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise UserError(_("the Hugging Face Hub has no model {id}, or it is private; check the name"), id=id) from error
    except errors.RevisionNotFoundError as error:
        raise UserError(
            _(
                "{id} has no revision {revision}; its revisions are the branches and tags at "
                "huggingface.co/{id}/tree/main"
            ),
            id=id,
            revision=revision,
        ) from error
    except Exception as error:  # network libraries raise many types
        reason = _("the Hugging Face Hub did not answer")
        if constants.HF_HUB_OFFLINE:
            reason = _("HF_HUB_OFFLINE is set")
        elif isinstance(error, OSError) and error.strerror:
            reason = _("it could not be downloaded ({reason})").format(reason=error.strerror)
        raise UserError(
            _(
                "{name} is not on this machine and {reason}; correct that, or choose a model that is here (tokenwalk "
                "models)"
            ),
            name=name,
            reason=reason,
        ) from error


def _silent(id: str, report: Report) -> type:
    """A class of progress bars that draw nothing and call `report`."""
    from tqdm.auto import tqdm  # noqa: PLC0415

    class Silent(tqdm):  # type: ignore[misc]
        def display(self, *_: Any, **__: Any) -> None:
            if self.unit == "B" and self.total:
                report(Loading("downloading", id, int(self.n), int(self.total)))

    return Silent
