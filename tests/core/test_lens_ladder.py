"""The ladder lens: each rung against that rung loaded alone."""

import math
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from steps import RUNGS, last, step_on, wrapped

from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.errors import UserError
from core.lenses import ladder as lens
from core.lenses.ladder import Ladder, ladder
from core.loading import ladder as rungs
from core.loading import models
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.model import Model
from core.progress import Progress

CHOICE = ModelChoice(name="model2", tokenizer="bytes", device="cpu", weights_seed=3)
IDS = list(b"I prefer oat milk")


def untrained(choice: ModelChoice) -> Model:
    """`models.load_model` where no trained rung is available."""
    if choice.name.endswith("-trained"):
        raise UserError(f"no model {choice.name}")
    return models.load_model(choice)


@pytest.fixture(scope="module", autouse=True)
def no_trained_rungs() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens, "models", SimpleNamespace(load_model=untrained))
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return models.load_model(CHOICE)


@pytest.fixture(scope="module")
def answer(model: Model) -> Ladder:
    return last(ladder(step_on(model, IDS, target=32)))


def test_each_rung_equals_the_model_loaded_alone(answer: Ladder) -> None:
    """Loss, likeliest token, rank and probability of the next token."""
    assert [rung.name for rung in answer.rungs] == RUNGS
    assert not answer.notes
    for rung in answer.rungs:
        alone = models.load_model(replace(CHOICE, name=rung.name))
        with torch.inference_mode():
            logits = alone.transformer(torch.tensor([IDS[-8:]]))[0].double()
        probabilities = logits.softmax(-1)
        losses = [-probabilities[at, id].log().item() for at, id in enumerate([*IDS[-7:], 32])]
        assert rung.loss == pytest.approx(sum(losses) / 8, abs=1e-5)
        assert rung.ln_v == pytest.approx(math.log(257))
        assert rung.target and rung.target.probability == pytest.approx(probabilities[-1, 32].item(), rel=1e-4)
        assert rung.target.rank == int((logits[-1] > logits[-1, 32]).sum())
        assert rung.top.id == int(logits[-1].argmax())
        assert (rung.seen, rung.trained) == (8, False)


def test_parameters_and_differences_equal_the_configurations(answer: Ladder) -> None:
    configs = [rung.config for rung in rungs.rungs(257)]
    assert [rung.parameters for rung in answer.rungs] == [config.parameter_count() for config in configs]
    assert sum(rung.added for rung in answer.rungs) == configs[-1].parameter_count()
    assert answer.rungs[0].differences == ()
    assert [(each.name, each.before, each.after) for each in answer.rungs[4].differences] == [("heads", "1", "4")]
    assert {each.name for each in answer.rungs[3].differences} == {
        "blocks", "pre_norm", "feed_forward", "final_activation", "logit_scale", "init_std",
    }  # fmt: skip


def test_kl_between_rungs_equals_the_formula(answer: Ladder) -> None:
    """It is 0 of a rung with itself."""
    rows = []
    for name in RUNGS:
        alone = models.load_model(replace(CHOICE, name=name))
        with torch.inference_mode():
            rows.append(alone.transformer(torch.tensor([IDS[-8:]]))[0, -1].double().log_softmax(-1))
    for p, line in zip(rows, answer.kl_bits, strict=True):
        for q, value in zip(rows, line, strict=True):
            assert value == pytest.approx((p.exp() * (p - q)).sum().item() / math.log(2), abs=1e-6)


def test_each_answer_has_one_more_rung(model: Model) -> None:
    results = list(ladder(step_on(model, IDS)))
    assert [each.done for each in results if isinstance(each, Progress)] == list(range(7))
    assert [len(each.rungs) for each in results if isinstance(each, Ladder)] == [1, 2, 3, 4, 5, 6]
    assert all(rung.target is None for rung in results[-1].rungs)


def test_changed_sizes_apply_to_every_rung_where_they_are_valid() -> None:
    choice = replace(CHOICE, name="model5", changes=Hyperparameters(embed_dim=12, heads=3, context=5))
    answer = last(ladder(step_on(models.load_model(choice), IDS)))
    assert [rung.seen for rung in answer.rungs] == [5] * 6
    assert [rung.name for rung in answer.rungs] == RUNGS
    odd = replace(CHOICE, name="model5", changes=Hyperparameters(embed_dim=9, heads=3))
    answer = last(ladder(step_on(models.load_model(odd), IDS)))
    assert [rung.name for rung in answer.rungs] == RUNGS[:5]
    assert len(answer.notes) == 1
    assert answer.notes[0].startswith("model6 is left out: rotary positions rotate pairs")


def test_a_trained_rung_stands_after_the_random_one(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained rungs that are not available have no note."""

    def load(choice: ModelChoice) -> Model:
        if choice.name == "model3-trained":
            model3 = models.load_model(replace(CHOICE, name="model3", weights_seed=9))
            return replace(model3, info=replace(model3.info, name=choice.name))
        return untrained(choice)

    monkeypatch.setattr(lens, "models", SimpleNamespace(load_model=load))
    answer = last(ladder(step_on(model, IDS)))
    assert [rung.name for rung in answer.rungs if rung.trained] == ["model3-trained"]
    assert answer.rungs[3].name == "model3-trained"
    assert answer.rungs[4].added == answer.rungs[4].parameters - answer.rungs[2].parameters
    assert len(answer.kl_bits) == len(answer.kl_bits[0]) == 7


def test_every_rung_of_the_trained_ladder_has_a_lower_loss_than_the_random_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """All rungs have the vocabulary and sizes of the trained model."""
    monkeypatch.setattr(lens, "models", models)
    trained = models.load_model(ModelChoice(name="model1-trained", device="cpu"))
    answer = last(ladder(step_on(trained, trained.tokenizer.encode("I prefer oat milk in"))))
    assert [rung.name for rung in answer.rungs] == [name for rung in RUNGS for name in (rung, f"{rung}-trained")]
    assert {rung.ln_v for rung in answer.rungs} == {math.log(trained.tokenizer.vocab_size)}
    assert all(value is not None for row in answer.kl_bits for value in row)
    for before, after in zip(answer.rungs[::2], answer.rungs[1::2], strict=True):
        assert after.loss and before.loss and after.loss < before.loss - 4
        assert before.parameters == after.parameters


def test_rungs_encode_the_text_of_another_tokenizer_again() -> None:
    """For a model from files the rungs use their own tokenizer, and a note says so."""
    own = wrapped(Transformer(ModelConfig(vocab_size=257, context=100)).eval())
    tokenizer = type(own.tokenizer)("files", own.tokenizer.encoding)
    step = step_on(
        replace(own, choice=ModelChoice(name="smollm2", device="cpu", dtype="int4"), tokenizer=tokenizer), IDS
    )
    answer = last(ladder(replace(step, target=32)))
    assert answer.notes == ("the rungs read the same text with their own tokenizer, cl100k",)
    assert answer.rungs[0].seen == 4
    assert answer.rungs[0].ln_v == pytest.approx(math.log(100_277))
    assert answer.rungs[0].target and answer.rungs[0].target.piece == b" "
