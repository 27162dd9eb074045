"""A text file as a corpus. It is read and tokenized in parts, and kept as an array of 32-bit ids."""

import hashlib
from array import array
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from core.bounded import open_file
from core.engine.model import Transformer
from core.errors import Option, UserError
from core.language import _
from core.loading import tokenizers
from core.loading.checkpoints.recipe import Recipe
from core.progress import Progress
from core.tokenizers import prune
from core.tokenizers.tokenizer import Tokenizer
from core.training import source
from core.training.corpus import generator
from core.training.dataset import SequenceDataset
from core.training.measure import HELD_OUT_PREDICTIONS, held_out_loss
from core.world.automaton import Floors

PART = 2**18
"""Bytes of text that are read at once."""
LONGEST_RUN = 2**20
"""Bytes without a boundary between tokens after which the text is cut between two characters anyway."""
SPACE, NEWLINE = b" \n"


class Text:
    """The tokens of one text. The last tenth, or `2 * HELD_OUT_PREDICTIONS` tokens where that is less, is held out."""

    floors: Floors | None = None

    def __init__(self, name: str, sha256: str, tokenizer: Tokenizer, ids: Tensor, recipe: Recipe) -> None:
        """`ids` is [n], int32. Raises `UserError` where it is too short for one sequence and a held-out one."""
        self.name, self.sha256, self.tokenizer = name, sha256, tokenizer
        length = recipe.config(tokenizer.vocab_size).context
        if len(ids) < 2 * (length + 1):
            raise UserError(
                _(
                    "{name} has {count:,} tokens, too few for one sequence of {length} to train on and one to "
                    "evaluate on; use more text, or set {context} to {most} or less"
                ),
                name=name,
                count=len(ids),
                length=length,
                context=Option("context"),
                most=max(1, len(ids) // 2 - 1),
            )
        held_out = min(max(len(ids) // 10, length + 1), 2 * HELD_OUT_PREDICTIONS)
        self._held_out = ids[-held_out:].long()
        self._sequences = SequenceDataset(ids[:-held_out], length, recipe.stride)
        self._seed = recipe.seed
        self._order: tuple[int, Tensor] | None = None
        """The epoch that was asked for last, and the order of the sequences in it."""

    def batch(self, step: int, count: int, length: int) -> Tensor:
        """Ids [count, length + 1]. An epoch has each sequence once, in a random order of its own."""
        rows = [self._sequences.with_target(self._shuffled(step * count + row)) for row in range(count)]
        return torch.stack(rows).long()

    def loss(self, model: Transformer) -> float:
        return held_out_loss(model, self._held_out)

    def _shuffled(self, number: int) -> int:
        """The index of the sequence that comes as `number` in the endless series of epochs."""
        count = len(self._sequences)
        epoch, index = divmod(number, count)
        if self._order is None or self._order[0] != epoch:
            random = generator(self._seed, epoch)
            self._order = epoch, torch.randperm(count, generator=random, dtype=torch.int32)
        return int(self._order[1][index])


def read_text(recipe: Recipe) -> Iterator[Progress | Text]:
    """Read and tokenize the text of a recipe. Yields progress in bytes, then the text.

    Raises `UserError` for a file that is missing, not UTF-8, or too short.
    """
    path = source.path(recipe.text)
    tokenizer = tokenizers.load_tokenizer("bytes" if recipe.vocabulary == "bytes" else "cl100k")
    ids, digest, done = array("i"), hashlib.sha256(), 0
    total = source.size(path)
    for part in _parts(path):
        digest.update(part.encode())
        ids.extend(tokenizer.encode(part))
        done += len(part.encode())
        yield Progress(done, total)
    tensor = torch.frombuffer(ids, dtype=torch.int32) if ids else torch.empty(0, dtype=torch.int32)
    if recipe.vocabulary == "cut" and ids:
        pruned = prune.prune(tokenizer, torch.unique(tensor).tolist(), f"cl100k cut for {path.name}")
        new_ids = torch.zeros(tokenizer.vocab_size, dtype=torch.int32)
        new_ids[list(pruned.originals)] = torch.arange(pruned.vocab_size, dtype=torch.int32)
        tensor, tokenizer = new_ids[tensor], pruned
    yield Text(path.name, digest.hexdigest(), tokenizer, tensor, recipe)


def _parts(path: Path) -> Iterator[str]:
    """The text in parts, cut so that they have the same tokens as the whole."""
    rest, end = b"", 0  # bytes that are read and in no part yet; bytes read so far
    try:
        with open_file(path) as file:
            while block := file.read(PART):
                end, rest = end + len(block), rest + block
                if cut := _last_boundary(rest):
                    yield _decode(rest[:cut], path, end - len(rest))
                    rest = rest[cut:]
    except OSError as error:
        raise UserError(_("{path} cannot be read: {reason}"), path=path, reason=error.strerror) from error
    yield _decode(rest, path, end - len(rest))


def _last_boundary(data: bytes) -> int:
    """The last offset that cl100k never has a token across; 0 where there is none.

    That is before a single space, or after a newline that no whitespace follows. Data longer than `LONGEST_RUN`
    without such an offset is cut before any character.
    """
    for at in range(len(data) - 2, 0, -1):
        before, here, after = not data[at - 1 : at].isspace(), data[at], not data[at + 1 : at + 2].isspace()
        if before and after and here == SPACE:
            return at
        if after and here == NEWLINE:
            return at + 1
    if len(data) <= LONGEST_RUN:
        return 0
    return next((at for at in range(len(data) - 4, 0, -1) if data[at] & 0xC0 != 0x80), 0)


def _decode(data: bytes, path: Path, start: int) -> str:
    """UTF-8 text of bytes at offset `start` of a file. Raises `UserError` with the number of the first wrong byte."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        number = start + error.start + 1
        raise UserError(
            _("{path} is not UTF-8 text (its byte {number:,} is invalid); convert it, or choose another file"),
            path=path,
            number=number,
        ) from error
    if "\0" in text:
        number = start + data.index(0) + 1
        raise UserError(
            _("{path} is a binary file, not text (its byte {number:,} is 0); choose another file"),
            path=path,
            number=number,
        )
    return text
