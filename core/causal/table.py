"""The answer of a lens as a table: named columns, and rows of numbers and text."""

from dataclasses import dataclass

from core.spreadsheet import csv_line

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Rows with the same columns, whose names say the unit where there is one. `str()` gives lines of CSV."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]

    def __str__(self) -> str:
        return "".join(map(csv_line, (self.columns, *self.rows))).removesuffix("\n")
