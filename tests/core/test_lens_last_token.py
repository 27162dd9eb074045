"""The last-token lens: changed texts against a full pass on each; exactly 0 without attention."""

import math
from collections.abc import Callable

import pytest
import torch
from steps import RUNGS, last, some_ids, step_on
from torch import Tensor

from core.engine.attention import Attention
from core.errors import UserError
from core.lenses import last_token as lens
from core.lenses.last_token import LastToken, last_token
from core.loading.model import Model
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
def test_kl_equals_that_of_a_pass_on_the_changed_text(name: str, how: lens.How, small: Small) -> None:
    model, ids = small(name), some_ids(6)
    answer: LastToken = last(last_token(step_on(model, ids), how))
    before = logits(model, ids)
    assert [change.position for change in answer.changes] == list(range(how == "shuffle", 5))
    assert answer.total == len(answer.changes)
    for change in answer.changes:
        text, at = list(ids), change.position
        assert change.piece == bytes([ids[at]])
        if how == "replace":
            text[at] = change.by[0] if len(change.by) == 1 else 256
            assert text[at] != ids[at]
        else:
            text[at - 1], text[at] = ids[at], ids[at - 1]
        assert change.kl_bits == pytest.approx(apart(before, logits(model, text)), abs=1e-5)
        assert change.kl_bits > 0
    assert answer.together_bits and answer.together_bits > 0
    assert "Attention lets" in answer.why


@pytest.mark.parametrize("name", ["model3", "model5", "model6"])
def test_no_later_position_attends_to_a_masked_token(name: str, small: Small) -> None:
    """Against attention by its formula, with the mask written out, in every block."""
    model, ids = small(name), some_ids(6)
    answer = last(last_token(step_on(model, ids), "mask"))
    before = logits(model, ids)

    def masked_logits(positions: list[int]) -> Tensor:
        def attend(module: Attention, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            q, k, v = inputs
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

    for change in answer.changes:
        assert change.by == b""
        assert change.kl_bits == pytest.approx(apart(before, masked_logits([change.position])), abs=1e-5)
    assert answer.together_bits == pytest.approx(apart(before, masked_logits([0, 1, 2, 3, 4])), abs=1e-5)


@pytest.mark.parametrize("name", ["model1", "model2"])
@pytest.mark.parametrize("how", ["replace", "mask", "shuffle"])
def test_without_attention_kl_is_exactly_0(name: str, how: lens.How, small: Small) -> None:
    """And the explanation names the first rung with attention."""
    answer = last(last_token(step_on(small(name), some_ids(6)), how))
    assert {change.kl_bits for change in answer.changes} == {0.0}
    assert answer.together_bits == 0.0
    assert f"{name} has no attention" in answer.why
    assert "model3" in answer.why


@pytest.mark.parametrize("name", RUNGS)
@pytest.mark.parametrize("count", [1, 2, 15])
def test_the_number_of_changes_for_short_and_long_texts(name: str, count: int, small: Small) -> None:
    """One token has no earlier one; a long text is cut to the context."""
    model = small(name)
    for how, fewer in (("replace", 1), ("mask", 1), ("shuffle", 2)):
        answer = last(last_token(step_on(model, some_ids(count), known=count > 2), how))  # type: ignore[arg-type]
        assert len(answer.changes) == max(0, min(count, 6) - fewer)
        assert (answer.together_bits is None) == (not answer.changes)


def test_only_the_nearest_tokens_are_changed(small: Small) -> None:
    """Nearest first, each answer one change longer than the one before."""
    model = small("model5")
    answers = [each for each in last_token(step_on(model, some_ids(6)), last=2) if isinstance(each, LastToken)]
    assert [change.position for change in answers[-1].changes] == [3, 4]
    assert answers[-1].note == "only the 2 tokens before the last were changed"
    assert answers[0].together_bits is None
    assert not any(module._forward_hooks for module in model.transformer.modules())


def test_an_unknown_change_is_a_user_error(small: Small) -> None:
    with pytest.raises(UserError, match="replace, mask or shuffle"):
        next(last_token(step_on(small("model5"), some_ids(4)), "forget"))  # type: ignore[arg-type]


def test_kl_against_its_definition() -> None:
    """In float64, zero for the same logits, and with a token that cannot come."""
    a, b = torch.randn(2, 1000, generator=torch.Generator().manual_seed(0))
    assert kl_bits(a, b) == pytest.approx(apart(a.double(), b.double()), rel=1e-12)
    assert kl_bits(a, a.clone()) == 0.0
    a[3] = -math.inf
    assert math.isfinite(kl_bits(a, b))
