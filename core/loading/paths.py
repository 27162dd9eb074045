"""What is at a path that a person types: folders, models and adapters. Reads beginnings of files, needs no torch."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from core.bounded import expanded
from core.language import _
from core.loading import listing
from core.loading.adapters import files as adapters
from core.loading.checkpoints import card
from core.loading.listing import Offer

MOST_ENTRIES = 5_000
"""Entries of a folder that are looked at."""
MOST_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Place:
    """One path that a typed text can continue to."""

    kind: Literal["folder", "model", "adapter"]
    offer: Offer
    """Its name is the path in the form that was typed."""


def is_path(text: str) -> bool:
    """Whether a text means a path, and not a part of a name or a Hub id."""
    return text.startswith((".", "~", os.sep))


def places(text: str) -> list[Place]:
    """The folder, models and adapters whose paths begin with `text`; models and adapters that are broken say why."""
    head, _unused, start = text.rpartition(os.sep)
    typed = f"{head}{os.sep}" if os.sep in text else ""
    folder = expanded(typed or ".")
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in islice(entries, MOST_ENTRIES) if entry.name.startswith(start))
    except (OSError, ValueError, RuntimeError):
        return []
    found = (_place(typed + name, folder / name) for name in names if start or not name.startswith("."))
    return list(islice((place for place in found if place), MOST_SHOWN))


def _place(name: str, path: Path) -> Place | None:
    try:
        if path.is_dir():
            if (path / "config.json").is_file():
                return Place("model", listing.offer_of(name, path, _("a model folder")))
            if adapters.is_adapter_folder(path):
                return Place("adapter", Offer(name, _("LoRA adapter"), _("for the present model"), _size(path)))
            return Place("folder", Offer(name + os.sep, _("folder"), ""))
        if path.suffix == ".gguf" and path.is_file():
            if listing.is_gguf_adapter(path):
                return Place("adapter", Offer(name, _("LoRA adapter"), _("for the present model"), path.stat().st_size))
            return Place("model", listing.offer_of(name, path, _("a GGUF file")))
        if path.suffix == ".safetensors" and path.is_file() and card.read_card(path):
            return Place("model", listing.checkpoint_offer(name, path))
    except (OSError, ValueError):
        return None
    return None


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))
