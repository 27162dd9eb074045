"""Owns what a checkpoint says of itself, in the header of its file. No torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core import files, prune, tokenizer
from core.config import Hyperparameters
from core.errors import Mistake
from core.tokenizer import Tokenizer
from core.training.recipe import Recipe
from core.world.machine import Floors

FORMAT, VERSION = "tokenwalk checkpoint", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """What a checkpoint is."""

    recipe: Recipe
    step: int
    loss: float
    """The validation loss, nats a token."""
    corpus: str
    """What it was trained on, for a person."""
    corpus_sha256: str
    tokenizer: str
    originals: tuple[int, ...] = ()
    """The ids of a vocabulary that was cut from cl100k."""
    floors: Floors | None = None
    """The lowest losses there are on its corpus."""
    losses: tuple[tuple[int, float], ...] = ()
    """Steps and the validation losses after them, up to this one."""
    command: str = ""
    """What makes the same again."""
    program: str = ""
    """What made it."""
    weights_sha256: str = ""
    """Of the weights' bytes, by their names in order."""

    @property
    def origin(self) -> str:
        """What its weights are, for a person."""
        above = f", {self.loss - self.floor:.3f} above its floor" if self.floor is not None else ""
        return f"trained for {self.step:,} steps on {self.corpus}, loss {self.loss:.3f}{above}"

    @property
    def floor(self) -> float | None:
        """The lowest loss of a rung that sees as far: the last token alone, or all of the text."""
        if self.floors is None:
            return None
        return self.floors.last_token if self.recipe.config(1).reach == 1 else self.floors.context

    def words(self) -> Tokenizer:
        """Its vocabulary. Raises `Mistake` where that cannot be."""
        if not self.originals:
            return tokenizer.load(self.tokenizer)
        whole = tokenizer.load("cl100k")
        if sorted({*self.originals}) != [*self.originals] or self.originals[-1] != whole.end_of_text:
            raise Mistake("its vocabulary is no part of cl100k")
        return prune.made_of(whole, self.originals[:-1], self.tokenizer)


def read(path: Path) -> Card | None:
    """What the checkpoint at `path` is; None where that is another kind of file. Raises `Mistake` for a damaged one."""
    return of(files.read(path))


def of(file: files.WeightsFile) -> Card | None:
    """The card in a file."""
    if file.metadata.get("format") != FORMAT:
        return None
    where = file.path.name
    if file.metadata.get("version") != str(VERSION):
        raise Mistake(
            f"{where} is a checkpoint of version {file.metadata.get('version')}; this tokenwalk reads version {VERSION}"
        )
    try:
        said = json.loads(file.metadata["card"])
        said["recipe"]["changes"] = Hyperparameters(**said["recipe"]["changes"])
        said["recipe"] = Recipe(**said["recipe"])
        said["floors"] = Floors(**said["floors"]) if said.get("floors") else None
        said["originals"] = tuple(map(int, said["originals"]))
        said["losses"] = tuple((int(step), float(loss)) for step, loss in said["losses"])
        return Card(**said)
    except Mistake as mistake:
        raise Mistake(f"{where} has a card that cannot be: {mistake}") from mistake
    except (KeyError, TypeError, ValueError) as error:
        raise Mistake(f"{where} has a damaged card; take another checkpoint") from error


def metadata(card: Card) -> Mapping[str, str]:
    """The header of a checkpoint."""
    said = asdict(card) | {"originals": card.originals, "losses": card.losses}
    return {"format": FORMAT, "version": str(VERSION), "card": json.dumps(said, allow_nan=False)}


def plain(card: Card) -> dict[str, Any]:
    """A card as plain data, without its ids and losses."""
    return {name: value for name, value in asdict(card).items() if name not in ("originals", "losses")}
