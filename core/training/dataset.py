"""Sequences of N tokens and their targets, the same sequences shifted by one (article: the sequence dataset)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import UserError
from core.language import _

REFERENCE = (
    "The kettle was on before the others woke. Rain had fallen all night, and the yard behind the house was full of "
    "small lakes in which the first light stood. She cut the bread, put oat milk on the table and read the letter "
    "once more: the train would leave at 9:40, it said, and somebody would meet her at the other end. "
    '"You could stay," he said from the door. She smiled. "I could," she said, "but then who would count the birds?" '
    "There were 412 of them last year, on one island, and nobody knew why they had come back. A map, two pencils, "
    "a jar of honey: that was all she took. By noon the sea was in sight, grey and quiet, and the boat that she had "
    "been promised lay where it should, with its engine running and its owner asleep.\n"
)
"""A short text for measurements that need one and must not depend on the prompt."""


class SequenceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Overlapping sequences of one text: inputs [length] and targets [length], the token after each input.

    Sequence i begins at token i · stride. Raises `UserError` where the text is too short for one sequence, or `length`
    or `stride` is below 1.
    """

    def __init__(self, ids: Sequence[int] | Tensor, length: int, stride: int = 1) -> None:
        if length < 1 or stride < 1:
            raise UserError(
                _("the length and the stride of sequences must be at least 1, not {length} and {stride}"),
                length=length,
                stride=stride,
            )
        if len(ids) <= length:
            raise UserError(
                _("{count} tokens are too few for a sequence of {length} and its targets; use more text"),
                count=len(ids),
                length=length,
            )
        self.ids = ids if isinstance(ids, Tensor) else torch.tensor(ids)
        self.length, self.stride = length, stride

    def __len__(self) -> int:
        return (len(self.ids) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        ids = self.with_target(index)
        return ids[:-1], ids[1:]

    def with_target(self, index: int) -> Tensor:
        """The inputs of a sequence and the token after them, [length + 1]."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.stride
        return self.ids[start : start + self.length + 1]

    def batch(self, first: int, size: int) -> tuple[Tensor, Tensor]:
        """Sequences `first` to `first + size`: inputs [size, length], targets [size, length]."""
        inputs, targets = zip(*(self[index] for index in range(first, first + size)), strict=True)
        return torch.stack(inputs), torch.stack(targets)
