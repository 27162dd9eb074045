"""`tokenwalk world`: texts of the tiny world, and how far trained models are from its lowest possible loss."""

import sys
from itertools import islice
from typing import Annotated

import typer

from core.engine import threads
from core.errors import UserError
from core.language import _
from core.loading.checkpoints import folders
from tui.commands.common import Json, exit_on_user_error, finish, say


def world(
    what: Annotated[
        str, typer.Argument(help="sample: print texts. floors: print the lowest possible losses and those of models.")
    ],
    count: Annotated[int, typer.Option("-n", help="sample: how many texts to print.", min=1)] = 10,
    seed: Annotated[int, typer.Option(help="sample: seed of the texts.")] = 0,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model", "-m", help="floors: a model to measure; may be given again. Default: all trained rungs."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Print texts or losses of the tiny world: a small grammar whose true next-token distribution is known."""
    with exit_on_user_error():
        if what not in ("sample", "floors"):
            raise UserError(_("world cannot print {what!r}; choose sample or floors"), what=what)
        if what == "sample":
            _sample(count, seed, as_json)
        else:
            _floors(model or list(folders.SHIPPED), as_json)


def _sample(count: int, seed: int, as_json: bool) -> None:
    from core.loading import tokenizers
    from core.world import tiny
    from tui.reports.json_values import json_line

    tokenizer, texts = tokenizers.load_tokenizer(tiny.NAME), tiny.texts(seed)
    for ids in islice(texts, count):
        text = tokenizer.text(ids)
        if as_json:
            say(json_line({"text": text, "ids": ids, "originals": [tokenizer.originals[id] for id in ids]}))
        else:
            sys.stdout.write(text)


def _floors(names: list[str], as_json: bool) -> None:
    threads.prepare(beside_screen=False)
    from core.loading.choice import ModelChoice
    from core.loading.models import load_model
    from core.training.quality import check, quality
    from core.world import tiny
    from tui.reports.json_values import json_line
    from tui.reports.training import floor_lines, floors_json, quality_lines

    models = [load_model(ModelChoice(name=name)) for name in names]
    for model in models:
        check(model)
    floors = tiny.automaton().floors()
    if not as_json:
        for line in floor_lines(floors):
            say(line)
    threads.apply(threads.SMALL, beside_screen=False)
    rungs = [finish(quality(model), "tokens") for model in models]
    if as_json:
        say(json_line(floors_json(floors, rungs)))
    else:
        for line in quality_lines(rungs):
            say(line)
