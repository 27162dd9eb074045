"""`tokenwalk export`: the tokens of a saved walk in the formats of other programs."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from tui.commands.common import exit_on_user_error
from tui.commands.replay import SavedFile


class Format(StrEnum):
    """What it is written as."""

    JSONL = "jsonl"
    CSV = "csv"
    MARKDOWN = "markdown"


def export(
    file: SavedFile,
    format: Annotated[Format, typer.Option("--format", help="JSON Lines, comma-separated values, or Markdown.")],
) -> None:
    """Write the tokens of a saved walk on standard output."""
    with exit_on_user_error():
        from core.sessions import reader
        from core.sessions.export import FORMATS

        _, _, lines = FORMATS[format]
        for line in lines(reader.read_record(file)):
            sys.stdout.write(line)
        sys.stdout.flush()
