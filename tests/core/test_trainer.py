"""The trainer against a plain loop of torch's own parts, stopped and gone on with, in one process and in two."""

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
from core.errors import UserError
from core.loading.checkpoints import checkpoint, folders
from core.loading.checkpoints.folders import LATEST, STEP
from core.loading.checkpoints.recipe import Recipe
from core.loading.choice import Hyperparameters
from core.progress import Progress
from core.sampling import distribution
from core.training import training
from core.training.dataset import REFERENCE
from core.training.events import Begun, CheckpointSaved, Ended, Evaluated, Event, Stepped
from core.training.measure import validation_loss, windows
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
    """A training that takes a fraction of a second: 12 steps over bytes, measured at 0, 5, 10 and 12."""
    return Recipe(
        rung="model5", changes=SMALL, text=str(story), vocabulary="bytes", steps=12, batch=4, warmup=3, every=5
    )


def corpus_of(recipe: Recipe) -> Text:
    *_, found = corpus(recipe)
    assert isinstance(found, Text)
    return found


def trainer_of(recipe: Recipe) -> Trainer:
    return Trainer(recipe, corpus_of(recipe), CPU)


def only(events: Iterator[Progress | Event], kind: type[Any]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


# One step ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rung", RUNGS)
def test_steps_are_those_of_a_plain_loop(recipe: Recipe, rung: str) -> None:
    """The same losses, gradients' lengths and weights, to the last bit, as torch's own parts in a row."""
    recipe = replace(recipe, rung=rung, changes=RUNGS[rung], steps=6, clip=0.5, decay=0.1)
    trainer = trainer_of(recipe)
    stepped = only(trainer.run(), Stepped)

    data = corpus_of(recipe)
    model = random_model(recipe.config(data.tokenizer.vocab_size), recipe.seed).requires_grad_(True)
    matrices = [weight for name, weight in model.named_parameters() if weight.dim() == 2]
    others = [weight for name, weight in model.named_parameters() if weight.dim() == 1]
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
        told = stepped[step]
        assert (told.step, told.lr) == (step + 1, recipe.lr_at(step))
        assert (told.loss, told.grad_norm) == (loss.item(), norm.item())
    for (name, weight), other in zip(trainer.model.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(weight, other), name
    untrained = random_model(recipe.config(data.tokenizer.vocab_size), recipe.seed)
    assert not torch.allclose(trainer.model.embed.weight, untrained.embed.weight, atol=1e-3)


def test_decay_is_for_matrices_alone(recipe: Recipe) -> None:
    """Without any gradient, matrices shrink by lr · decay a step and vectors stay."""
    trainer = trainer_of(replace(recipe, decay=0.5, lr=0.1, warmup=0))
    before = {name: weight.detach().clone() for name, weight in trainer.model.named_parameters()}
    for weight in trainer.model.parameters():
        weight.grad = torch.zeros_like(weight)
    trainer.optimizer.step()
    for name, weight in trainer.model.named_parameters():
        share = 1 - 0.1 * 0.5 if weight.dim() == 2 else 1.0
        assert torch.allclose(weight, before[name] * share, atol=1e-7), name


@pytest.mark.parametrize(("warmup", "steps"), [(0, 10), (1, 10), (7, 50), (50, 20), (20, 20)])
def test_the_learning_rate_rises_and_falls(recipe: Recipe, warmup: int, steps: int) -> None:
    """A line up to the peak, then torch's own cosine to zero; where a training is all warm-up, a line alone."""
    recipe = replace(recipe, lr=0.3, warmup=warmup, steps=steps)
    rates = [recipe.lr_at(step) for step in range(steps)]
    rising = min(warmup, steps)
    assert rates[:rising] == pytest.approx([0.3 * (step + 1) / warmup for step in range(rising)])
    if steps > warmup:
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps - warmup)
        for rate in rates[warmup:]:
            assert rate == pytest.approx(schedule.get_last_lr()[0], abs=1e-12)
            optimizer.step()
            schedule.step()
        assert recipe.lr_at(steps) == pytest.approx(0, abs=1e-12)


def test_each_rung_has_a_rate_of_its_own(recipe: Recipe) -> None:
    for rung, peak in (("model1", 1e-2), ("model2", 2e-2), ("model3", 1e-2), ("model4", 4e-3), ("model6", 4e-3)):
        assert Recipe(rung=rung).peak == peak
        assert Recipe(rung=rung, lr=0.5).peak == 0.5


def test_a_training_tells_its_story(recipe: Recipe) -> None:
    """Begun, measured before anything was learned, each step, measured every so often and at the end, ended."""
    trainer = trainer_of(recipe)
    events = list(trainer.run())
    kinds = "".join({Begun: "b", Stepped: "s", Evaluated: "m", Ended: "e"}[type(event)] for event in events)
    assert kinds == "b" + "m" + "sssssm" * 2 + "ssm" + "e"
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
def test_every_rung_learns(recipe: Recipe, rung: str) -> None:
    """From guessing evenly towards the letters of the text, in 80 steps."""
    steps = only(trainer_of(replace(recipe, rung=rung, changes=RUNGS[rung], steps=80, every=40)).run(), Evaluated)
    assert steps[0].loss > 5
    assert steps[-1].loss < steps[0].loss - 1.2


def test_what_is_measured_is_what_the_model_says(recipe: Recipe) -> None:
    """The chart after the probe, and the likeliest way on from it, by the whole window for each token."""
    trainer = trainer_of(replace(recipe, probe="The kettle was on"))
    *_, last = only(trainer.run(), Evaluated)
    words, model = trainer.corpus.tokenizer, trainer.model.requires_grad_(False)
    ids = words.encode("The kettle was on")[-12:]
    exact = distribution.Distribution(model(torch.tensor([ids]))[0, -1])
    assert [each.id for each in last.chart.candidates] == exact.head(12).tolist()
    assert last.chart.candidates[0].probability == exact.probabilities.max().item()
    for _ in range(16):
        ids.append(int(model(torch.tensor([ids[-12:]]))[0, -1].argmax()))
    assert last.sample == "".join(chr(id) if id < 128 else f"\\x{id:02x}" for id in ids[-16:])


# The validation loss -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 2, 7, 12])
@pytest.mark.parametrize("count", [30, 145])
def test_validation_counts_each_prediction_once(length: int, count: int) -> None:
    """Second halves of windows lie side by side; before each prediction stands half a window, or all of a short one."""
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
def test_the_validation_loss_is_a_plain_mean(recipe: Recipe, limit: int) -> None:
    """-ln p of one prediction after the other in float64; as many as are asked for, or a window's half more."""
    data = corpus_of(recipe)
    model = random_model(recipe.config(257), 3)
    exact = model.double()
    ids, losses = data._validation.tolist(), list[float]()
    for end in range(6 + 1, len(ids), 6):
        if len(losses) >= limit or end + 6 > len(ids):
            break
        for at in range(end, end + 6):
            logits = exact(torch.tensor([ids[end - 7 : at]]))[0, -1]
            losses.append(-logits.log_softmax(-1)[ids[at]].item())
    found = validation_loss(random_model(recipe.config(257), 3), data._validation, limit)
    assert found == pytest.approx(math.fsum(losses) / len(losses), abs=1e-5)
    assert limit <= len(losses) < limit + 6 or limit == 500


# What goes wrong -----------------------------------------------------------------------------------------------------


def poisoned(trainer: Trainer, at: int) -> None:
    """Let the weights be no numbers once so many steps were taken."""
    whole = trainer._step

    def step(lr: float) -> tuple[float, float]:
        if trainer.step == at:
            with torch.no_grad():
                trainer.model.embed.weight[0, 0] = math.nan
                trainer.model.embed.weight[:, 1] = math.inf
        return whole(lr)

    trainer._step = step  # type: ignore[method-assign]


@pytest.mark.parametrize("left", [False, True])
def test_a_loss_that_is_no_number_ends_it(recipe: Recipe, tmp_path: Path, left: bool) -> None:
    """With the step and the reason; the last good checkpoint stays, whether or not who listens leaves at once."""
    made = Training(recipe, tmp_path / "a", CPU)
    events, seen = made.go(), list[Event]()
    with closing(events):
        for event in events:
            assert not isinstance(event, Progress) or made.trainer is None
            if isinstance(event, Begun):
                assert made.trainer
                poisoned(made.trainer, at=7)
            seen.append(event)  # type: ignore[arg-type]
            if left and isinstance(event, Ended):
                break
    end = seen[-1]
    assert isinstance(end, Ended)
    assert end.step == 7
    for word in ("nan", "at step 8", "--lr", "the last checkpoint is kept"):
        assert word in end.problem
    assert "\n" not in end.problem
    kept = checkpoint.read_checkpoint(tmp_path / "a" / LATEST)
    assert kept.card.step == 5
    assert kept.card.losses == tuple((event.step, event.loss) for event in only(iter(seen), Evaluated))


def test_a_rate_that_is_too_high_is_told(recipe: Recipe, tmp_path: Path) -> None:
    """Weights that grew beyond all numbers at a measurement; what was learned before them stays."""
    made = Training(replace(recipe, lr=1e30, warmup=0, every=1, decay=0.0), tmp_path / "a", CPU)
    with closing(made.go()) as events:
        *_, end = events
    assert isinstance(end, Ended)
    assert "1e+30" in end.problem
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
def test_a_recipe_that_cannot_be_is_one_clear_line(recipe: Recipe, change: dict[str, Any]) -> None:
    with pytest.raises(UserError) as mistake:
        replace(recipe, **change)
    assert len(str(mistake.value).splitlines()) == 1


# Left and gone on with -----------------------------------------------------------------------------------------------


def go(made: Training, until: int | None = None, kind: type[Any] = Stepped) -> list[Event]:
    """What a training says; left at the first event of a kind that has taken so many steps."""
    seen: list[Event] = []
    with closing(made.go()) as events:
        for event in events:
            if not isinstance(event, Progress):
                seen.append(event)
                if until is not None and isinstance(event, kind) and event.step >= until:
                    break
    return seen


def state(folder: Path) -> dict[str, Any]:
    """All that a training is, but for the program that made it."""
    found = checkpoint.read_checkpoint(folder / LATEST)
    return {"card": replace(found.card, program="")} | {name: t.tolist() for name, t in found.tensors.items()}


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
def test_who_left_is_where_who_stayed_is(recipe: Recipe, tmp_path: Path, stops: list[int], kind: type[Any]) -> None:
    """Weights, moments, losses: bit for bit the training that never was left, however often it was."""
    whole = go(Training(recipe, tmp_path / "whole", CPU))
    told: list[Event] = []
    for stop in stops:
        told += go(Training(recipe, tmp_path / "parts", CPU), stop, kind)
    told += go(
        Training.resumed(tmp_path / "parts", CPU)
        if (tmp_path / "parts").exists()
        else Training(recipe, tmp_path / "parts", CPU)
    )
    assert state(tmp_path / "parts") == state(tmp_path / "whole")
    assert [[step for step, _ in folders.steps(tmp_path / each)] for each in ("parts", "whole")] == [[0, 5, 10, 12]] * 2
    by_step = {event.step: event.loss for event in told if isinstance(event, Stepped)}
    assert by_step == {event.step: event.loss for event in whole if isinstance(event, Stepped)}
    measured = {event.step: event for event in told if isinstance(event, Evaluated)}
    assert measured == {event.step: event for event in whole if isinstance(event, Evaluated)}


def test_in_the_same_process_it_goes_on_too(recipe: Recipe, tmp_path: Path) -> None:
    """Without reading anything again: the trainer is still there."""
    go(Training(recipe, tmp_path / "whole", CPU))
    made = Training(recipe, tmp_path / "parts", CPU)
    go(made, 4)
    before = made.trainer
    go(made)
    assert made.trainer is before
    assert state(tmp_path / "parts") == state(tmp_path / "whole")


def test_what_is_left_before_it_learned_is_begun_again(recipe: Recipe, tmp_path: Path) -> None:
    """Left at its first word, it leaves no file; left after its first measurement, it goes on from step 0."""
    (tmp_path / "empty").mkdir()
    go(Training(recipe, tmp_path / "empty", CPU), 0, Begun)
    assert [*(tmp_path / "empty").iterdir()] == []
    go(Training(recipe, tmp_path / "a", CPU), 0, CheckpointSaved)
    begun, *_, end = go(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (0, Ended(12))


def test_a_training_that_is_done_ends_at_once(recipe: Recipe, tmp_path: Path) -> None:
    go(Training(recipe, tmp_path / "a", CPU))
    before = state(tmp_path / "a")
    begun, end = go(Training.resumed(tmp_path / "a", CPU))
    assert isinstance(begun, Begun)
    assert (begun.step, end) == (12, Ended(12))
    assert state(tmp_path / "a") == before


def test_the_recipe_is_all_that_is_needed(recipe: Recipe, tmp_path: Path) -> None:
    """Two trainings by one recipe are one; another seed makes other weights and another order."""
    for name in ("a", "b"):
        go(Training(recipe, tmp_path / name, CPU))
    assert state(tmp_path / "a") == state(tmp_path / "b")
    go(Training(replace(recipe, seed=1), tmp_path / "c", CPU))
    assert state(tmp_path / "c") != state(tmp_path / "a")


def refusal(made: Training) -> str:
    with pytest.raises(UserError) as mistake:
        go(made)
    assert len(str(mistake.value).splitlines()) == 1
    return str(mistake.value)


def test_what_cannot_be_gone_on_with_is_one_clear_line(recipe: Recipe, tmp_path: Path, story: Path) -> None:
    """Another recipe, a changed text, a rung that stopped learning, a folder without one, another kind of file."""
    text, folder = tmp_path / "own.txt", tmp_path / "a"
    text.write_bytes(story.read_bytes())
    recipe = replace(recipe, text=str(text))
    go(Training(recipe, folder, CPU), 7)
    assert "another recipe" in refusal(Training(replace(recipe, lr=0.1), folder, CPU))
    text.write_bytes(story.read_bytes() + b"More.")
    assert "not the text it was before" in refusal(Training.resumed(folder, CPU))
    text.unlink()
    assert "no text file" in refusal(Training.resumed(folder, CPU))
    text.write_bytes(story.read_bytes())
    (folder / LATEST).write_bytes((folder / STEP.format(5)).read_bytes())
    assert "stopped learning" in refusal(Training.resumed(folder, CPU))
    with pytest.raises(UserError, match="no training to go on with"):
        Training.resumed(tmp_path / "none", CPU)
    (folder / LATEST).write_bytes(b"{}" * 50)
    with pytest.raises(UserError, match="safetensors"):
        Training.resumed(folder, CPU)


def test_where_nothing_can_be_written_is_told(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be created" in refusal(Training(recipe, tmp_path / "file" / "a", CPU))


# Checkpoints ---------------------------------------------------------------------------------------------------------


def test_there_is_a_checkpoint_of_each_measurement(recipe: Recipe, tmp_path: Path) -> None:
    """And one to go on from; each says how it came to be so far."""
    seen = go(Training(recipe, tmp_path / "a", CPU, "tokenwalk train"))
    measured = only(iter(seen), Evaluated)
    found = folders.steps(tmp_path / "a")
    assert [step for step, _ in found] == [event.step for event in measured] == [0, 5, 10, 12]
    assert [(event.step, event.path) for event in only(iter(seen), CheckpointSaved)] == found
    for n, (step, path) in enumerate(found):
        kept = checkpoint.read_checkpoint(path)
        assert not kept.moments
        assert kept.card.losses == tuple((event.step, event.loss) for event in measured[: n + 1])
        assert (kept.card.step, kept.card.loss) == (step, measured[n].loss)
        assert (kept.card.corpus, kept.card.command, kept.card.floors) == ("story.txt", "tokenwalk train", None)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {LATEST, *(STEP.format(step) for step, _ in found)}


def test_many_checkpoints_are_thinned_out(recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first and the last stay, and those between lie far apart; those that were told last are still there."""
    monkeypatch.setattr(training, "MOST", 5)
    go(Training(replace(recipe, steps=20, every=1), tmp_path / "a", CPU))
    kept = [step for step, _ in folders.steps(tmp_path / "a")]
    assert (len(kept), kept[0], kept[-1]) == (5, 0, 20)
    gaps = [after - before for before, after in pairwise(kept)]
    assert max(gaps) <= 10
    monkeypatch.setattr(training, "ROOM", 1)
    go(Training(replace(recipe, steps=6, every=2), tmp_path / "b", CPU))
    assert [step for step, _ in folders.steps(tmp_path / "b")] == [0, 6]


# Two processes -------------------------------------------------------------------------------------------------------


def test_two_processes_are_one(recipe: Recipe, story: Path, tmp_path: Path) -> None:
    """Each takes half of every batch; losses within 1e-5 of one process's, and one of them writes and speaks."""
    words = [
        "-m", "tui", "train", "-m", "model5", "--text", str(story), "--tokenizer", "bytes", "-n", "12", "--batch", "4",
        "--every", "5", "--embed-dim", "16", "--context", "12", "--blocks", "2", "--warmup", "3", "--device", "cpu",
        "--json", "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launch = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1", "--master-port"]
    done = subprocess.run(
        [sys.executable, *launch, port, *words],
        capture_output=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr.decode()
    two = [json.loads(line) for line in done.stdout.splitlines()]
    one = go(Training(recipe, tmp_path / "one", CPU))
    names = {Begun: "begun", Stepped: "step", Evaluated: "measured", CheckpointSaved: "saved", Ended: "ended"}
    assert [event["event"] for event in two] == [names[type(event)] for event in one]
    for here, there in zip(one, two, strict=True):
        if isinstance(here, Stepped | Evaluated):
            assert there["loss"] == pytest.approx(here.loss, abs=1e-5)
        if isinstance(here, Stepped):
            assert there["grad_norm"] == pytest.approx(here.grad_norm, rel=1e-4)
    kept = [checkpoint.read_checkpoint(tmp_path / name / LATEST) for name in ("one", "two")]
    assert kept[0].card.recipe == kept[1].card.recipe
    for name, tensor in kept[0].tensors.items():
        if name.startswith(checkpoint.WEIGHTS) and not name.endswith("qkv.bias"):  # keys' biases change nothing
            assert torch.allclose(tensor, kept[1].tensors[name], atol=1e-3), name


def test_a_batch_that_cannot_be_shared_is_told(recipe: Recipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 3)
    with pytest.raises(UserError, match="a batch of 4 cannot be shared among 3"):
        trainer_of(recipe)
