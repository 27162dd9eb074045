"""The trainer is compared with a plain loop of torch's own parts; stopped and resumed; in one process and in two."""

import json
import math
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from core.engine.model import random_model
from core.errors import Option, UserError
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.folders import LATEST, STEP
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.progress import Progress
from core.sampling import distribution
from core.training import training as training_module
from core.training.dataset import REFERENCE
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped
from core.training.measure import held_out_loss, windows
from core.training.text import Text
from core.training.trainer import Trainer, corpus
from core.training.training import Training

CPU = torch.device("cpu")
SMALL = Hyperparameters(embed_dim=16, context=12, blocks=2)
RUNGS = {
    "model1": Hyperparameters(embed_dim=16, context=12),
    "model2": Hyperparameters(embed_dim=16, context=12),
    "model3": Hyperparameters(embed_dim=16, context=12),
    "model4": SMALL,
    "model5": SMALL,
    "model6": SMALL,
}


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("texts") / "story.txt"
    path.write_text(REFERENCE)
    return path


@pytest.fixture
def recipe(story: Path) -> Recipe:
    """A training of a fraction of a second: 12 steps over bytes, evaluated at 0, 5, 10 and 12."""
    return Recipe(
        rung="model5", changes=SMALL, text=str(story), vocabulary="bytes", steps=12, batch=4, warmup=3, every=5
    )


def corpus_of(recipe: Recipe) -> Text:
    *_, text = corpus(recipe)
    assert isinstance(text, Text)
    return text


def trainer_of(recipe: Recipe) -> Trainer:
    return Trainer(recipe, corpus_of(recipe), CPU)


def only(events: Iterator[Progress | Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# One step ------------------------------------------------------------------------------------------------------------


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


# The held-out loss ---------------------------------------------------------------------------------------------------


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


# Errors --------------------------------------------------------------------------------------------------------------


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


# Stop and resume -----------------------------------------------------------------------------------------------------


def events_of(training: Training, until: int | None = None, kind: type[Any] = Stepped) -> list[Event]:
    """The events of a training, which is closed at the first event of `kind` at or after step `until`."""
    seen: list[Event] = []
    with closing(training.run()) as events:
        for event in events:
            if not isinstance(event, Progress):
                seen.append(event)
                if until is not None and isinstance(event, kind) and event.step >= until:
                    break
    return seen


def state(folder: Path) -> dict[str, Any]:
    """The card and all tensors of the latest checkpoint, without the version of the program."""
    latest = checkpoint.read_checkpoint(folder / LATEST)
    return {"card": replace(latest.card, program="")} | {name: t.tolist() for name, t in latest.tensors.items()}


STOPS: list[tuple[list[int], type[Any]]] = [
    ([1, 2, 3], Stepped),
    ([5], Stepped),
    ([7, 8], Stepped),
    ([0, 5, 10], Evaluated),
    ([0, 5], CheckpointSaved),
    ([12], Stepped),
    ([12], Evaluated),
]


@pytest.mark.parametrize(("stops", "kind"), STOPS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_a_resumed_training_equals_one_that_was_not_stopped(
    recipe: Recipe, tmp_path: Path, stops: list[int], kind: type[Any]
) -> None:
    """Weights, moments and losses have the same bits, however often it was stopped."""
    whole = events_of(Training(recipe, tmp_path / "whole", CPU))
    parts: list[Event] = []
    for stop in stops:
        parts += events_of(Training(recipe, tmp_path / "parts", CPU), stop, kind)
    parts += events_of(
        Training.resumed(tmp_path / "parts", CPU)
        if (tmp_path / "parts").exists()
        else Training(recipe, tmp_path / "parts", CPU)
    )
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert [[step for step, _ in folders.steps(tmp_path / each)] for each in ("parts", "whole")] == [[0, 5, 10, 12]] * 2
    by_step = {event.step: event.loss for event in parts if isinstance(event, Stepped)}
    assert by_step == {event.step: event.loss for event in whole if isinstance(event, Stepped)}
    evaluations = {event.step: event for event in parts if isinstance(event, Evaluated)}
    assert evaluations == {event.step: event for event in whole if isinstance(event, Evaluated)}


def test_a_training_can_be_resumed_in_the_same_process(recipe: Recipe, tmp_path: Path) -> None:
    """The trainer is kept, so nothing is read again."""
    events_of(Training(recipe, tmp_path / "whole", CPU))
    training = Training(recipe, tmp_path / "parts", CPU)
    events_of(training, 4)
    before = training.trainer
    events_of(training)
    assert training.trainer is before
    assert state(tmp_path / "parts") == state(tmp_path / "whole")


def test_a_training_that_was_stopped_before_its_first_step_begins_again(recipe: Recipe, tmp_path: Path) -> None:
    """Stopped at its first event it leaves no file; stopped after its first evaluation it resumes from step 0."""
    (tmp_path / "empty").mkdir()
    events_of(Training(recipe, tmp_path / "empty", CPU), 0, Begun)
    assert [*(tmp_path / "empty").iterdir()] == []
    events_of(Training(recipe, tmp_path / "a", CPU), 0, CheckpointSaved)
    begun, *_, end = events_of(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (0, Ended(12))


def test_a_finished_training_ends_at_once_when_resumed(recipe: Recipe, tmp_path: Path) -> None:
    events_of(Training(recipe, tmp_path / "a", CPU))
    before = state(tmp_path / "a")
    begun, end = events_of(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (12, Ended(12))
    assert state(tmp_path / "a") == before


def test_the_same_recipe_gives_the_same_weights(recipe: Recipe, tmp_path: Path) -> None:
    """Two trainings with one recipe have the same bits; another seed gives other ones."""
    for name in ("a", "b"):
        events_of(Training(recipe, tmp_path / name, CPU))
    assert state(tmp_path / "a") == state(tmp_path / "b")
    events_of(Training(replace(recipe, seed=1), tmp_path / "c", CPU))
    assert state(tmp_path / "c") != state(tmp_path / "a")


def refusal(training: Training) -> str:
    """The text of the error of a training that cannot run."""
    with pytest.raises(UserError) as error:
        events_of(training)
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def test_a_training_that_cannot_be_resumed_is_a_user_error(recipe: Recipe, tmp_path: Path, story: Path) -> None:
    """Another recipe, a changed or missing text, no optimizer state, an empty folder, another kind of file."""
    text, folder = tmp_path / "own.txt", tmp_path / "a"
    text.write_bytes(story.read_bytes())
    recipe = replace(recipe, text=str(text))
    events_of(Training(recipe, folder, CPU), 7)
    assert "another recipe" in refusal(Training(replace(recipe, lr=0.1), folder, CPU))
    text.write_bytes(story.read_bytes() + b"More.")
    assert "not the text it was before" in refusal(Training.resumed(folder, CPU))
    text.unlink()
    assert "no text file" in refusal(Training.resumed(folder, CPU))
    text.write_bytes(story.read_bytes())
    (folder / LATEST).write_bytes((folder / STEP.format(5)).read_bytes())
    assert "has no optimizer state" in refusal(Training.resumed(folder, CPU))
    with pytest.raises(UserError, match="no training to resume"):
        Training.resumed(tmp_path / "none", CPU)
    (folder / LATEST).write_bytes(b"{}" * 50)
    with pytest.raises(UserError, match="safetensors"):
        Training.resumed(folder, CPU)


def test_a_folder_that_cannot_be_made_is_a_user_error(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be created" in refusal(Training(recipe, tmp_path / "file" / "a", CPU))


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_each_evaluation_has_a_checkpoint(recipe: Recipe, tmp_path: Path) -> None:
    """There is also a latest one to resume from. Each card has the losses up to its step."""
    seen = events_of(Training(recipe, tmp_path / "a", CPU, "tokenwalk train"))
    evaluations = only(iter(seen), Evaluated)
    checkpoints = folders.steps(tmp_path / "a")
    assert [step for step, _ in checkpoints] == [event.step for event in evaluations] == [0, 5, 10, 12]
    assert [(event.step, event.path) for event in only(iter(seen), CheckpointSaved)] == checkpoints
    for n, (step, path) in enumerate(checkpoints):
        saved = checkpoint.read_checkpoint(path)
        assert not saved.moments
        assert saved.card.losses == tuple((event.step, event.loss) for event in evaluations[: n + 1])
        assert (saved.card.step, saved.card.loss) == (step, evaluations[n].loss)
        assert (saved.card.corpus, saved.card.command, saved.card.floors) == ("story.txt", "tokenwalk train", None)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        LATEST,
        *(STEP.format(step) for step, _ in checkpoints),
    }


def test_surplus_checkpoints_are_deleted(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last stay, and those between are spread out, up to a number and a size in bytes."""
    monkeypatch.setattr(training_module, "MAX_CHECKPOINTS", 5)
    events_of(Training(replace(recipe, steps=20, every=1), tmp_path / "a", CPU))
    saved = [step for step, _ in folders.steps(tmp_path / "a")]
    assert (len(saved), saved[0], saved[-1]) == (5, 0, 20)
    gaps = [after - before for before, after in pairwise(saved)]
    assert max(gaps) <= 10
    monkeypatch.setattr(training_module, "MAX_BYTES", 1)
    events_of(Training(replace(recipe, steps=6, every=2), tmp_path / "b", CPU))
    assert [step for step, _ in folders.steps(tmp_path / "b")] == [0, 6]


# Distributed training ------------------------------------------------------------------------------------------------


def test_two_processes_train_as_one(recipe: Recipe, story: Path, tmp_path: Path) -> None:
    """Each takes half of every batch. Losses are within 1e-5 of one process's; rank 0 alone writes and prints."""
    arguments = [
        "-m", "tui", "train", "-m", "model5", "--text", str(story), "--tokenizer", "bytes", "-n", "12", "--batch", "4",
        "--every", "5", "--embed-dim", "16", "--context", "12", "--blocks", "2", "--warmup", "3", "--device", "cpu",
        "--json", "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]
    process = subprocess.run(
        [sys.executable, *launch, port, *arguments],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.returncode == 0, process.stderr.decode()
    two = [json.loads(line) for line in process.stdout.splitlines()]
    one = events_of(Training(recipe, tmp_path / "one", CPU))
    names = {Begun: "begun", Stepped: "step", Evaluated: "measured", CheckpointSaved: "saved", Ended: "ended"}
    assert [event["event"] for event in two] == [names[type(event)] for event in one]
    for here, there in zip(one, two, strict=True):
        if isinstance(here, Stepped | Evaluated):
            assert there["loss"] == pytest.approx(here.loss, abs=1e-5)
        if isinstance(here, Stepped):
            assert there["grad_norm"] == pytest.approx(here.grad_norm, rel=1e-4)
    saved = [checkpoint.read_checkpoint(tmp_path / name / LATEST) for name in ("one", "two")]
    assert saved[0].card.recipe == saved[1].card.recipe
    for name, tensor in saved[0].tensors.items():
        if name.startswith(checkpoint.WEIGHTS) and not name.endswith(
            "qkv.bias"
        ):  # biases of keys do not change softmax
            assert torch.allclose(tensor, saved[1].tensors[name], atol=1e-3), name


def test_a_batch_that_cannot_be_divided_among_processes_is_a_user_error(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(UserError, match="a batch of 4 cannot be divided among 3"):
        trainer_of(recipe)
