"""Each rung's row against that rung loaded and read by itself."""

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
from core.loading.models import Model
from core.progress import Progress

CHOICE = ModelChoice(name="model2", tokenizer="bytes", device="cpu", weights_seed=3)
IDS = list(b"I prefer oat milk")


def untrained(choice: ModelChoice) -> Model:
    """What `models.load` gives where no rung was ever trained."""
    if choice.name.endswith("-trained"):
        raise UserError(f"no model {choice.name}")
    return models.load_model(choice)


@pytest.fixture(scope="module", autouse=True)
def no_twins() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lens, "models", SimpleNamespace(load_model=untrained))
        yield


@pytest.fixture(scope="module")
def model() -> Model:
    return models.load_model(CHOICE)


@pytest.fixture(scope="module")
def shown(model: Model) -> Ladder:
    return last(ladder(step_on(model, IDS, target=32)))


def test_rungs_are_the_models_of_the_ladder(shown: Ladder) -> None:
    """Losses, favourites, the next token's rank and probability, each from the rung itself."""
    assert [rung.name for rung in shown.rungs] == RUNGS
    assert not shown.notes
    for rung in shown.rungs:
        alone = models.load_model(replace(CHOICE, name=rung.name))
        with torch.inference_mode():
            logits = alone.transformer(torch.tensor([IDS[-8:]]))[0].double()
        shares = logits.softmax(-1)
        losses = [-shares[at, id].log().item() for at, id in enumerate([*IDS[-7:], 32])]
        assert rung.loss == pytest.approx(sum(losses) / 8, abs=1e-5)
        assert rung.ln_v == pytest.approx(math.log(257))
        assert rung.target and rung.target.probability == pytest.approx(shares[-1, 32].item(), rel=1e-4)
        assert rung.target.rank == int((logits[-1] > logits[-1, 32]).sum())
        assert rung.top.id == int(logits[-1].argmax())
        assert (rung.seen, rung.trained) == (8, False)


def test_parameters_and_differences_are_those_of_the_configurations(shown: Ladder) -> None:
    configs = [rung.config for rung in rungs.rungs(257)]
    assert [rung.parameters for rung in shown.rungs] == [config.parameter_count() for config in configs]
    assert sum(rung.added for rung in shown.rungs) == configs[-1].parameter_count()
    assert shown.rungs[0].differences == ()
    assert [(each.name, each.before, each.after) for each in shown.rungs[4].differences] == [("heads", "1", "4")]
    assert {each.name for each in shown.rungs[3].differences} == {
        "blocks", "pre_norm", "feed_forward", "final_activation", "logit_scale", "init_std",
    }  # fmt: skip


def test_kl_between_rungs(shown: Ladder) -> None:
    """Zero with itself, by the formula with another."""
    rows = []
    for name in RUNGS:
        alone = models.load_model(replace(CHOICE, name=name))
        with torch.inference_mode():
            rows.append(alone.transformer(torch.tensor([IDS[-8:]]))[0, -1].double().log_softmax(-1))
    for p, line in zip(rows, shown.kl_bits, strict=True):
        for q, value in zip(rows, line, strict=True):
            assert value == pytest.approx((p.exp() * (p - q)).sum().item() / math.log(2), abs=1e-6)


def test_rungs_come_one_by_one(model: Model) -> None:
    seen = list(ladder(step_on(model, IDS)))
    assert [each.done for each in seen if isinstance(each, Progress)] == list(range(7))
    assert [len(each.rungs) for each in seen if isinstance(each, Ladder)] == [1, 2, 3, 4, 5, 6]
    assert all(rung.target is None for rung in seen[-1].rungs)


def test_changed_sizes_hold_on_every_rung_that_has_them() -> None:
    choice = replace(CHOICE, name="model5", changes=Hyperparameters(embed_dim=12, heads=3, context=5))
    shown = last(ladder(step_on(models.load_model(choice), IDS)))
    assert [rung.seen for rung in shown.rungs] == [5] * 6
    assert [rung.name for rung in shown.rungs] == RUNGS
    odd = replace(CHOICE, name="model5", changes=Hyperparameters(embed_dim=9, heads=3))
    shown = last(ladder(step_on(models.load_model(odd), IDS)))
    assert [rung.name for rung in shown.rungs] == RUNGS[:5]
    assert len(shown.notes) == 1
    assert shown.notes[0].startswith("model6 is left out: rotary positions rotate pairs")


def test_a_trained_twin_stands_beside_its_rung(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is one; nothing is said of those that are not there."""

    def load(choice: ModelChoice) -> Model:
        if choice.name == "model3-trained":
            made = models.load_model(replace(CHOICE, name="model3", weights_seed=9))
            return replace(made, info=replace(made.info, name=choice.name))
        return untrained(choice)

    monkeypatch.setattr(lens, "models", SimpleNamespace(load_model=load))
    shown = last(ladder(step_on(model, IDS)))
    assert [rung.name for rung in shown.rungs if rung.trained] == ["model3-trained"]
    assert shown.rungs[3].name == "model3-trained"
    assert shown.rungs[4].added == shown.rungs[4].parameters - shown.rungs[2].parameters
    assert len(shown.kl_bits) == len(shown.kl_bits[0]) == 7


def test_the_trained_ladder_stands_beside_the_rungs_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trained rung is shown among all rungs in its own vocabulary and sizes, before they learned and after."""
    monkeypatch.setattr(lens, "models", models)
    trained = models.load_model(ModelChoice(name="model1-trained", device="cpu"))
    shown = last(ladder(step_on(trained, trained.tokenizer.encode("I prefer oat milk in"))))
    assert [rung.name for rung in shown.rungs] == [name for rung in RUNGS for name in (rung, f"{rung}-trained")]
    assert {rung.ln_v for rung in shown.rungs} == {math.log(trained.tokenizer.vocab_size)}
    assert all(value is not None for row in shown.kl_bits for value in row)
    for before, after in zip(shown.rungs[::2], shown.rungs[1::2], strict=True):
        assert after.loss and before.loss and after.loss < before.loss - 4
        assert before.parameters == after.parameters


def test_another_tokenizer_reads_the_text_again() -> None:
    """A model from files: the rungs use their own tokenizer, and say so."""
    own = wrapped(Transformer(ModelConfig(vocab_size=257, context=100)).eval())
    words = type(own.tokenizer)("files", own.tokenizer.encoding)
    step = step_on(replace(own, choice=ModelChoice(name="smollm2", device="cpu", dtype="int4"), tokenizer=words), IDS)
    shown = last(ladder(replace(step, target=32)))
    assert shown.notes == ("the rungs read the same text with their own tokenizer, cl100k",)
    assert shown.rungs[0].seen == 4
    assert shown.rungs[0].ln_v == pytest.approx(math.log(100_277))
    assert shown.rungs[0].target and shown.rungs[0].target.piece == b" "
