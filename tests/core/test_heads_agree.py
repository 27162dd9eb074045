"""On the tiny world, whose truth is known, three ways find the heads that copy a name."""

import pytest
import torch
from steps import last, step_on

from core.causal.heads import pattern_scores
from core.causal.question import CausalQuestion
from core.lenses.circuit import circuit
from core.lenses.contrast import contrast
from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model

HEADS = {(3, 0), (3, 1)}
"""Of `model6-trained`. test_heads.py shows that without them the name is lost, and without any other head it is not."""


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(ModelChoice(name="model6-trained", device="cpu"))


@pytest.mark.parametrize("names", [("Emma", "Maria", "Leo"), ("Ben", "Anna", "Paul")])
def test_head_scores_activation_patching_and_edges_find_the_same_heads(
    names: tuple[str, str, str], model: Model
) -> None:
    """ "Emma gave Leo a book. Leo thanked" against the same with Maria: the next word is the giver's name."""
    giver, other, taker = names
    clean, corrupt = (model.tokenizer.encode(f"{name} gave {taker} a book. {taker} thanked") for name in (giver, other))
    asked = [model.tokenizer.encode(f" {name}")[0] for name in (giver, other)]
    question, step = CausalQuestion(*asked, corrupt=tuple(corrupt)), step_on(model, clean)

    copied = torch.zeros(1, len(clean), len(clean), dtype=torch.bool)
    copied[0, -1, 0] = True
    by_score = torch.cat(list(pattern_scores(model.transformer, clean, copied)))
    by_patching = torch.tensor(last(contrast(step, question, first="heads")).heads)
    by_edges = torch.zeros_like(by_score)
    for edge in last(circuit(step, question)).edges:
        layer, _, head = edge.sender.partition(".h")
        if head:
            by_edges[int(layer), int(head)] += edge.score
    for found in (by_score, by_patching, by_edges):
        assert {divmod(n, found.shape[1]) for n in found.flatten().topk(2).indices.tolist()} == HEADS
