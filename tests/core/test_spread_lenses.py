"""Experiments and lenses on a model whose blocks are on two devices, by fake tensors that refuse to be mixed.

Fake tensors have no numbers. What is read from them as numbers of Python is made up, so only devices are tested here:
that what the blocks of the second device compute comes back to the first one before it meets something from there.
"""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np
import pytest
import torch
from steps import returned, wrapped
from test_placement import CONFIG, ONE, TWO, spread  # noqa: F401  # a fixture
from torch._subclasses.fake_tensor import FakeTensor
from torch.overrides import TorchFunctionMode

from core.activations.trace import Step
from core.causal.path_patching import RECEIVERS, Receiver, path_measures, senders
from core.causal.prompt_pair import read_pair
from core.causal.question import CausalQuestion
from core.engine.model import Transformer, random_model
from core.lenses import NAMES, experiments, lens
from core.loading.model import LocalModel

IDS, CORRUPT = (1, 2, 3, 4), (1, 2, 9, 4)
ELSEWHERE = {"ladder", "lab", "device", "watermark", "weights"}
"""Lenses that make models of their own, or that do not run one."""


class MadeUp(TorchFunctionMode):
    """Numbers of Python for fake tensors: floats are random, whole numbers count up to 89, conditions are met."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers, self._floats = count(), np.random.default_rng(0)
        self._made = dict.fromkeys(("item", "__bool__", "__int__", "__float__", "__index__"), self.item)
        self._made |= {"numpy": self.numpy, "tolist": lambda x: self.numpy(x).tolist()}
        self._made |= {"equal": differ, "nonzero": none, "unique": unchanged}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = self._made.get(getattr(func, "__name__", ""))
        if made and args and isinstance(args[0], FakeTensor):
            return made(*args, **kwargs or {})
        return func(*args, **kwargs or {})

    def numpy(self, x: FakeTensor) -> Any:
        if x.dtype is torch.bool:
            return np.ones(x.shape, bool)
        if x.is_floating_point():
            return self._floats.random(x.shape)
        return np.array([min(next(self._numbers), 89) for _ in range(x.numel())], int).reshape(x.shape)

    def item(self, x: FakeTensor) -> Any:
        return self.numpy(x).reshape(-1)[0].item()


def differ(one: FakeTensor, other: FakeTensor) -> bool:
    return False


def none(x: FakeTensor) -> torch.Tensor:
    return torch.empty(0, x.dim(), dtype=torch.long, device=x.device)


def unchanged(x: FakeTensor, dim: int | None = None, *, return_counts: bool = False, **others: bool) -> Any:
    inverse = torch.empty(x.shape if dim is None else x.shape[dim : dim + 1], dtype=torch.long, device=x.device)
    return (x, inverse, inverse) if return_counts else (x, inverse)


WHOLE = wrapped(random_model(replace(CONFIG, tied=False), 0))
FEW: dict[str, dict[str, Any]] = {"gradients": {"steps": 2}, "jacobian": {"text": 40 * "x"}}
"""Options with which a lens computes less."""
QUESTION = CausalQuestion(target=3, against=4, corrupt=CORRUPT)


@pytest.fixture
def model(spread: Transformer) -> Iterator[LocalModel]:  # noqa: F811
    assert spread.devices == [ONE, TWO]
    with MadeUp(), torch.inference_mode(False):
        yield replace(WHOLE, transformer=spread)


@pytest.mark.parametrize("name", sorted(set(NAMES) - ELSEWHERE))
def test_a_lens_mixes_no_devices(name: str, model: LocalModel) -> None:
    step = Step(model, IDS)
    asked = {"question": QUESTION} if name in experiments() else {}
    assert list(lens(name)(step, **asked, **FEW.get(name, {})))


@pytest.mark.parametrize("part", RECEIVERS)
def test_paths_to_every_receiver_mix_no_devices(part: Any, model: LocalModel) -> None:
    """Of a block on the second device, from senders on both."""
    pair = returned(read_pair(Step(model, IDS), QUESTION))
    receiver = Receiver(part, 2, 1)
    found = returned(path_measures(pair, receiver, senders(pair, receiver)))
    assert len(found) == len(senders(pair, receiver))
