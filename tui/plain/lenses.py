"""The lenses in plain words: their questions, and their answers as the reports of `tokenwalk lens` print them."""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from core import lenses
from core.language import _
from core.walk.values import ContinuationTree, Forest, Summary
from tui import lenses as pages
from tui.drawing.parts import part_name
from tui.drawing.question import why
from tui.drawing.text import label, one_line
from tui.plain import words
from tui.reports.cells import cell
from tui.reports.heat_maps import NAMES
from tui.reports.lenses import HEIGHTS, SHADES, lens_lines
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.contrast import Contrast
    from core.lenses.flow import Flow
    from core.lenses.paths import Paths
    from core.walk.session import Session

AROUND = 32
"""Branches before and after the present one."""
OTHERS: dict[str, Callable[["Session"], object]] = {
    "branches": lambda session: session.searches.forest(AROUND),
    "continuations": lambda session: session.continuations.tree(),
    "score": lambda session: session.summary(10),
}
"""Lenses that read the session alone."""


def names() -> tuple[str, ...]:
    """Those lenses of the app that have text, in its order."""
    return tuple(page.NAME for page in pages.found() if page.NAME in OTHERS or page.NAME in lenses.NAMES)


def title(name: str) -> str:
    """A lens and what it shows."""
    page = pages.named(name)
    return f"{_(page.TITLE)}: {_(page.DESCRIPTION)}"


def question(name: str) -> Question:
    """What a lens asks at the present position."""
    if name in OTHERS:
        return Question(OTHERS[name])

    def ask(session: "Session") -> object:
        function = lenses.lens(name)
        asked = {"question": session.current_question()} if _is_experiment(function) else {}
        return function(session.current_step(), **asked)

    return Question(ask)


def _is_experiment(function: Callable[..., object]) -> bool:
    return "question" in inspect.signature(function).parameters


def answer_lines(name: str, answer: Any) -> Iterator[str]:
    """The answer of a lens."""
    match answer:
        case Forest():
            yield from words.forest_lines(answer)
        case ContinuationTree():
            yield from words.continuation_lines(answer)
        case Summary():
            yield from _summary_lines(answer)
        case _ if name in OWN:
            yield from map(words.plain, OWN[name](answer))
        case _ if _is_experiment(lenses.lens(name)):
            yield from map(words.plain, _table_lines(name, answer))
        case _:
            yield from filter(None, map(words.plain, _report(name, answer)))


def _report(name: str, answer: Any) -> Iterator[str]:
    """The report; a picture in it is replaced by its numbers."""
    pattern = iter(words.pattern_lines(answer.pieces, answer.start, answer.pattern) if name == "attention" else ())
    for line in lens_lines(name.replace("_", "-"), answer):
        drawn = name == "attention" and line and "%" not in line and set(line.split()[-1]) <= set(SHADES)
        if name != "weights" or not set(line) & set(HEIGHTS):
            yield next(pattern) if drawn else line
    if name == "weights" and answer.histogram:
        counts = " ".join(map(str, answer.histogram.counts))
        yield _("histogram from {low:.4f} to {high:.4f}: {counts}").format(
            low=answer.histogram.low, high=answer.histogram.high, counts=counts
        )


def _contrast_lines(answer: "Contrast") -> Iterator[str]:
    """The maps in numbers: a line for each layer."""
    yield why(answer.asked)
    for name, title_ in NAMES.items():
        if rows := getattr(answer, name):
            heads = name == "heads"
            columns = range(len(rows[0])) if heads else [label(each) for each in answer.pieces]
            yield from words.map_lines(
                _("{title}, 0 corrupt, 1 clean").format(title=_(title_)), rows, list(map(str, columns))
            )


def _paths_lines(answer: "Paths") -> Iterator[str]:
    """What each sender does, in numbers: a line for each layer."""
    yield why(answer.asked)
    heads = [*map(str, range(len(answer.heads[0]) if answer.heads else 0)), *(["mlp"] if answer.mlp else [])]
    rows = [(*row, *answer.mlp[number : number + 1]) for number, row in enumerate(answer.heads)]
    yield from words.map_lines(_("one sender directly to {label}").format(label=answer.label), rows, heads)


def _flow_lines(answer: "Flow") -> Iterator[str]:
    """A line for each stage, whose numbers have their names."""
    for stage in answer.stages:
        shape = " ".join(f"{axis} {size:,}" for axis, size in stage.axes)
        values = [f"{value}" if isinstance(value, int) else f"{value:.4g}" for value in stage.values]
        pairs = [f"{label(each)} {value}" for each, value in zip(stage.labels, values, strict=False)]
        parts = [
            part_name(stage.name),
            _("level {level}").format(level=stage.level) if stage.level else "",
            shape,
            "" if stage.norm is None else _("norm {norm:.3f}").format(norm=stage.norm),
            "" if stage.stream is None else _("residual stream {norm:.3f}").format(norm=stage.stream),
            stage.text or ", ".join(pairs) or _("values {values} …").format(values=" ".join(values[:4])),
        ]
        yield "  ".join(filter(None, parts))


def _table_lines(name: str, answer: Any) -> Iterator[str]:
    """The question of an experiment and its table; what a row does not have is a dash."""
    found = lenses.table(name)(answer)
    report = lens_lines(name.replace("_", "-"), answer)
    yield from report[: len(report) - len(found.rows) - 1]
    yield _("columns: {columns}").format(columns=", ".join(found.columns))
    for row in found.rows:
        yield "  ".join(cell(column, value) or "-" for column, value in zip(found.columns, row, strict=True))


OWN: dict[str, Callable[[Any], Iterator[str]]] = {
    "contrast": _contrast_lines,
    "flow": _flow_lines,
    "paths": _paths_lines,
}
"""Lenses whose reports are tables with empty cells, or with heads of several lines."""


def _summary_lines(answer: Summary) -> Iterator[str]:
    yield _("perplexity {perplexity:.2f}, {bits:.3f} bits per token, {measured:,} tokens").format(
        perplexity=answer.perplexity, bits=answer.bits_per_token, measured=answer.measured
    )
    yield _("the most surprising positions: {positions}").format(
        positions=one_line(", ".join(str(position + 1) for position in answer.worst))
    )
