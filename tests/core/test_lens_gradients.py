"""Input attributions against captum, and complete."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from causal_models import AGAINST, CASES, CLEAN, CORRUPT, TARGET, causal_model
from steps import last, step_on, wrapped

from core.causal.question import CausalQuestion
from core.errors import UserError
from core.lenses.gradients import InputAttributions, gradients
from core.loading import description, weights
from core.loading.model import Model
from core.progress import Progress

QUESTION = CausalQuestion(TARGET, AGAINST, corrupt=CORRUPT)
FIGURES = Path(__file__).parent / "transformer_lens"


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def model(case: str, tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    causal_model(case).save_pretrained(folder)
    return wrapped(weights.build_model(description.describe(folder), torch.device("cpu"), torch.float32))


@pytest.mark.parametrize("baseline", ["zero", "corrupt"])
def test_attributions_equal_those_of_captum(case: str, model: Model, baseline: str) -> None:
    """LayerIntegratedGradients by Gauss-Legendre with 64 points, and InputXGradient; within 1e-3 of the largest."""
    wanted = json.loads((FIGURES / f"gradients_{case}.json").read_text())
    answer = last(gradients(step_on(model, CLEAN), QUESTION, baseline, steps=64))
    assert answer.asked.value == pytest.approx(wanted["measure"], abs=1e-4)
    for own, name in (("integrated", f"integrated_{baseline}"), ("input_x_gradient", "input_x_gradient")):
        found, theirs = [getattr(token, own) for token in answer.tokens], wanted[name]
        assert found == pytest.approx(theirs, abs=1e-3 * max(map(abs, theirs))), name


@pytest.mark.parametrize("baseline", ["sink", "mean", "zero", "corrupt"])
def test_integrated_gradients_are_complete_within_one_percent(model: Model, baseline: str) -> None:
    """Answers become more precise; the last sums to the rise of the measure from the baseline."""
    answers = [each for each in gradients(step_on(model, CLEAN), QUESTION, baseline) if not isinstance(each, Progress)]
    first, answer = answers[0], answers[-1]
    assert first.steps == 0 and all(token.integrated is None for token in first.tokens)
    rise = answer.asked.value - answer.baseline_value
    assert answer.total == pytest.approx(rise, abs=0.01 * abs(rise))
    assert answer.error_share == pytest.approx(abs(answer.total - rise) / abs(rise), abs=1e-4)
    assert answer.error_share <= 0.01


def test_the_default_completes_on_a_trained_model(smollm2: Callable[[str], Model]) -> None:
    """From the corrupt prompt where there is one of as many tokens; else the first token keeps its embedding."""
    model = smollm2("fp32")
    ids, corrupt = (tuple(model.tokenizer.encode(f"The United {name}")) for name in ("States", "Kingdom"))
    for question, baseline in ((CausalQuestion(), "sink"), (CausalQuestion(corrupt=corrupt), "corrupt")):
        answer = last(gradients(step_on(model, ids), question))
        rise = answer.asked.value - answer.baseline_value
        assert answer.baseline == baseline and answer.steps < 150
        assert sum(token.integrated for token in answer.tokens) == pytest.approx(rise, abs=0.01 * abs(rise))
        same = {"sink": [0], "corrupt": [0, 1]}[baseline]
        assert [n for n, token in enumerate(answer.tokens) if token.integrated == 0] == same


def test_a_token_that_equals_its_baseline_adds_nothing(model: Model) -> None:
    answer = last(gradients(step_on(model, CLEAN), QUESTION, "corrupt"))
    same = [clean == other for clean, other in zip(CLEAN, CORRUPT, strict=True)]
    assert [token.integrated == 0 for token in answer.tokens] == same
    assert all(token.input_x_gradient for token in answer.tokens)


def test_too_few_steps_show_their_error(model: Model) -> None:
    answer = last(gradients(step_on(model, CLEAN), QUESTION, "zero", steps=1))
    assert answer.steps == 1 and answer.error_share > 0.01


def test_what_cannot_be_computed_is_refused_in_one_line(small: Callable[..., Model]) -> None:
    step = step_on(small("model5"), [5, 90, 33])
    asked: list[tuple[dict, str]] = [
        ({"baseline": "noise"}, "sink, mean, zero, end, corrupt"),
        ({"steps": 0}, "1 to 10,000"),
        ({"baseline": "corrupt"}, "second prompt"),
    ]
    for options, words in asked:
        with pytest.raises(UserError, match=words):
            last(gradients(step, **options))


@pytest.mark.parametrize("rung", ["model1", "model3", "model6"])
def test_only_tokens_that_are_read_have_attributions(rung: str, small: Callable[..., Model]) -> None:
    """A zero-layer model reads its last token alone. The token that ends a text differs from all of these."""
    answer: InputAttributions = last(gradients(step_on(small(rung), [5, 90, 33, 8]), baseline="end"))
    nonzero = [token.integrated != 0 for token in answer.tokens]
    assert nonzero == ([False, False, False, True] if rung == "model1" else [True] * 4)
