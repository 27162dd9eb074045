"""`tokenwalk tokens`: what a tokenizer makes of a text."""

from typing import Annotated

import typer

from tui.commands.common import Json, mistakes, read, say


def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    tokenizer: Annotated[str, typer.Option(help="cl100k or bytes.")] = "cl100k",
    special: Annotated[bool, typer.Option("--special", help="Read <|endoftext|> and the like as tokens.")] = False,
    as_json: Json = False,
) -> None:
    """Pieces, ids and bytes of a text."""
    with mistakes():
        from core import tokenizer as tokenizers
        from tui import report

        words = tokenizers.load(tokenizer)
        ids = words.encode(read(text), special=special)
        for each in [report.line(report.tokens(words, ids))] if as_json else report.tokens_lines(words, ids):
            say(each)
