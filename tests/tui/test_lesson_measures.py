"""The measurements of lessons about a distribution, the walk and attention, against torch in float64."""

import math

import pytest
import torch
import torch.nn.functional as F

from core.errors import UserError
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.walk.session import Session
from tui.course.measurements import Here, value_of

PROMPT = "I prefer oat milk in"


@pytest.fixture(scope="module")
def here() -> Here:
    session = Session(load_model(ModelChoice(name="model5-trained", device="cpu")))
    list(session.prefill(session.model.tokenizer.encode(PROMPT), PROMPT))
    return Here(session)


@torch.inference_mode()
def logits(here: Here, name: str | None = None) -> torch.Tensor:
    ids = torch.tensor([here.session.model.tokenizer.encode(PROMPT)])
    return here.model(name).transformer(ids)[0].double()


def test_a_distribution(here: Here) -> None:
    last = logits(here)[-1]
    p, my = last.softmax(-1), here.session.model.tokenizer.encode(" my")[0]
    assert value_of("entropy_bits", here) == pytest.approx(-(p * p.log2()).sum().item(), abs=1e-4)
    assert value_of('probability(" my")', here) == pytest.approx(p[my].item(), abs=1e-5)
    assert value_of('logit(" my")', here) == pytest.approx(last[my].item(), abs=1e-3)
    assert value_of('rank(" my")', here) == 1 + int((last > last[my]).sum())
    assert value_of("top(1)", here) == " my" and value_of("top_probability(2)", here) == pytest.approx(
        p.topk(2).values[1].item(), abs=1e-5
    )
    other = logits(here, "model2-trained")[-1].log_softmax(-1)
    kl = ((p * (last.log_softmax(-1) - other)).sum() / math.log(2)).item()
    assert value_of('kl_bits("model5-trained", "model2-trained")', here) == pytest.approx(kl, rel=1e-3)


def test_the_loss_is_the_cross_entropy_of_the_following_tokens(here: Here) -> None:
    ids = torch.tensor(here.session.model.tokenizer.encode(PROMPT))
    expected = F.cross_entropy(logits(here)[:-1], ids[1:]).item()
    assert value_of("loss", here) == pytest.approx(expected, abs=1e-4)
    bits = F.cross_entropy(logits(here)[3:4], ids[4:5]).item() / math.log(2)
    assert value_of("surprisal_bits(4)", here) == pytest.approx(bits, abs=1e-3)


def test_shapes_are_those_of_a_forward_pass(here: Here) -> None:
    assert value_of('shape("logits", batch=5, length=8)', here) == (5, 8, value_of("vocab_size", here))
    assert value_of('shape("embedding")', here) == (1, 5, value_of("embed_dim", here))
    assert value_of('shape("embed.weight")', here) == tuple(here.session.model.transformer.embed.weight.shape)


def test_attention_weights_of_a_query_sum_to_one_and_see_no_future(here: Here) -> None:
    weights = [value_of(f"attention(0, 1, 3, {key})", here) for key in range(5)]
    assert sum(weights) == pytest.approx(1, abs=1e-5)
    assert weights[4] == 0
    with pytest.raises(UserError, match="no head 9"):
        value_of("attention(0, 9, 3, 0)", here)
