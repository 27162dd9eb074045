"""The trainer compared with a plain loop of torch's own parts; its held-out loss and its errors."""

import math
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from trainings import CPU, RUNGS, corpus_of, only, trainer_of

from core.engine.model import random_model
from core.errors import Option, UserError
from core.loading.checkpoints import checkpoint
from core.loading.checkpoints.folders import LATEST
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.progress import Progress
from core.sampling import distribution
from core.training.events import Begun, Ended, Evaluated, Event, Stepped
from core.training.measure import held_out_loss, windows
from core.training.trainer import Trainer
from core.training.training import Training

# One step -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_equal_those_of_a_plain_loop(recipe: Recipe, rung: str) -> None:
    """Losses, gradient norms and weights have the same bits as those of a loop of torch's own parts."""
    recipe = replace(recipe, rung=rung, changes=RUNGS[rung], steps=6, clip=0.5, decay=0.1)
    trainer = trainer_of(recipe)
    stepped = only(trainer.run(), Stepped)

    data = corpus_of(recipe)
    model = random_model(recipe.config(data.tokenizer.vocab_size), recipe.seed).requires_grad_(True)
    matrices = [weight for _, weight in model.named_parameters() if weight.dim() == 2]
    others = [weight for _, weight in model.named_parameters() if weight.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        betas=(0.9, 0.95),
        fused=True,
    )
    for step in range(6):
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(step)
        ids = data.batch(step, 4, 12)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        event = stepped[step]
        assert (event.step, event.lr) == (step + 1, recipe.lr_at(step))
        assert (event.loss, event.grad_norm) == (loss.item(), norm.item())
    for (name, weight), other in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, other), name
    untrained = random_model(recipe.config(data.tokenizer.vocab_size), recipe.seed)
    assert not torch.allclose(trainer.model.embed.weight, untrained.embed.weight, atol=1e-3)


def test_weight_decay_applies_to_matrices_only(recipe: Recipe) -> None:
    """With zero gradients a step multiplies matrices by 1 - lr · decay and leaves vectors as they are."""
    trainer = trainer_of(replace(recipe, decay=0.5, lr=0.1, warmup=0))
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    for weight in trainer.model.parameters():
        weight.grad = torch.zeros_like(weight)
    trainer.optimizer.step()
    for name, weight in trainer.model.named_parameters():
        factor = 1 - 0.1 * 0.5 if weight.dim() == 2 else 1.0
        assert torch.allclose(weight, before[name] * factor, atol=1e-7), name


@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (1, 10), (7, 50), (50, 20), (20, 20)])
def test_the_learning_rate_has_a_linear_warm_up_and_a_cosine_decay(recipe: Recipe, warmup: int, steps: int) -> None:
    """The cosine equals torch's own, down to 0; a training that is shorter than its warm-up has no cosine."""
    recipe = replace(recipe, lr=0.3, warmup=warmup, steps=steps)
    rates = [recipe.lr_at(step) for step in range(steps)]
    warming = min(warmup, steps)
    assert rates[:warming] == pytest.approx([0.3 * (step + 1) / warmup for step in range(warming)])
    if steps > warmup:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup)
        for rate in rates[warmup:]:
            assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
            optimizer.step()
            schedule.step()
        assert recipe.lr_at(steps) == pytest.approx(0, abs=1e-12)


def test_each_rung_has_its_own_default_learning_rate(recipe: Recipe) -> None:
    for rung, peak in (("model1", 1e-2), ("model2", 2e-2), ("model3", 1e-2), ("model4", 4e-3), ("model6", 4e-3)):
        assert Recipe(rung=rung).peak == peak
        assert Recipe(rung=rung, lr=0.5).peak == 0.5


def test_the_events_of_a_training_come_in_order(recipe: Recipe) -> None:
    """Begun, an evaluation before the first step, the steps with an evaluation after each five and the last, ended."""
    trainer = trainer_of(recipe)
    events = list(trainer.run())
    kinds = "".join({Begun: "b", Stepped: "s", Evaluated: "v", Ended: "e"}[type(event)] for event in events)
    assert kinds == "b" + "v" + "sssssv" * 2 + "ssv" + "e"
    begun, end = events[0], events[-1]
    assert isinstance(begun, Begun)
    assert (begun.steps, begun.step, begun.context, begun.vocab_size) == (12, 0, 12, 257)
    assert begun.ln_v == pytest.approx(math.log(257))
    assert begun.parameters == trainer.model.parameter_count()
    assert end == Ended(12)
    for event in events:
        if isinstance(event, Stepped):
            assert event.tokens_per_second > 0
            assert (event.seconds_left > 0) is (event.step < 12)


@pytest.mark.parametrize("rung", RUNGS)
def test_the_held_out_loss_of_every_rung_falls(recipe: Recipe, rung: str) -> None:
    """From about ln V, which is 5.55 nats, by at least 1.4 nats in 80 steps."""
    trainer = trainer_of(replace(recipe, rung=rung, changes=RUNGS[rung], steps=80, every=40))
    evaluations = only(trainer.run(), Evaluated)
    assert evaluations[0].loss == pytest.approx(math.log(257), abs=0.3)  # 0.25 for the large first weights of model2
    assert evaluations[-1].loss < evaluations[0].loss - 1.4


def test_an_evaluation_has_the_models_distribution_and_greedy_continuation(recipe: Recipe) -> None:
    """Both are compared with the whole-window forward, token by token."""
    trainer = trainer_of(replace(recipe, probe="The kettle was on"))
    *_, last = only(trainer.run(), Evaluated)
    tokenizer, model = trainer.corpus.tokenizer, trainer.model.requires_grad_(False)
    ids = tokenizer.encode("The kettle was on")[-12:]
    exact = distribution.Distribution(model(torch.tensor([ids]))[0, -1])
    assert [each.id for each in last.chart.candidates] == exact.head(12).tolist()
    assert last.chart.candidates[0].probability == exact.probabilities.max().item()
    for _ in range(16):
        ids.append(int(model(torch.tensor([ids[-12:]]))[0, -1].argmax()))
    assert last.sample == "".join(chr(id) if id < 128 else f"\\x{id:02x}" for id in ids[-16:])


# The held-out loss ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7, 12])
@pytest.mark.parametrize("count", [30, 145])
def test_windows_predict_each_token_once(length: int, count: int) -> None:
    """Second halves of windows are adjacent; each prediction has at least half a window of context."""
    ids = torch.arange(count)
    predicted = []
    for inputs, targets in windows(ids, length, 10_000):
        half = inputs.shape[1] // 2
        assert torch.equal(targets, inputs + 1)
        predicted += targets[:, half:].flatten().tolist()
        assert all(
            target - start >= half for start, row in zip(inputs[:, 0], targets[:, half:], strict=True) for target in row
        )
    assert predicted == [*range(length // 2 + 1, predicted[-1] + 1)]
    assert count - predicted[-1] <= max(1, length - length // 2)


@pytest.mark.parametrize("limit", [1, 20, 21, 500])
def test_the_held_out_loss_equals_a_plain_mean(recipe: Recipe, limit: int) -> None:
    """Of -ln p, prediction by prediction in float64: as many as the limit, or up to half a window more."""
    data = corpus_of(recipe)
    model = random_model(recipe.config(257), 3)
    exact = model.double()
    ids, losses = data._held_out.tolist(), list[float]()
    for end in range(6 + 1, len(ids), 6):
        if len(losses) >= limit or end + 6 > len(ids):
            break
        for at in range(end, end + 6):
            logits = exact(torch.tensor([ids[end - 7 : at]]))[0, -1]
            losses.append(-logits.log_softmax(-1)[ids[at]].item())
    loss = held_out_loss(random_model(recipe.config(257), 3), data._held_out, limit)
    assert loss == pytest.approx(math.fsum(losses) / len(losses), abs=1e-5)
    assert limit <= len(losses) < limit + 6 or limit == 500


# Errors ---------------------------------------------------------------------------------------------------------------


def poisoned(trainer: Trainer, at: int) -> None:
    """Make weights NaN and infinite after `at` steps."""
    original = trainer._step

    def step(lr: float) -> tuple[float, float]:
        if trainer.step == at:
            with torch.no_grad():
                trainer.model.embed.weight[0, 0] = math.nan
                trainer.model.embed.weight[:, 1] = math.inf
        return original(lr)

    trainer._step = step  # type: ignore[method-assign]


@pytest.mark.parametrize("closed", [False, True], ids=["read to the end", "closed at the event"])
def test_a_non_finite_loss_ends_the_training(recipe: Recipe, tmp_path: Path, closed: bool) -> None:
    """The event has the step and the reason, and the last good checkpoint is kept."""
    training = Training(recipe, tmp_path / "a", CPU)
    events, seen = training.run(), list[Event]()
    with closing(events):
        for event in events:
            assert not isinstance(event, Progress) or training.trainer is None
            if isinstance(event, Begun):
                assert training.trainer
                poisoned(training.trainer, at=7)
            seen.append(event)  # type: ignore[arg-type]
            if closed and isinstance(event, Ended):
                break
    end = seen[-1]
    assert isinstance(end, Ended)
    assert end.step == 7
    assert end.problem is not None
    assert {Option("lr"), Option("warmup"), Option("clip")} <= {*end.problem.parts}
    for word in ("nan", "at step 8", "option lr", "the last checkpoint is kept"):
        assert word in str(end.problem)
    assert "\n" not in str(end.problem)
    saved = checkpoint.read_checkpoint(tmp_path / "a" / LATEST)
    assert saved.card.step == 5
    assert saved.card.losses == tuple((event.step, event.loss) for event in only(iter(seen), Evaluated))


def test_a_learning_rate_that_is_too_high_ends_the_training(recipe: Recipe, tmp_path: Path) -> None:
    """The weights overflow before an evaluation; the last good checkpoint is kept."""
    training = Training(replace(recipe, lr=1e30, warmup=0, every=1, decay=0.0), tmp_path / "a", CPU)
    with closing(training.run()) as events:
        *_, end = events
    assert isinstance(end, Ended)
    assert "1e+30" in str(end.problem)
    assert math.isfinite(checkpoint.read_checkpoint(tmp_path / "a" / LATEST).card.loss)


@pytest.mark.parametrize(
    "change",
    [
        {"steps": 0}, {"batch": 0}, {"stride": 0}, {"every": 0}, {"warmup": -1}, {"lr": 0.0}, {"lr": math.nan},
        {"lr": math.inf}, {"decay": -1.0}, {"decay": math.nan}, {"clip": 0.0}, {"clip": math.nan}, {"seed": -1},
        {"seed": 2**31}, {"vocabulary": "morse"}, {"rung": "model9"}, {"rung": "model1"},
        {"changes": Hyperparameters(context=0)},
    ],
)  # fmt: skip
def test_a_wrong_value_in_a_recipe_is_a_user_error(recipe: Recipe, change: dict[str, Any]) -> None:
    """Its text is one line."""
    with pytest.raises(UserError) as error:
        replace(recipe, **change)
    assert len(str(error.value).splitlines()) == 1
