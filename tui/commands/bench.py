"""`tokenwalk bench`: how fast a model runs here."""

from typing import Annotated

import typer

from tui.commands.common import Json, exit_on_user_error, load_model, say
from tui.options import ModelOptions, shared

TEXT = "I prefer oat milk in my coffee because it is sweet, and on Sundays I drink it with a friend. "


@shared
def bench(
    model: ModelOptions,
    prompt: Annotated[int, typer.Option("--prompt", help="Tokens of the prompt.", min=1, max=100_000)] = 64,
    count: Annotated[int, typer.Option("-n", help="Tokens to generate.", min=1)] = 32,
    runs: Annotated[int, typer.Option(help="Runs, of which the best counts.", min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Tokens a second, time to the first token, share of the memory's speed, memory."""
    with exit_on_user_error():
        loaded, ids = load_model(model, TEXT)
        from core.evaluation.bench import measure
        from tui.reports import general

        ids = (ids * (1 + prompt // len(ids)))[:prompt]
        measured = measure(loaded, ids, count, runs)
        for each in [general.line(general.bench(measured))] if as_json else general.bench_lines(measured):
            say(each)
