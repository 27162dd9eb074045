"""Owns what a checkpoint says of itself, in the header of its file. No torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import WeightsFile
from core.formats.weights_file import read_weights_file
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
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
    return of(read_weights_file(path))


def of(file: WeightsFile) -> Card | None:
    """The card in a file."""
    if file.metadata.get("format") != FORMAT:
        return None
    where = file.path.name
    if file.metadata.get("version") != str(VERSION):
        raise UserError(
            f"{where} is a checkpoint of version {file.metadata.get('version')}; this tokenwalk reads version {VERSION}"
        )
    advice = "take another checkpoint"
    try:
        values = json.loads(file.metadata["card"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(f"{where} has no readable card; {advice}") from error
    return CheckedValues(f"{where}: card", values, advice).build(Card)


def metadata(card: Card) -> Mapping[str, str]:
    """The header of a checkpoint."""
    said = asdict(card) | {"originals": card.originals, "losses": card.losses}
    return {"format": FORMAT, "version": str(VERSION), "card": json.dumps(said, allow_nan=False)}


def plain(card: Card) -> dict[str, Any]:
    """A card as plain data, without its ids and losses."""
    return {name: value for name, value in asdict(card).items() if name not in ("originals", "losses")}
