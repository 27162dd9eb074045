"""`tokenwalk train`: train a rung of the ladder without the app."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from core.bounded import expanded
from core.engine import threads
from core.engine.activation import choose
from core.errors import Option, UserError
from core.language import _
from core.loading import ladder as rungs
from core.loading.checkpoints import folders
from core.loading.checkpoints.recipe import SIZES, Recipe
from core.loading.choice import Hyperparameters
from tui.commands.common import Json, exit_on_user_error, say, stoppable
from tui.options import ActivationName, Blocks, Context, Device, EmbedDim, Heads


def train(
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Which rung to train, model1 … model6. Default: model5.")
    ] = None,
    text: Annotated[
        str | None, typer.Option(help="A UTF-8 text file to train on. Default: the texts of the tiny world.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(help="The trained model's name for --model, or a folder. Default: a name that is not taken."),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="Continue the training with this name or in this folder.")] = None,
    ladder: Annotated[
        bool,
        typer.Option("--ladder", help="Train all six rungs as they come with tokenwalk, into the folder of --out."),
    ] = False,
    tokenizer: Annotated[
        str | None, typer.Option(help="cut (the tokens of cl100k that the text uses), cl100k or bytes.")
    ] = None,
    steps: Annotated[int | None, typer.Option("--steps", "-n", help="How many optimizer steps.")] = None,
    batch: Annotated[int | None, typer.Option(help="Sequences per step.")] = None,
    stride: Annotated[
        int | None, typer.Option(help="Tokens between the starts of neighbouring sequences of a text.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="The highest learning rate, reached after the warm-up.")] = None,
    warmup: Annotated[int | None, typer.Option(help="Warm-up: steps in which the learning rate rises from 0.")] = None,
    decay: Annotated[float | None, typer.Option(help="Weight decay of the matrices.")] = None,
    clip: Annotated[float | None, typer.Option(help="Gradient clipping: the largest norm of the gradient.")] = None,
    every: Annotated[int | None, typer.Option(help="Steps between two evaluations, each with a checkpoint.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of the initial weights and of the order of the sequences.")
    ] = None,
    probe: Annotated[
        str | None, typer.Option(help="A prompt; its next-token distribution is shown at each evaluation.")
    ] = None,
    embed_dim: EmbedDim = None,
    context: Context = None,
    blocks: Blocks = None,
    heads: Heads = None,
    activation: ActivationName = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a rung on the tiny world or on a text. The result is a model that --model takes by its name."""
    settings = _given(
        rung=model, text=text, vocabulary=tokenizer, steps=steps, batch=batch, stride=stride, lr=lr,
        warmup=warmup, decay=decay, clip=clip, every=every, seed=seed, probe=probe,
    )  # fmt: skip
    sizes = _given(embed_dim=embed_dim, context=context, blocks=blocks, heads=heads, activation=activation)
    with exit_on_user_error():
        choose(activation)
        if ladder or resume:
            if settings or sizes or (resume and (out or ladder)):
                if resume:
                    raise UserError(
                        _("{resume} continues with the settings it began with; leave out the other options"),
                        resume=Option("resume"),
                    )
                raise UserError(
                    _("{ladder} has its own settings; leave out the other options"), ladder=Option("ladder")
                )
            recipe = None
        else:
            recipe = Recipe(**settings, changes=Hyperparameters(**asdict(SIZES) | sizes))
        _train(recipe, out, resume, device, as_json)


def _given(**options: Any) -> dict[str, Any]:
    """The options that have a value."""
    return {name: value for name, value in options.items() if value is not None}


def _train(recipe: Recipe | None, out: str | None, resume: str | None, device: str, as_json: bool) -> None:
    threads.prepare(beside_screen=False)
    from core.causal.heads import head_moment
    from core.engine.device import resolve
    from core.training import shipped
    from core.training.distributed import process_group
    from core.training.training import Training

    with process_group(resolve(device)) as (own, rank), stoppable() as stop:
        training = None
        if resume:
            training = Training.resumed(_existing_folder(resume), own, head_moment)
        elif recipe:
            training = Training(recipe, _new_folder(out, recipe), own, _command(recipe), head_moment)
        events = training.run() if training else shipped.train_ladder(Path(out or "trained"))
        with closing(events):
            step = _follow(events, stop, rank, as_json)
        if step is not None:
            if rank == 0:
                how = _how_to_resume(training.folder if training else None)
                sys.stderr.write(_("stopped after step {step:,}").format(step=step) + f"{how}\n")
            raise typer.Exit(130)


def _how_to_resume(folder: Path | None) -> str:
    """The command that continues a stopped training; empty where it left no checkpoint."""
    from tui.drawing.text import one_line

    if not (folder and (folder / folders.LATEST).is_file()):
        return ""
    name = folder.name if folder.parent == folders.home() else str(folder)
    return one_line(_("; tokenwalk train --resume {quote} continues").format(quote=shlex.quote(name)))


def _follow(events: Iterator[Any], stop: Any, rank: int, as_json: bool) -> int | None:
    """Print the events. Returns the last step where `stop` was set, else None."""
    from core.progress import Progress
    from core.training.events import Begun, Ended, Evaluated, Stepped
    from tui.reports.json_values import json_line
    from tui.reports.training import clock, event_json, event_lines

    on_terminal, last, step = sys.stderr.isatty() and rank == 0, None, 0
    for event in events:
        if isinstance(event, Begun):
            last, step = None, event.step
        if isinstance(event, Stepped):
            last, step = event, event.step
            if on_terminal:
                rate, left = _("{rate:,.0f} tokens/s").format(rate=event.tokens_per_second), clock(event.seconds_left)
                _show_status(
                    _("step {step:,}, loss {loss:.3f} nats, {rate}, {left} left").format(
                        step=event.step, loss=event.loss, rate=rate, left=left
                    )
                )
        if isinstance(event, Progress):
            if on_terminal:
                _show_status(_("{done:,} of {total:,} bytes").format(done=event.done, total=event.total))
        elif rank == 0:
            if on_terminal and isinstance(event, Begun | Evaluated):
                _show_status("")
            for line in [json_line(event_json(event))] if as_json else event_lines(event, last):
                say(line)
        if isinstance(event, Ended) and event.problem:
            raise event.problem
        if stop.is_set():
            return step
    return None


def _show_status(line: str) -> None:
    """Replace the status line on the terminal."""
    sys.stderr.write(f"\r\x1b[K{line}")
    sys.stderr.flush()


def _existing_folder(name: str) -> Path:
    """The folder of a training by its name or path."""
    found = folders.find(name)
    return found.parent if found and name not in folders.SHIPPED else expanded(name)


def _new_folder(out: str | None, recipe: Recipe) -> Path:
    """The folder of a new training. Raises `UserError` where it is not empty, or the name is one of tokenwalk's own."""
    if out is None:
        return folders.unused(recipe)
    plain = os.sep not in out
    if plain and (not out or out.startswith(".") or out in (*folders.SHIPPED, *rungs.NAMES)):
        raise UserError(
            _("{out} cannot be {value!r}; give a name that tokenwalk does not use itself, or a folder"),
            out=Option("out"),
            value=out,
        )
    folder = folders.home() / out if plain else expanded(out)
    try:
        taken = folder.exists() and any(folder.iterdir())
    except OSError as error:
        raise UserError(
            _("{folder} cannot hold a training: {reason}; choose another {out}"),
            folder=folder,
            reason=error.strerror,
            out=Option("out"),
        ) from error
    if taken:
        raise UserError(
            _("{folder} exists already; choose another {out}, or continue it by {resume} {value}"),
            folder=folder,
            out=Option("out"),
            resume=Option("resume"),
            value=out,
        )
    return folder


def _command(recipe: Recipe) -> str:
    """The command that makes the same training again."""
    defaults, parts = Recipe(), ["tokenwalk train"]
    for field in fields(recipe):
        value = getattr(recipe, field.name)
        if field.name != "changes" and value != getattr(defaults, field.name):
            option = {"rung": "model", "vocabulary": "tokenizer"}.get(field.name, field.name)
            parts.append(f"--{option} {shlex.quote(str(value))}")
    changes = asdict(recipe.changes)
    parts += [f"--{key.replace('_', '-')} {value}" for key, value in changes.items() if value != asdict(SIZES)[key]]
    return " ".join(parts)
