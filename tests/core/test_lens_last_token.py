"""Changed texts against the whole model on each of them; exactly nothing where there is no attention."""

import math
from collections.abc import Callable

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on
from torch import Tensor

from core.engine.model import Attention
from core.errors import UserError
from core.lenses import last_token as lens
from core.lenses.last_token import LastToken, last_token
from core.loading.models import Model
from core.sampling.divergence import kl_bits

Small = Callable[..., Model]


def logits(model: Model, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return model.transformer(torch.tensor([ids]))[0, -1].double()


def apart(before: Tensor, after: Tensor) -> float:
    """KL(before ‖ after) from the logits of both, in bits."""
    p, q = before.log_softmax(-1), after.log_softmax(-1)
    return (p.exp() * (p - q)).sum().item() / math.log(2)


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
@pytest.mark.parametrize("how", ["replace", "shuffle"])
def test_kl_is_that_of_the_changed_text(name: str, how: lens.How, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    found: LastToken = last(last_token(step_on(model, ids), how))
    before = logits(model, ids)
    assert [change.position for change in found.changes] == list(range(how == "shuffle", 5))
    assert found.total == len(found.changes)
    for change in found.changes:
        text, at = list(ids), change.position
        assert change.piece == bytes([ids[at]])
        if how == "replace":
            text[at] = change.by[0] if len(change.by) == 1 else 256
            assert text[at] != ids[at]
        else:
            text[at - 1], text[at] = ids[at], ids[at - 1]
        assert change.kl_bits == pytest.approx(apart(before, logits(model, text)), abs=1e-5)
        assert change.kl_bits > 0
    assert found.together_bits and found.together_bits > 0
    assert "Attention lets" in found.why


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_a_hidden_token_is_one_no_later_position_attends_to(name: str, small: Small) -> None:
    """By the formula with a mask of its own, written out, in every block."""
    model, ids = small(name), some_ids(6)
    found = last(last_token(step_on(model, ids), "mask"))
    before = logits(model, ids)

    def hidden(positions: list[int]) -> Tensor:
        def attend(module: Attention, took: tuple[Tensor, ...], gave: Tensor) -> Tensor:
            q, k, v = took
            k, v = (each.repeat_interleave(q.shape[1] // k.shape[1], 1) for each in (k, v))
            scores = q @ k.mT / math.sqrt(q.shape[-1])
            for query in range(6):
                for key in range(6):
                    if key > query or (key in positions and key != query):
                        scores[..., query, key] = -math.inf
            return scores.softmax(-1) @ v

        hooks = [block.attention.attend.register_forward_hook(attend) for block in model.transformer.blocks]
        row = logits(model, ids)
        for hook in hooks:
            hook.remove()
        return row

    for change in found.changes:
        assert change.by == b""
        assert change.kl_bits == pytest.approx(apart(before, hidden([change.position])), abs=1e-5)
    assert found.together_bits == pytest.approx(apart(before, hidden([0, 1, 2, 3, 4])), abs=1e-5)


@pytest.mark.parametrize("name", ["model1", "model2"])
@pytest.mark.parametrize("how", ["replace", "mask", "shuffle"])
def test_without_attention_nothing_moves_at_all(name: str, how: lens.How, small: Small) -> None:
    """Exactly zero, not nearly; and the sentence says what the article's claim needs."""
    found = last(last_token(step_on(small(name), some_ids(6)), how))
    assert {change.kl_bits for change in found.changes} == {0.0}
    assert found.together_bits == 0.0
    assert f"{name} has no attention" in found.why
    assert "model3" in found.why


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("count", [1, 2, 15])
def test_short_texts_and_windows(name: str, count: int, small: Small) -> None:
    """One token has no earlier one; beyond the context the window is the text."""
    model = small(name)
    for how, fewer in (("replace", 1), ("mask", 1), ("shuffle", 2)):
        found = last(last_token(step_on(model, some_ids(count), known=count > 2), how))  # type: ignore[arg-type]
        assert len(found.changes) == max(0, min(count, 6) - fewer)
        assert (found.together_bits is None) == (not found.changes)


def test_of_many_tokens_the_nearest_are_changed(small: Small) -> None:
    """Nearest first, each answer longer than the one before."""
    model = small("model5")
    answers = [each for each in last_token(step_on(model, some_ids(6)), last=2) if isinstance(each, LastToken)]
    assert [change.position for change in answers[-1].changes] == [3, 4]
    assert answers[-1].note == "only the 2 tokens before the last were changed"
    assert answers[0].together_bits is None
    assert not any(module._forward_hooks for module in model.transformer.modules())


def test_another_way_is_a_mistake(small: Small) -> None:
    with pytest.raises(UserError, match="replace, mask or shuffle"):
        next(last_token(step_on(small("model5"), some_ids(4)), "forget"))  # type: ignore[arg-type]


def test_kl_against_its_definition() -> None:
    """In float64, zero for the same logits, and with a token that cannot come."""
    a, b = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    assert kl_bits(a, b) == pytest.approx(apart(a.double(), b.double()), rel=1e-12)
    assert kl_bits(a, a.clone()) == 0.0
    a[3] = -math.inf
    assert math.isfinite(kl_bits(a, b))
