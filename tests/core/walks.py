"""Walks on small models, and their comparison with fresh forwards."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from core.loading.model import Model
from core.sampling.sampler import Sampler
from core.walk.session import Session
from core.walk.tree import Node, Tree

NAMES = ["model1", "model2", "model3", "model4", "model5", "model6"]
PROMPT = list(b"oat")
LONG = list(b"I prefer oat milk in my coffee")
Small = Callable[..., Model]
After = Callable[[Any, Sequence[int]], Tensor]


def started(model: Model, ids: Sequence[int] = PROMPT, sampler: Sampler = Sampler()) -> Session:
    walk = Session(model, sampler)
    list(walk.prefill(ids))
    return walk


def ids(walk: Session) -> list[int]:
    return [token.id for token in walk.tokens]


def seen(walk: Session) -> Tensor:
    """The logits at the cursor."""
    return walk.distribution().logits


def nodes_of(tree: Tree) -> list[Node]:
    """Every node that hangs on the root, parents first."""
    found, stack = [], list(tree.root.children.values())
    while stack:
        node = stack.pop()
        found.append(node)
        stack += node.children.values()
    return found


def state(walk: Session) -> tuple[Any, ...]:
    """What a person sees of the walk and of the tree, the measures that come by themselves aside."""
    forest = walk.history.forest(10_000)
    rows = [(row.serial, row.depth, row.pieces, row.length, row.on_path, row.folded, row.name) for row in forest.rows]
    tokens = [(token.id, token.origin, token.u, token.redraw, token.sampler) for token in walk.tokens]
    return tokens, walk.cursor, rows, forest.current


def assert_as_fresh(walk: Session, after: After) -> None:
    """The distribution at the cursor equals a whole-window forward over the tokens before it."""
    want = after(walk.model.transformer, ids(walk)[: walk.cursor])
    assert (seen(walk) - want).abs().max() < 1e-5


def assert_scored(walk: Session, at: int, after: After) -> None:
    """Token `at` has the log-softmax, rank and entropy of the oracle's logits before it, in float64."""
    score = walk.tokens[at].score
    assert score is not None
    logits = after(walk.model.transformer, ids(walk)[:at]).double()
    exact = torch.log_softmax(logits, dim=0)
    own = logits[ids(walk)[at]]
    assert score.logit == pytest.approx(own.item(), abs=1e-5)
    assert score.logprob == pytest.approx(exact[ids(walk)[at]].item(), abs=1e-5)
    assert score.entropy_bits == pytest.approx(-(exact.exp() * exact).sum().item() / math.log(2), abs=1e-4)
    assert int((logits > own + 1e-5).sum()) <= score.rank <= int((logits > own - 1e-5).sum())
