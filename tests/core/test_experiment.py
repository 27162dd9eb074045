"""A walk on a patched model: its chart and scores, the unpatched values beside them, and the walk without patches."""

import math

import pytest
import torch

from core.activations.apply import patched
from core.activations.patch import Patch
from core.errors import UserError
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.sampling.distribution import Distribution
from core.walk.session import Session

TEXT = b"oat milk in"
CHOICE = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(context=16, blocks=2, heads=4)
)
PATCHES = (Patch(kind="zero", part="block", layer=1), Patch(kind="noise", part="query", layer=0))


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(CHOICE)


def session_on(model: Model, text: bytes = TEXT) -> Session:
    session = Session(model)
    list(session.prefill(list(text)))
    return session


@torch.inference_mode()
def oracle(model: Model, ids: list[int], patches: tuple[Patch, ...] = ()) -> Distribution:
    """The distribution after `ids`, by one forward pass without a cache."""
    with patched(model, patches):
        return Distribution(model.transformer(torch.tensor([ids]))[0, -1])


def test_the_chart_has_patched_and_unpatched_probabilities(model: Model) -> None:
    session = session_on(model)
    list(session.patch(PATCHES))
    chart = session.snapshot().chart
    expected, unpatched = oracle(model, list(TEXT), PATCHES), oracle(load_model(CHOICE), list(TEXT))
    assert chart is not None
    assert session.snapshot().patches == PATCHES
    for candidate in chart.candidates:
        assert candidate.probability == pytest.approx(expected.probabilities[candidate.id].item(), rel=1e-4)
        assert candidate.unpatched == pytest.approx(unpatched.probabilities[candidate.id].item(), rel=1e-4)
    list(session.patch(()))


def test_the_shift_is_the_divergence_from_the_unpatched_distribution(model: Model) -> None:
    session = session_on(model)
    assert session.reader.shift(session.cursor) is None
    list(session.patch(PATCHES))
    shift = session.reader.shift(session.cursor)
    after, before = oracle(model, list(TEXT), PATCHES), oracle(load_model(CHOICE), list(TEXT))
    log_after, log_before = (each.logits.double().log_softmax(-1) for each in (after, before))
    nats = torch.nn.functional.kl_div(log_after, log_before, reduction="sum", log_target=True).item()
    assert shift is not None
    assert shift.kl_bits == pytest.approx(nats / math.log(2), rel=1e-3)
    assert (shift.before, shift.after) == (log_before.argmax().item(), log_after.argmax().item())
    assert shift.before_probability == pytest.approx(log_before.exp().max().item(), rel=1e-4)
    assert shift.after_probability == pytest.approx(log_after.exp().max().item(), rel=1e-4)
    list(session.patch(()))


def test_both_probabilities_follow_the_cursor(model: Model) -> None:
    session = session_on(model)
    list(session.patch(PATCHES))
    list(session.generate(8))  # beyond the context too
    for cursor in (19, 5, 12):
        session.travel(cursor)
        list(session.read())
        ids = [token.id for token in session.tokens[:cursor]][-16:]
        chart, unpatched = session.chart(), oracle(load_model(CHOICE), ids)
        expected = oracle(model, ids, ())  # the session has the patches installed
        for candidate in chart.candidates[:5]:
            assert candidate.probability == pytest.approx(expected.probabilities[candidate.id].item(), rel=1e-4)
            assert candidate.unpatched == pytest.approx(unpatched.probabilities[candidate.id].item(), rel=1e-4)
    list(session.patch(()))


def test_after_patches_are_removed_the_walk_is_equal_bit_for_bit(model: Model) -> None:
    session, untouched = session_on(model), session_on(model)
    list(untouched.generate(12))
    list(session.generate(6))
    list(session.patch(PATCHES))
    list(session.patch(()))
    list(session.generate(6))
    assert session.snapshot().chart == untouched.snapshot().chart
    assert [token.id for token in session.tokens] == [token.id for token in untouched.tokens]
    assert session.patches == ()
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.transformer.modules())


def test_scores_are_of_the_patched_model(model: Model) -> None:
    session = session_on(model)
    list(session.score())
    before = [token.score for token in session.tokens]
    list(session.patch(PATCHES))
    assert all(token.score is None for token in session.tokens)
    list(session.score())
    assert [token.score for token in session.tokens][1:] != before[1:]
    score = session.tokens[5].score
    assert score is not None
    assert score.probability == pytest.approx(oracle(model, list(TEXT[:5])).probabilities[TEXT[5]].item(), rel=1e-4)
    list(session.patch(()))
    list(session.score())
    assert [token.score for token in session.tokens] == before


def test_an_invalid_patch_leaves_the_installed_ones(model: Model) -> None:
    session = session_on(model)
    list(session.patch(PATCHES))
    with pytest.raises(UserError, match="layer from 0 to 1"):
        session.patch((Patch(part="mlp", layer=9),))
    assert session.patches == PATCHES
    list(session.patch(()))


def test_undo_reaches_steps_before_the_patches(model: Model) -> None:
    session = session_on(model)
    session.step()
    list(session.patch(PATCHES))
    session.step()
    session.take_back()
    session.take_back()
    assert [token.id for token in session.tokens] == list(TEXT)
    assert session.chart().candidates[0].unpatched is not None
    list(session.patch(()))


def test_a_lens_step_ends_at_the_cursor(model: Model) -> None:
    session = session_on(model)
    session.travel(4)
    step = session.current_step()
    assert (step.ids, step.target) == (tuple(TEXT[:4]), TEXT[4])
    session.travel(len(TEXT))
    assert session.current_step().target is None
