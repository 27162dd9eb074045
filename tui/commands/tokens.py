"""`tokenwalk tokens`: how a tokenizer splits a text."""

from typing import Annotated

import typer

from tui.commands.common import Json, exit_on_user_error, read_argument, say
from tui.options import SPECIAL_HELP, TOKENIZER_HELP


def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    tokenizer: Annotated[str, typer.Option(help=TOKENIZER_HELP)] = "cl100k",
    special: Annotated[bool, typer.Option("--special", help=SPECIAL_HELP)] = False,
    as_json: Json = False,
) -> None:
    """Split a text into tokens and print their ids, texts and bytes."""
    with exit_on_user_error():
        from core.loading import tokenizers
        from tui.reports.json_values import json_line
        from tui.reports.tokens import tokens_json, tokens_lines

        loaded = tokenizers.load_tokenizer(tokenizer)
        ids = loaded.encode(read_argument(text), special=special)
        for line in [json_line(tokens_json(loaded, ids))] if as_json else tokens_lines(loaded, ids):
            say(line)
