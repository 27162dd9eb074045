"""What several reports write alike: cells of tables, bars, numbers, tokens and notes."""

from collections.abc import Iterable, Iterator, Sequence

from core.sampling.values import Candidate
from tui.drawing.text import decimals_for, fit, label, one_line, percent, verbatim

EIGHTHS = " ▏▎▍▌▋▊▉█"
"""Blocks that fill 0 to 8 eighths of a cell from the left."""

UNSIGNED = ("KL bits", "probability", "faithfulness")
"""Ends of names of columns whose numbers are no differences."""


def cell(column: str, value: object) -> str:
    """A value of a table; text in a column of tokens shows its spaces."""
    if isinstance(value, float):
        return f"{value:.4f}" if column.endswith(UNSIGNED) else f"{value:+.4f}"
    if isinstance(value, str):
        return label(value.encode("utf-8", "surrogateescape")) if column.endswith("token") else verbatim(value)
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
