"""Owns a text file as a corpus: read a part at a time, kept as numbers of four bytes, never as a list."""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from core.engine.model import Transformer
from core.errors import Option, UserError
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
from core.training import source
from core.training.corpus import numbers
from core.training.dataset import SequenceDataset
from core.training.measure import MEASURED, validation_loss
from core.world.machine import Floors

PART = 2**18
"""Bytes of text that are tokenized at once."""
LONG = 2**20
"""Bytes without a space or a line's end after which a text is cut all the same."""
SPACE, LINE = b" \n"


class Text:
    """One text, the end of which is kept for validation."""

    floors: Floors | None = None

    def __init__(self, words: str, sha256: str, tokenizer: Tokenizer, ids: Tensor, recipe: Recipe) -> None:
        """`ids` is [n], int32. Raises `UserError` where it is too short for a sequence and another to measure on."""
        self.words, self.sha256, self.tokenizer = words, sha256, tokenizer
        length = recipe.config(tokenizer.vocab_size).context
        if len(ids) < 2 * (length + 1):
            raise UserError(
                f"{words} has {len(ids):,} tokens, too few for a sequence of {length} to learn from and another to "
                "measure on; take more text, or a ",
                Option("context"),
                f" of at most {max(1, len(ids) // 2 - 1)}",
            )
        kept = min(max(len(ids) // 10, length + 1), 2 * MEASURED)
        self._validation = ids[-kept:].long()
        self._data = SequenceDataset(ids[:-kept], length, recipe.stride)
        self._seed = recipe.seed
        self._order: tuple[int, Tensor] | None = None

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """Each sequence once in a random order, then each once in another."""
        return torch.stack([self._data.whole(self._shuffled(step * count + row)) for row in range(count)]).long()

    def loss(self, model: Transformer) -> float:
        return validation_loss(model, self._validation)

    def _shuffled(self, place: int) -> int:
        """The sequence at a place of the endless order."""
        count = len(self._data)
        epoch, at = divmod(place, count)
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, torch.randperm(count, generator=numbers(self._seed, epoch), dtype=torch.int32)
        return int(self._order[1][at])


def read_text(recipe: Recipe) -> Iterator[Progress | Text]:
    """The text of a recipe, last; readings in bytes before. Raises `UserError` for what is none, or too short."""
    path = source.path(recipe.text)
    whole = tokenizers.load_tokenizer("bytes" if recipe.vocabulary == "bytes" else "cl100k")
    ids, digest, done = array("i"), hashlib.sha256(), 0
    total = source.size(path)
    for part in _parts(path):
        digest.update(part.encode())
        ids.extend(whole.encode(part))
        done += len(part.encode())
        yield Progress(done, total)
    stored = torch.frombuffer(ids, dtype=torch.int32) if ids else torch.empty(0, dtype=torch.int32)
    if recipe.vocabulary == "cut" and ids:
        used = torch.unique(stored)
        words = prune.prune(whole, used.tolist(), f"cl100k cut for {path.name}")
        compact = torch.zeros(whole.vocab_size, dtype=torch.int32)
        compact[list(words.originals)] = torch.arange(words.vocab_size, dtype=torch.int32)
        stored, whole = compact[stored], words
    yield Text(path.name, digest.hexdigest(), whole, stored, recipe)


def _parts(path: Path) -> Iterator[str]:
    """The text in parts that are tokenized as if they were one."""
    left, at = b"", 0
    try:
        with path.open("rb") as file:
            while block := file.read(PART):
                at, left = at + len(block), left + block
                if cut := _last_gap(left):
                    yield _text(left[:cut], path, at - len(left))
                    left = left[cut:]
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    yield _text(left, path, at - len(left))


def _last_gap(data: bytes) -> int:
    """The last place that no token goes over; 0 where there is none.

    That is before a lone space, or after the end of a line; where there is neither for long, before any character.
    """
    for at in range(len(data) - 2, 0, -1):
        before, here, after = not data[at - 1 : at].isspace(), data[at], not data[at + 1 : at + 2].isspace()
        if before and after and here == SPACE:
            return at
        if after and here == LINE:
            return at + 1
    return next((at for at in range(len(data) - 4, 0, -1) if data[at] & 0xC0 != 0x80), 0) if len(data) > LONG else 0


def _text(data: bytes, path: Path, start: int) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        place = f"its byte {start + error.start + 1:,} is none"
        raise UserError(f"{path} is not UTF-8 text ({place}); convert it first, or take another") from error
    if "\0" in text:
        raise UserError(f"{path} is not text but binary (its byte {start + data.index(0) + 1:,} is 0); take another")
    return text
