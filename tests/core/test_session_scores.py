"""Scores of the tokens of a walk, compared with the oracle's logits in float64."""

import math

import pytest
from walks import LONG, NAMES, PROMPT, After, Small, assert_as_fresh, assert_scored, started

from core.loading import model as models_of_walks
from core.loading.model import Model
from core.walk import model_reader


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, small: Small) -> Model:
    return small(request.param)


@pytest.mark.parametrize("at_once", [1, 4, 32])
@pytest.mark.parametrize("text", [PROMPT, LONG[:6], LONG[:7], LONG], ids=len)
def test_prompts_and_samples_are_scored(
    model: Model, text: list[int], at_once: int, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every token but the first gets its score, below, at and beyond the context."""
    monkeypatch.setattr(models_of_walks, "SCORED_AT_ONCE", at_once)
    walk = started(model, text)
    assert walk.unscored()
    list(walk.generate(3))
    walk.take(0)
    assert all(token.score for token in walk.tokens[len(text) :])
    pauses = len(list(walk.score()))
    assert pauses >= math.ceil((len(text) - 1) / at_once)
    assert not walk.unscored()
    assert walk.tokens[0].score is None
    for at in range(1, len(walk.tokens)):
        assert_scored(walk, at, after)
    assert list(walk.score()) == []
    assert_as_fresh(walk, after)


def test_scoring_starts_at_the_end_and_can_be_interrupted(
    small: Small, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last tokens are scored first; a later call continues where the first stopped."""
    monkeypatch.setattr(models_of_walks, "SCORED_AT_ONCE", 3)
    walk = started(small(), LONG)
    scoring = walk.score()
    while walk.tokens[-1].score is None:
        next(scoring)
    scoring.close()
    scored = [at for at, token in enumerate(walk.tokens) if token.score]
    assert scored == list(range(len(LONG) - 3, len(LONG)))
    list(walk.score())
    for at in range(1, len(LONG)):
        assert_scored(walk, at, after)


def test_very_long_prompts_are_scored_within_a_budget(
    small: Small, after: After, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the context each score costs a window: the last ones first, as many as the budget allows."""
    context = 6
    monkeypatch.setattr(model_reader, "SCORED_BEYOND", 5 * context)
    walk = started(small("model5"), LONG)
    list(walk.score())
    scored = [at for at, token in enumerate(walk.tokens) if token.score]
    assert scored == [*range(1, context + 1), *range(len(LONG) - 5, len(LONG))]
    for at in scored:
        assert_scored(walk, at, after)
    while walk.unscored():
        list(walk.score())
    assert_scored(walk, context + 1, after)
