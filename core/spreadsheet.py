"""Rows of values as CSV in which no text acts as a formula or as a command of a terminal."""

import csv
import io
from collections.abc import Iterable


def csv_line(row: Iterable[object]) -> str:
    """One line of CSV, with its line feed; no cell begins with what a spreadsheet takes for a formula."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(map(_cell, row))
    return line.getvalue()


def _cell(value: object) -> object:
    if not isinstance(value, str):
        return value
    text = visible(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text


def visible(text: str, keep: str = "") -> str:
    """Text with control and invisible characters as escapes, except those in `keep`."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)
