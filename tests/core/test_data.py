"""The sequence dataset of the article: sequences and targets are compared with slices of the text."""

import pytest
import torch
from torch.utils.data import DataLoader

from core.errors import UserError
from core.training.dataset import SequenceDataset


@pytest.mark.parametrize("stride", [1, 2, 3, 8, 11])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_targets_are_the_inputs_shifted_by_one(length: int, stride: int) -> None:
    """The dataset has every sequence whose targets are all in the text, and no other."""
    ids = list(range(100, 120))
    data = SequenceDataset(ids, length, stride)
    starts = [start for start in range(0, len(ids), stride) if start + length < len(ids)]
    assert len(data) == len(starts)
    for index, start in enumerate(starts):
        inputs, targets = data[index]
        assert inputs.tolist() == ids[start : start + length]
        assert targets.tolist() == ids[start + 1 : start + 1 + length]
    with pytest.raises(IndexError):
        data[len(data)]


def test_a_batch_equals_that_of_a_data_loader() -> None:
    """Batch [5, 8] with stride 1, as in the article."""
    data = SequenceDataset(range(40), 8)
    inputs, targets = data.batch(0, 5)
    assert inputs.shape == targets.shape == (5, 8)
    assert torch.equal(inputs[:, 1:], targets[:, :-1])
    assert torch.equal(inputs[1:], targets[:-1])
    loaded = next(iter(DataLoader(data, batch_size=5)))
    assert torch.equal(loaded[0], inputs)
    assert torch.equal(loaded[1], targets)


@pytest.mark.parametrize(("count", "length", "stride"), [(8, 8, 1), (0, 1, 1), (9, 0, 1), (9, 8, 0)])
def test_a_text_too_short_or_a_length_or_stride_of_0_is_a_user_error(count: int, length: int, stride: int) -> None:
    with pytest.raises(UserError):
        SequenceDataset(range(count), length, stride)
