"""`tokenwalk train`: let a rung learn, without the app."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from core.engine import threads
from core.errors import UserError
from core.loading import ladder as rungs
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import SIZES, Recipe
from core.loading.choice import Hyperparameters
from tui.commands.common import Json, exit_on_user_error, say, stoppable


def train(
    model: Annotated[str | None, typer.Option("--model", "-m", help="The rung, model1 … model6.")] = None,
    text: Annotated[str | None, typer.Option(help="A UTF-8 text to learn; without one, the tiny world.")] = None,
    out: Annotated[
        str | None, typer.Option(help="What the trained rung is called, or a folder; by itself a free name.")
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Go on with the training of that name or folder.")] = None,
    ladder: Annotated[
        bool, typer.Option("--ladder", help="Make the trained ladder that comes with tokenwalk, into --out.")
    ] = False,
    tokenizer: Annotated[str | None, typer.Option(help="cut (of cl100k what the text uses), cl100k or bytes.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", "-n", help="Steps of the optimizer.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences in a step.")] = None,
    stride: Annotated[int | None, typer.Option(help="Tokens between neighbouring sequences of a text.")] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Steps in which the learning rate rises.")] = None,
    decay: Annotated[float | None, typer.Option(help="Weight decay.")] = None,
    clip: Annotated[float | None, typer.Option(help="The longest gradient.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps between measurements and checkpoints.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the first weights and of the order of the text.")] = None,
    probe: Annotated[str | None, typer.Option(help="The prompt that is looked at while it learns.")] = None,
    embed_dim: Annotated[int | None, typer.Option(help="d, the width of the residual stream.")] = None,
    context: Annotated[int | None, typer.Option(help="T, how many of the last tokens the model sees.")] = None,
    blocks: Annotated[int | None, typer.Option(help="N, stacked blocks (model3 on).")] = None,
    heads: Annotated[int | None, typer.Option(help="Attention heads in a block (model3 on).")] = None,
    activation: Annotated[str | None, typer.Option(help="gelu, relu or silu.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N or mps.")] = "auto",
    as_json: Json = False,
) -> None:
    """Train a rung on the tiny world or a text of yours; what it has learned is a model with a name."""
    given: dict[str, Any] = {
        "rung": model, "text": text, "vocabulary": tokenizer, "steps": steps, "batch": batch, "stride": stride,
        "lr": lr, "warmup": warmup, "decay": decay, "clip": clip, "every": every, "seed": seed, "probe": probe,
    }  # fmt: skip
    sizes: dict[str, Any] = {
        "embed_dim": embed_dim, "context": context, "blocks": blocks, "heads": heads, "activation": activation,
    }  # fmt: skip
    given, sizes = ({key: value for key, value in each.items() if value is not None} for each in (given, sizes))
    with exit_on_user_error():
        if activation not in (None, "gelu", "relu", "silu"):
            raise UserError(f"no activation {activation!r}; choose gelu, relu or silu")
        if ladder or resume:
            if given or sizes or (resume and (out or ladder)):
                words = "--resume goes on with the recipe it had" if resume else "--ladder has recipes of its own"
                raise UserError(f"{words}; leave the other options away")
            recipe = None
        else:
            recipe = Recipe(**given, changes=Hyperparameters(**asdict(SIZES) | sizes))
        _train(recipe, out, resume, device, as_json)


def _train(recipe: Recipe | None, out: str | None, resume: str | None, device: str, as_json: bool) -> None:
    threads.prepare(beside_screen=False)
    from core.engine.device import resolve
    from core.training import shipped
    from core.training.distributed import process_group
    from core.training.training import Training

    with process_group(resolve(device)) as (own, rank), stoppable() as stop:
        training = None
        if resume:
            training = Training.resumed(_folder(resume), own)
        elif recipe:
            training = Training(recipe, _new(out, recipe), own, _command(recipe))
        events = training.run() if training else shipped.train_ladder(Path(out or "trained"))
        with closing(events):
            step = _follow(events, stop, rank, as_json)
        if step is not None:
            if rank == 0:
                sys.stderr.write(f"stopped after step {step:,}{_goes_on(training.folder if training else None)}\n")
            raise typer.Exit(130)


def _goes_on(folder: Path | None) -> str:
    """How a training that was stopped is gone on with, where it left something."""
    from tui.drawing.text import one_line

    if not (folder and (folder / folders.LATEST).is_file()):
        return ""
    name = folder.name if folder.parent == folders.home() else str(folder)
    return one_line(f"; tokenwalk train --resume {shlex.quote(name)} goes on")


def _follow(events: Iterator[Any], stop: Any, rank: int, as_json: bool) -> int | None:
    """Say what happens; where it was stopped, after which step."""
    from core.progress import Progress
    from core.training.events import Begun, Ended, Evaluated, Stepped
    from tui.reports import general, training

    shows, last, step = sys.stderr.isatty() and rank == 0, None, 0
    for event in events:
        if isinstance(event, Begun):
            last, step = None, event.step
        if isinstance(event, Stepped):
            last, step = event, event.step
            if shows:
                left = training.clock(event.seconds_left)
                _show(f"step {event.step:,}, loss {event.loss:.3f}, {event.tokens_per_second:,.0f} tokens/s, {left}")
        if isinstance(event, Progress):
            _show(f"{event.done:,} of {event.total:,} bytes" if shows else None)
        elif rank == 0:
            _show("" if shows and isinstance(event, Begun | Evaluated) else None)
            for each in [general.line(training.plain(event))] if as_json else training.lines(event, last):
                say(each)
        if isinstance(event, Ended) and event.problem:
            raise event.problem
        if stop.is_set():
            return step
    return None


def _show(words: str | None) -> None:
    if words is not None:
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()


def _folder(name: str) -> Path:
    found = folders.find(name)
    return found.parent if found and name not in folders.SHIPPED else Path(name).expanduser()


def _new(out: str | None, recipe: Recipe) -> Path:
    """The folder of a new training. Raises `UserError` where there is something already, or for a name of ours."""
    if out is None:
        return folders.free(recipe)
    plain = os.sep not in out
    if plain and (not out or out.startswith(".") or out in (*folders.SHIPPED, *rungs.NAMES)):
        raise UserError(f"a trained rung cannot be called {out!r}; choose another --out")
    folder = folders.home() / out if plain else Path(out).expanduser()
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot hold a training: {error.strerror}") from error
    if taken:
        raise UserError(f"{folder} is there already; choose another --out, or go on with it by --resume {out}")
    return folder


def _command(recipe: Recipe) -> str:
    """What makes the same again."""
    plain, words = Recipe(), ["tokenwalk train"]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if field.name != "changes" and value != getattr(plain, field.name):
            option = {"rung": "model", "vocabulary": "tokenizer"}.get(field.name, field.name)
            words.append(f"--{option} {shlex.quote(str(value))}")
    changes = asdict(recipe.changes)
    words += [f"--{key.replace('_', '-')} {value}" for key, value in changes.items() if value != asdict(SIZES)[key]]
    return " ".join(words)
