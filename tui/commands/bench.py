"""`tokenwalk bench`: how fast a model runs on this machine."""

from typing import Annotated

import typer

from tui.commands.common import Json, exit_on_user_error, load_model, say
from tui.options import ModelOptions, shared

TEXT = "I prefer oat milk in my coffee because it is sweet, and on Sundays I drink it with a friend. "
"""Repeated until the prompt has the number of tokens asked for."""


@shared
def bench(
    model: ModelOptions,
    prompt: Annotated[int, typer.Option("--prompt", help="Length of the prompt, in tokens.", min=1, max=100_000)] = 64,
    count: Annotated[int, typer.Option("-n", help="How many tokens to generate.", min=1)] = 32,
    runs: Annotated[int, typer.Option(help="How often to measure; the best run counts.", min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Measure tokens per second, time to the first token, memory bandwidth and memory of a model."""
    with exit_on_user_error():
        loaded, ids = load_model(model, TEXT)
        from core.evaluation.bench import measure
        from tui.reports.bench import bench_json, bench_lines
        from tui.reports.json_values import json_line

        ids = (ids * (1 + prompt // len(ids)))[:prompt]
        result = measure(loaded, ids, count, runs)
        for line in [json_line(bench_json(result))] if as_json else bench_lines(result):
            say(line)
