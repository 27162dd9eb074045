"""A pass through the model that ends for lack of memory, wherever it does, leaves a walk that goes on as if it had not.

The error is the one that torch raises for CUDA, from a module of a model on the CPU.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch

from core.engine.model import Transformer
from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session

Small = Callable[..., Model]
MODULES = ["embed", "blocks.0.attention.qkv", "blocks.1.attention.attend", "blocks.1.feed_forward", "norm", "unembed"]
PROMPT = [3, 4, 5]


@contextmanager
def without_memory(transformer: Transformer, module: str) -> Iterator[None]:
    """Within the block the module finds no memory."""

    def full(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.50 GiB.")

    hook = transformer.get_submodule(module).register_forward_pre_hook(full)
    try:
        with pytest.raises(torch.OutOfMemoryError):
            yield
    finally:
        hook.remove()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("name", ["model5", "model6"])
def test_a_walk_goes_on(name: str, module: str, small: Small) -> None:
    """Before and past the context of 6 tokens, and after a prompt whose first step failed."""
    model = small(name)
    walk, other = Session(model, Sampler(seed=1)), Session(model, Sampler(seed=1))
    with without_memory(model.transformer, module):
        list(walk.prefill(PROMPT))
        walk.step()
    for each in (walk, other):
        list(each.prefill(PROMPT))
        each.step()
    for _ in range(8):
        with without_memory(model.transformer, module):
            walk.step()
        assert walk.tokens == other.tokens
        assert walk.step() == other.step()
    assert walk.chart(5) == other.chart(5)
