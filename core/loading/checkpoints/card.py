"""Owns what a checkpoint says of itself, in the header of its file. No torch."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from core.errors import UserError
from core.formats import files
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
from core.world.automaton import Floors

FORMAT, VERSION = "tokenwalk checkpoint", 1
Made = TypeVar("Made")


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
        """Its vocabulary. Raises `UserError` where that cannot be."""
        if not self.originals:
            return tokenizers.load_tokenizer(self.tokenizer)
        whole = tokenizers.load_tokenizer("cl100k")
        ids = [*self.originals]
        ordered = ids == sorted({*ids}) and ids[0] >= 0 and ids[-1] == whole.end_of_text
        pieces = {*map(whole.spelled, ids[:-1])} if ordered else {b""}  # special tokens are spelled by nothing
        if b"" in pieces or not pieces.issuperset(bytes([value]) for value in range(256)):
            raise UserError("its vocabulary is no part of cl100k")
        return prune.from_ids(whole, self.originals[:-1], self.tokenizer)


def read_card(path: Path) -> Card | None:
    """What the checkpoint at `path` is; None where that is another kind of file. Raises `UserError` for a damaged one."""
    return of(files.read_weights_file(path))


def of(file: files.WeightsFile) -> Card | None:
    """The card in a file."""
    if file.metadata.get("format") != FORMAT:
        return None
    where = file.path.name
    if file.metadata.get("version") != str(VERSION):
        raise UserError(
            f"{where} is a checkpoint of version {file.metadata.get('version')}; this tokenwalk reads version {VERSION}"
        )
    try:
        said = json.loads(file.metadata["card"])
        said["recipe"]["changes"] = _made(Hyperparameters, said["recipe"]["changes"])
        said["recipe"] = _made(Recipe, said["recipe"])
        said["floors"] = _made(Floors, said["floors"]) if said.get("floors") else None
        said["originals"] = tuple(map(int, said["originals"]))
        said["losses"] = tuple((int(step), float(loss)) for step, loss in said["losses"])
        return _made(Card, said)
    except UserError as mistake:
        raise UserError(f"{where} has a card that cannot be: {mistake}") from mistake
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise UserError(f"{where} has a damaged card; take another checkpoint") from error


def _made(kind: type[Made], said: Mapping[str, Any]) -> Made:
    """A value of plain data. Raises `TypeError` where that is of other types than the value's own."""
    for name, wanted in get_type_hints(kind).items():
        if name in said and not _is(said[name], wanted):
            raise TypeError(name)
    return kind(**said)


def _is(value: object, wanted: Any) -> bool:
    if isinstance(wanted, UnionType) or get_origin(wanted) is Union:
        return any(_is(value, each) for each in get_args(wanted))
    if get_origin(wanted) is Literal:
        return value in get_args(wanted)
    if wanted is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, get_origin(wanted) or wanted)


def metadata(card: Card) -> Mapping[str, str]:
    """The header of a checkpoint."""
    said = asdict(card) | {"originals": card.originals, "losses": card.losses}
    return {"format": FORMAT, "version": str(VERSION), "card": json.dumps(said, allow_nan=False)}


def plain(card: Card) -> dict[str, Any]:
    """A card as plain data, without its ids and losses."""
    return {name: value for name, value in asdict(card).items() if name not in ("originals", "losses")}
