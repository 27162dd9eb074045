"""The lenses in plain words: their questions, and their answers as the reports of `tokenwalk lens` print them."""

import inspect
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from core import lenses
from core.language import _
from core.walk.values import ContinuationTree, Forest, Summary
from tui import lenses as pages
from tui.drawing.text import one_line
from tui.plain import words
from tui.reports.lenses import HEIGHTS, SHADES, lens_lines
from tui.runner import Question

if TYPE_CHECKING:
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


def _summary_lines(answer: Summary) -> Iterator[str]:
    yield _("perplexity {perplexity:.2f}, {bits:.3f} bits per token, {measured:,} tokens").format(
        perplexity=answer.perplexity, bits=answer.bits_per_token, measured=answer.measured
    )
    yield _("the most surprising positions: {positions}").format(
        positions=one_line(", ".join(str(position + 1) for position in answer.worst))
    )
