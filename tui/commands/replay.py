"""`tokenwalk replay`: whether a saved walk gives the same tokens and numbers again."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.engine import threads
from core.engine.info import PACKED
from core.errors import Option, UserError
from core.language import _
from tui.commands.common import Json, exit_on_user_error, note, say
from tui.options import lora_option

if TYPE_CHECKING:
    from core.sessions.replay import Overrides

SavedFile = Annotated[Path, typer.Argument(help="A session that the app or generate --save has written.")]


def replay(
    file: SavedFile,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Run this model instead; it needs the same tokenizer.")
    ] = None,
    lora: Annotated[
        str | None,
        typer.Option(metavar="PATH[=SCALE]", help="Run with this LoRA adapter, or with the walk's own at this scale."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Run on this device instead.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Run in this number format instead.")] = None,
    weights_seed: Annotated[int | None, typer.Option(help="Use this seed of random weights instead.")] = None,
    tolerance: Annotated[
        float, typer.Option(help="How far two log-probabilities (natural logarithm) may differ.")
    ] = 1e-4,
    as_json: Json = False,
) -> None:
    """Run a saved walk again and list the positions that differ. Exit code: 0 none differs, 1 some differ."""
    with exit_on_user_error():
        from core.sessions import reader

        if not (math.isfinite(tolerance) and tolerance >= 0):
            raise UserError(
                _("{tolerance} must be 0 or more, not {value:g}"), tolerance=Option("tolerance"), value=tolerance
            )
        walk = reader.read_record(file, note)
        threads.prepare(beside_screen=False, packed=(dtype or walk.model.dtype) in PACKED)
        from core.sessions.replay import Overrides

        adapter = None if lora is None else lora_option(lora)
        same = _run(walk, Overrides(model, device, dtype, weights_seed, adapter), tolerance, as_json)
    if not same:
        raise typer.Exit(1)


def _run(walk: Any, overrides: "Overrides", tolerance: float, as_json: bool) -> bool:
    """Replay with every model of the walk, print what differs, and return whether nothing does."""
    from core.sessions.replay import runs
    from tui.reports import replay as report
    from tui.reports.json_values import json_line

    positions, differences, largest = 0, 0, 0.0
    for model, replayed in runs(walk, overrides):
        threads.apply(model.info.parameters, beside_screen=False)
        tokens = len(walk.path())
        if as_json:
            say(json_line(report.replay_json(model.info, walk.model, tokens, tolerance)))
        else:
            for line in report.replay_lines(model.info, walk.model, tokens):
                say(line)
        for found in replayed:
            positions += 1
            largest = max(largest, found.difference or 0.0)
            if found.differs(tolerance):
                differences += 1
                say(json_line(report.difference_json(found)) if as_json else report.difference_line(found))
    if as_json:
        say(json_line(report.end_json(positions, differences, largest)))
    else:
        say(report.end_line(positions, differences, largest))
    return not differences
