"""`tokenwalk tokens`: what a tokenizer makes of a text."""

from typing import Annotated

import typer

from tui.commands.common import Json, exit_on_user_error, read_argument, say


def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    tokenizer: Annotated[str, typer.Option(help="cl100k or bytes.")] = "cl100k",
    special: Annotated[bool, typer.Option("--special", help="Read <|endoftext|> and the like as tokens.")] = False,
    as_json: Json = False,
) -> None:
    """Pieces, ids and bytes of a text."""
    with exit_on_user_error():
        from core.loading import tokenizers
        from tui.reports import general

        words = tokenizers.load_tokenizer(tokenizer)
        ids = words.encode(read_argument(text), special=special)
        for each in [general.line(general.tokens(words, ids))] if as_json else general.tokens_lines(words, ids):
            say(each)
