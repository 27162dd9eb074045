"""A lens in words: its answer as the reports of the commands print it, without what is drawn there."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from core import lenses
from core.language import _
from core.walk.values import Summary
from tui import lenses as pages
from tui.drawing.parts import part_name
from tui.drawing.question import why
from tui.drawing.spoken import spoken
from tui.drawing.text import compact, label, one_line, percent, verbatim
from tui.lenses.base import Lens, LensPage
from tui.lenses.base.experiment import ExperimentPage
from tui.lenses.contrast import ContrastLens
from tui.lenses.draft import DraftLens
from tui.lenses.guess import GuessLens
from tui.lenses.sampler import SamplerLensPage
from tui.lenses.softmax import SoftmaxLens
from tui.plain import words
from tui.reports.cells import cell
from tui.reports.drafting import draft_lines
from tui.reports.guesses import guess_lines
from tui.reports.heat_maps import NAMES
from tui.reports.lenses import SHADES, histogram_facts, lens_lines, weights_check
from tui.reports.sampler import knob_words, sampler_lines
from tui.reports.softmax import formula_lines, shares_lines

if TYPE_CHECKING:
    from core.lenses.flow import Flow
    from core.lenses.paths import Paths
    from core.lenses.weights import Weights


def title(kind: type[Lens]) -> str:
    """A lens, and what it shows."""
    kinds = pages.found()
    place = kinds.index(kind) + 1
    return _("lens {number} of {count}, {title}: {description}").format(
        number=place, count=len(kinds), title=_(kind.TITLE), description=spoken(_(kind.DESCRIPTION))
    )


def keys_line(lens: Lens) -> str:
    """What the keys of a lens do; empty where they do nothing."""
    keys = lens.keys()
    parts = [
        f"{key} {spoken(_(does))}"
        for key, does in (
            (_("up or down"), keys.move),
            (_("enter"), keys.choose),
            ("o", keys.view),
            (_("shift+up or down"), keys.down),
            (_("shift+left or right"), keys.across),
        )
        if does
    ]
    parts += [
        f"{binding.key.split(',')[0]} {_(binding.description)}"
        for binding in type(lens).BINDINGS
        if isinstance(binding, Binding) and binding.tooltip and binding.show
    ]
    return _("keys of this lens: {keys}").format(keys=", ".join(parts)) if parts else ""


def answer_lines(lens: LensPage[Any], answer: Any) -> Iterator[str]:
    """What a lens shows."""
    name = lens.NAME
    match lens:
        case SamplerLensPage():
            yield from map(spoken, _sampler_lines(lens, answer))
        case SoftmaxLens():
            names = lens.names(answer)
            lines = shares_lines(answer, names) if lens.second_view else formula_lines(answer, names, lens.score)
            yield from map(spoken, lines)
        case GuessLens():
            yield from map(spoken, guess_lines(answer)) if answer else _hidden()
        case DraftLens():
            lines = draft_lines(answer, lens.cursor) if answer.rounds else iter([lens.waiting_text()])
            yield from map(spoken, lines)
        case ContrastLens():
            yield from map(spoken, _contrast_lines(lens, answer))
        case ExperimentPage() if name not in OWN:
            yield from map(spoken, _table_lines(name, answer))
        case _ if name in OWN:
            yield from map(spoken, OWN[name](answer))
        case _:
            yield from filter(None, map(spoken, _report(name, answer)))


def _hidden() -> Iterator[str]:
    yield _("The next token is hidden.")
    yield _("enter asks for your guess; then you hear the token that came, and what your guess cost in bits.")


def _sampler_lines(lens: SamplerLensPage, answer: Any) -> Iterator[str]:
    yield from sampler_lines(answer)
    if stage := lens.stage:
        knobs = ", ".join(knob_words(stage))
        yield _("stage {number}, {title}: {knobs}; {formula}").format(
            number=lens.cursor + 1, title=_(stage.TITLE), knobs=knobs, formula=_(stage.FORMULA)
        )


def _report(name: str, answer: Any) -> Iterator[str]:
    """The report; a picture in it is replaced by its numbers."""
    pattern = iter(words.pattern_lines(answer.pieces, answer.start, answer.pattern) if name == "attention" else ())
    for line in lens_lines(name.replace("_", "-"), answer):
        drawn = name == "attention" and line and "%" not in line and set(line.split()[-1]) <= set(SHADES)
        yield next(pattern) if drawn else line


def _weights_lines(answer: "Weights") -> Iterator[str]:
    """Each part with the names of its numbers, and the histogram as a count for each of its bins."""
    for each in answer.counts:
        yield _("{part}: {weights:,} weights, {biases:,} biases, {memory}, {share} of the parameters").format(
            part=part_name(each.part),
            weights=each.weights,
            biases=each.biases,
            memory=compact(each.size_bytes) + "B",
            share=percent(each.parameters / max(1, answer.total), 2),
        )
    total = _("total: {total:,} parameters, {memory}").format(
        total=answer.total, memory=compact(sum(each.size_bytes for each in answer.counts)) + "B"
    )
    yield f"{total}, {''.join(weights_check(answer))}"
    if histogram := answer.histogram:
        yield histogram_facts(histogram)
        counts = " ".join(map(str, histogram.counts))
        yield _("histogram from {low:.4f} to {high:.4f}, {bins} equal bins, numbers in each: {counts}").format(
            low=histogram.low, high=histogram.high, bins=len(histogram.counts), counts=counts
        )


def _watermark_lines(answer: Any) -> Iterator[str]:
    """Each token with the list it is in."""
    for line in lens_lines("watermark", answer):
        mark, _space, rest = line.partition(" ")
        kind = {"●": _("green"), "○": _("red")}.get(mark)
        yield f"{rest}, {kind}" if kind else line


def _contrast_lines(lens: ContrastLens, answer: Any) -> Iterator[str]:
    """The map that is chosen, in numbers: a line for each layer."""
    yield why(answer.asked)
    if not (rows := getattr(answer, lens.map)):
        yield _("this map is not measured yet")
        return
    columns = range(len(rows[0])) if lens.map == "heads" else [label(each) for each in answer.pieces]
    yield from words.map_lines(
        _("{title}, 0 corrupt, 1 clean").format(title=_(NAMES[lens.map])), rows, list(map(str, columns))
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
            verbatim(stage.text) or ", ".join(pairs) or _("values {values} …").format(values=" ".join(values[:4])),
        ]
        yield "  ".join(filter(None, parts))


def _table_lines(name: str, answer: Any) -> Iterator[str]:
    """The question of an experiment and its table; what a row does not have is said so."""
    found = lenses.table(name)(answer)
    report = lens_lines(name.replace("_", "-"), answer)
    yield from report[: len(report) - len(found.rows) - 1]
    yield _("columns: {columns}").format(columns=", ".join(found.columns))
    for row in found.rows:
        yield "  ".join(cell(column, value) or _("none") for column, value in zip(found.columns, row, strict=True))


def _summary_lines(answer: Summary) -> Iterator[str]:
    yield _("perplexity {perplexity:.2f}, {bits:.3f} bits per token, {measured:,} tokens").format(
        perplexity=answer.perplexity, bits=answer.bits_per_token, measured=answer.measured
    )
    yield _("the most surprising positions: {positions}").format(
        positions=one_line(", ".join(map(str, answer.worst[: words.READ])))
    )


OWN: dict[str, Callable[[Any], Iterator[str]]] = {
    "branches": words.forest_lines,
    "continuations": words.continuation_lines,
    "flow": _flow_lines,
    "paths": _paths_lines,
    "score": _summary_lines,
    "watermark": _watermark_lines,
    "weights": _weights_lines,
}
"""Lenses that have no report, or whose report is a table with empty cells, or with signs."""
