"""The card of a checkpoint: how it was trained, stored as JSON in the header of its file. Needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.formats.checked import CheckedValues
from core.formats.tensors import WeightsFile
from core.formats.weights_file import read_weights_file
from core.language import _
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
from core.world.automaton import Floors

FORMAT, VERSION = "tokenwalk checkpoint", 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """How a checkpoint was trained, and what is needed to use it."""

    recipe: Recipe
    step: int
    loss: float
    """Held-out loss in nats per token."""
    corpus: str
    """What it was trained on, as it is shown."""
    corpus_sha256: str
    tokenizer: str
    originals: tuple[int, ...] = ()
    """The cl100k ids of a vocabulary pruned from cl100k; empty for a tokenizer with a name."""
    floors: Floors | None = None
    """The lowest possible losses on its corpus, where they are known."""
    losses: tuple[tuple[int, float], ...] = ()
    """(step, held-out loss in nats per token) of each evaluation up to this step."""
    command: str = ""
    """The command line that repeats the training."""
    program: str = ""
    """Versions of tokenwalk, torch and Python."""
    weights_sha256: str = ""
    """SHA-256 of the bytes of all weights, in the order of `named_parameters`."""

    @property
    def origin(self) -> str:
        """Where the weights come from, as it is shown."""
        above = f", {self.loss - self.floor:.3f} above its floor" if self.floor is not None else ""
        return f"trained for {self.step:,} steps on {self.corpus}, loss {self.loss:.3f}{above}"

    @property
    def floor(self) -> float | None:
        """The lowest possible loss for the rung's reach: one token, or the whole context."""
        if self.floors is None:
            return None
        return self.floors.last_token if self.recipe.config(1).reach == 1 else self.floors.context

    def load_tokenizer(self) -> Tokenizer:
        """Its tokenizer. Raises `UserError` where `originals` are not ids to prune cl100k to."""
        if not self.originals:
            return tokenizers.load_tokenizer(self.tokenizer)
        whole = tokenizers.load_tokenizer("cl100k")
        ids = [*self.originals]
        ordered = ids == sorted({*ids}) and ids[0] >= 0 and ids[-1] == whole.end_of_text
        pieces = {*map(whole.spelled, ids[:-1])} if ordered else {b""}  # special tokens have no bytes of text
        if b"" in pieces or not pieces.issuperset(bytes([value]) for value in range(256)):
            raise UserError(
                _(
                    "the card has invalid originals (allowed: increasing cl100k ids that include all 256 bytes and "
                    "end with the end of text); choose another checkpoint"
                )
            )
        return prune.from_ids(whole, self.originals[:-1], self.tokenizer)


def read_card(path: Path) -> Card | None:
    """The card of the checkpoint at `path`; None for another kind of safetensors file.

    Raises `UserError` for a damaged file or card.
    """
    return card_of(read_weights_file(path))


def card_of(file: WeightsFile) -> Card | None:
    """The card in the header of a file; None where it has none. Raises `UserError` for a damaged card."""
    if file.metadata.get("format") != FORMAT:
        return None
    where = file.path.name
    if file.metadata.get("version") != str(VERSION):
        raise UserError(
            _(
                "{where} is a checkpoint of version {found}, but this tokenwalk reads version {version}; choose "
                "another checkpoint"
            ),
            where=where,
            found=file.metadata.get("version"),
            version=VERSION,
        )
    advice = _("take another checkpoint")
    try:
        values = json.loads(file.metadata["card"])
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UserError(_("{where} has no readable card; {advice}"), where=where, advice=advice) from error
    return CheckedValues(f"{where}: card", values, advice).build(Card)


def metadata(card: Card) -> Mapping[str, str]:
    """The header of a checkpoint file with this card."""
    values = asdict(card) | {"originals": card.originals, "losses": card.losses}
    return {"format": FORMAT, "version": str(VERSION), "card": json.dumps(values, allow_nan=False)}


def summary(card: Card) -> dict[str, Any]:
    """The card as JSON data, without `originals` and `losses`."""
    return {name: value for name, value in asdict(card).items() if name not in ("originals", "losses")}
