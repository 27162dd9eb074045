"""`tokenwalk next`: the next-token distribution after a prompt."""

from typing import Annotated

import typer

from tui.commands.common import Json, Prompt, exit_on_user_error, load_model, read_argument, say
from tui.options import ModelOptions, shared


@shared
def next_token(
    prompt: Prompt,
    model: ModelOptions,
    count: Annotated[int, typer.Option("-k", help="How many of the likeliest tokens to list.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """Print the probabilities of the next token after a prompt."""
    with exit_on_user_error():
        loaded, ids = load_model(model, read_argument(prompt))
        from core.walk.session import Session
        from tui.reports.json_values import json_line
        from tui.reports.next_token import next_json, next_lines

        session = Session(loaded)
        for _ in session.prefill(ids):
            pass
        session.reader.deepen(session.cursor)
        chart, mass90 = session.chart(count), session.distribution().mass_count(0.9)
        if as_json:
            say(json_line(next_json(loaded.info, ids, chart, mass90)))
        else:
            for line in next_lines(chart, mass90):
                say(line)
