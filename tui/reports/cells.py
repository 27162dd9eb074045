"""What several reports write alike: cells of tables, bars, numbers, tokens and notes."""

from collections.abc import Iterable, Iterator, Sequence

from core.language import N_, _
from core.sampling.values import Candidate
from tui.drawing.parts import part_name
from tui.drawing.text import decimals_for, fit, label, one_line, percent, run_text, verbatim

EIGHTHS = " ▏▎▍▌▋▊▉█"
"""Blocks that fill 0 to 8 eighths of a cell from the left."""

COLUMNS = {
    "of": N_("of"),
    "part": N_("part"),
    "token": N_("token"),
    "text": N_("text"),
    "value": N_("value"),
    "position": N_("position"),
    "integrated": N_("integrated"),
    "input_x_gradient": N_("input × gradient"),
    "rank": N_("rank"),
    "sender": N_("sender"),
    "receiver": N_("receiver"),
    "score": N_("score"),
    "faithfulness": N_("faithfulness"),
    "after": N_("after"),
    "stream after": N_("stream after"),
    "put after": N_("put after"),
    "probability": N_("probability"),
    "target probability": N_("target probability"),
    "target rank": N_("target rank"),
    "KL bits": N_("KL bits"),
}
"""Columns of the tables of experiments; in JSON and CSV they stay English."""
READINGS = ("logit", "jacobian", "affine")
"""Lenses whose columns stand side by side in one table."""
UNSIGNED = ("KL bits", "probability", "faithfulness")
"""Ends of names of columns whose numbers are no differences."""


def column_name(column: str) -> str:
    """A column of a table as a person reads it."""
    first, _space, rest = column.partition(" ")
    if first in READINGS:
        return _("{reading} {column}").format(reading=first, column=column_name(rest))
    return _(COLUMNS.get(column, column))


def cell(column: str, value: object) -> str:
    """A value of a table; text in a column of tokens shows its spaces, and parts of the model have their names."""
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(UNSIGNED) else f"{value:+.4f}"
    if isinstance(value, str):
        if column.endswith("token"):
            return label(value.encode("utf-8", "surrogateescape"))
        return run_text([value.encode("utf-8", "surrogateescape")]) if column == "text" else verbatim(part_name(value))
    return "" if value is None else str(value)


def bar(share: float, width: int) -> str:
    """A bar of `share` times `width` cells; `share` is cut to 0..1."""
    eighths = round(min(1.0, max(0.0, share)) * 8 * width)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def numbers(values: Sequence[float], count: int = 4) -> str:
    """The first `count` values, 8 cells each."""
    return " ".join(f"{value:>8.3f}" for value in values[:count])


def token_cell(candidate: Candidate, width: int, decimals: int) -> str:
    """A token in `width` cells and its probability in 11."""
    return f"{fit(label(candidate.piece), width)} {percent(candidate.probability, decimals):>10}"


def shared_decimals(candidates: Iterable[Candidate]) -> int:
    """The decimals of a percentage that the least probable candidate needs; a column shares them."""
    return decimals_for(min((each.probability for each in candidates), default=1.0))


def sentences_of(*notes: str) -> Iterator[str]:
    """The notes that are not empty, as sentences after an empty line."""
    sentences = [note[0].upper() + note[1:] + ("" if note.endswith(".") else ".") for note in notes if note]
    if sentences:
        yield ""
        yield from map(one_line, sentences)
