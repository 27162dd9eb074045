"""A walk in a model with a LoRA adapter: on, off and in between, saved, opened and replayed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.activations.patch import Patch
from core.errors import UserError
from core.loading import catalog
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.sessions import reader, record, resume, writer
from core.sessions.replay import Overrides, runs
from core.walk.session import Session

PROMPT = list(range(3, 12))


@pytest.fixture
def adapted(chat_model: Path, adapter: Path) -> ModelChoice:
    """A GPT-2 folder with an adapter."""
    return ModelChoice(name=str(chat_model), lora=str(adapter), device="cpu", dtype="fp32")


def walk(choice: ModelChoice) -> Session:
    session = Session(load_model(choice))
    list(session.prefill(PROMPT))
    list(session.generate(4))
    return session


def probabilities(session: Session, field: str = "probability") -> dict[int, float]:
    return {each.id: getattr(each, field) for each in session.chart(1000).candidates}


def test_the_chart_keeps_what_the_base_says(adapted: ModelChoice) -> None:
    """As with patches: beside each probability the one without the adapter."""
    session, base = walk(adapted), Session(load_model(replace(adapted, lora="")))
    list(base.prefill([token.id for token in session.tokens]))
    assert probabilities(session, "unpatched") == pytest.approx(probabilities(base), rel=1e-5)
    assert probabilities(session) != pytest.approx(probabilities(base), rel=1e-2)


def test_at_scale_0_everything_is_that_of_the_base(adapted: ModelChoice) -> None:
    """Scores of the tokens included, but for sums in another order, and back at 1 as it was."""
    session, base = walk(adapted), Session(load_model(replace(adapted, lora="")))
    list(session.score())
    first, scores = probabilities(session), [token.score for token in session.tokens]
    list(base.prefill([token.id for token in session.tokens]))
    list(base.score())
    list(session.scale_adapter(0.0))
    assert session.unscored()
    list(session.score())
    assert probabilities(session) == pytest.approx(probabilities(base), rel=1e-6)
    for token, same in zip(session.tokens[1:], base.tokens[1:], strict=True):
        assert token.score
        assert same.score
        assert (token.score.rank, token.score.logprob) == (same.score.rank, pytest.approx(same.score.logprob, rel=1e-6))
    assert all(each.unpatched is None for each in session.chart().candidates)
    list(session.scale_adapter(1.0))
    list(session.score())
    assert probabilities(session) == pytest.approx(first, rel=1e-5)
    assert [token.score.rank for token in session.tokens[1:]] == [score.rank for score in scores[1:] if score]


def test_a_scale_between_lies_between(adapted: ModelChoice) -> None:
    """A hundredth of the adapter changes less than all of it."""
    session = walk(adapted)

    def distance() -> float:
        return sum(abs(each.probability - (each.unpatched or 0)) for each in session.chart(1000).candidates)

    whole = distance()
    list(session.scale_adapter(0.01))
    assert 0 < distance() < 0.5 * whole


def test_patches_are_compared_with_the_adapted_model(adapted: ModelChoice) -> None:
    """And when they end, with the base again; the adapter stays."""
    session = walk(adapted)
    before, base = probabilities(session), probabilities(session, "unpatched")
    list(session.patch((Patch(part="mlp", layer=0),)))
    assert probabilities(session, "unpatched") == pytest.approx(before, rel=1e-5)
    list(session.scale_adapter(0.0))
    assert probabilities(session, "unpatched") == pytest.approx(base, rel=1e-5)
    list(session.scale_adapter(1.0))
    list(session.patch(()))
    assert probabilities(session) == pytest.approx(before, rel=1e-5)
    assert probabilities(session, "unpatched") == pytest.approx(base, rel=1e-5)


def test_a_walk_remembers_the_scale_of_each_draw(adapted: ModelChoice, tmp_path: Path) -> None:
    """Saved, read again and replayed: each scale repeats its own draws, the present one all scores."""
    session = walk(adapted)
    list(session.scale_adapter(0.5))
    list(session.generate(3))
    list(session.score())
    writer.write_record(tmp_path / "walk.json", record.record_of(session))
    saved = reader.read_record(tmp_path / "walk.json")
    assert [token.model.choice.lora_scale for token in saved.path() if token.model] == [1.0] * 4 + [0.5] * 3
    scales = []
    for model, positions in runs(saved, Overrides()):
        scales.append(model.choice.lora_scale)
        found = list(positions)
        assert found
        assert not any(each.differs(1e-4) for each in found)
    assert scales == [0.5, 1.0]
    (_, changed), *_ = runs(saved, Overrides(lora=(adapted.lora, 0.0)))
    assert any(each.differs(1e-4) for each in changed)
    opened = resume.session(saved, resume.model(saved.model))
    assert opened.info == session.info
    assert opened.info.adapter == "oat × 0.5"


def test_a_walk_whose_adapter_is_gone_can_be_looked_at(adapted: ModelChoice, tmp_path: Path) -> None:
    session = walk(adapted)
    writer.write_record(tmp_path / "walk.json", record.record_of(session))
    path = tmp_path / "walk.json"
    path.write_text(path.read_text().replace(json.dumps(adapted.lora), json.dumps("/nowhere/oat")))
    saved = reader.read_record(path)
    with pytest.raises(UserError, match="no adapter '/nowhere/oat'"):
        resume.model(saved.model)


def test_models_without_an_adapter_have_no_scale(adapted: ModelChoice, small: Callable[..., Any]) -> None:
    session = Session(small("model5"))
    with pytest.raises(UserError, match="no LoRA adapter"):
        session.scale_adapter(0.5)
    with pytest.raises(UserError, match="finite"):
        walk(adapted).scale_adapter(float("inf"))


def test_rungs_and_checkpoints_take_no_adapter(adapted: ModelChoice) -> None:
    for name in ("model5", "model5-trained"):
        with pytest.raises(UserError, match="takes no adapter"):
            catalog.check(ModelChoice(name=name, lora=adapted.lora))
    catalog.check(adapted)
    assert catalog.applicable(adapted, "model5").lora == ""
