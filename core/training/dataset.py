"""Owns texts as training sees them: sequences of N tokens beside the same shifted by one (S5)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from core.errors import UserError

REFERENCE = (
    "The kettle was on before the others woke. Rain had fallen all night, and the yard behind the house was full of "
    "small lakes in which the first light stood. She cut the bread, put oat milk on the table and read the letter "
    "once more: the train would leave at 9:40, it said, and somebody would meet her at the other end. "
    '"You could stay," he said from the door. She smiled. "I could," she said, "but then who would count the birds?" '
    "There were 412 of them last year, on one island, and nobody knew why they had come back. A map, two pencils, "
    "a jar of honey: that was all she took. By noon the sea was in sight, grey and quiet, and the boat that she had "
    "been promised lay where it should, with its engine running and its owner asleep.\n"
)
"""A short text of our own, for measurements that need one and should not depend on the prompt."""


class SequenceDataset(Dataset[tuple[Tensor, Tensor]]):
    """Overlapping sequences of one text: inputs [length], and as targets the token after each of them, [length].

    Sequence i begins at token i · stride. Raises `UserError` where the text is too short for one.
    """

    def __init__(self, ids: Sequence[int] | Tensor, length: int, stride: int = 1) -> None:
        if length < 1 or stride < 1:
            raise UserError(f"a sequence and its stride must be at least 1, not {length} and {stride}")
        if len(ids) <= length:
            raise UserError(f"{len(ids)} tokens are too few for sequences of {length} and a target each; use more text")
        self.ids = ids if isinstance(ids, Tensor) else torch.tensor(ids)
        self.length, self.stride = length, stride

    def __len__(self) -> int:
        return (len(self.ids) - self.length - 1) // self.stride + 1

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        whole = self.whole(index)
        return whole[:-1], whole[1:]

    def whole(self, index: int) -> Tensor:
        """Inputs and the last target in one, [length + 1]."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        start = index * self.stride
        return self.ids[start : start + self.length + 1]

    def batch(self, first: int, size: int) -> tuple[Tensor, Tensor]:
        """`size` neighbouring sequences: inputs [size, length], targets [size, length]."""
        inputs, targets = zip(*(self[index] for index in range(first, first + size)), strict=True)
        return torch.stack(inputs), torch.stack(targets)
