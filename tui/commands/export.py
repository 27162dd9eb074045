"""`tokenwalk export`: the tokens of a saved walk in the formats of other programs."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from tui.commands.common import exit_on_user_error, note
from tui.commands.replay import SavedFile


class ExportFormat(StrEnum):
    """The file format to write."""

    JSONL = "jsonl"
    CSV = "csv"
    MARKDOWN = "markdown"


def export(
    file: SavedFile,
    format: Annotated[ExportFormat, typer.Option("--format", help="JSON Lines, comma-separated values, or Markdown.")],
) -> None:
    """Write the tokens of a saved walk to standard output in another format."""
    with exit_on_user_error():
        from core.sessions import reader
        from core.sessions.export import FORMATS

        _, _, lines = FORMATS[format]
        for line in lines(reader.read_record(file, note)):
            sys.stdout.write(line)
        sys.stdout.flush()
