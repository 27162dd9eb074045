"""A lens in words: its answer as the reports of the commands print it, without what is drawn there."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from textual.binding import Binding

from core.language import _, ngettext
from core.walk.values import Summary
from tui import lenses as pages
from tui.drawing.parts import part_name
from tui.drawing.question import why
from tui.drawing.spoken import formula, spoken
from tui.drawing.text import compact, label, one_line, percent
from tui.lenses.base import Lens, LensPage
from tui.lenses.base.experiment import ExperimentPage
from tui.lenses.base.heat import EVERYTHING
from tui.lenses.circuit import CircuitLens
from tui.lenses.continuations import ContinuationsLens
from tui.lenses.contrast import ContrastLens
from tui.lenses.draft import DraftLens
from tui.lenses.heads import HeadsLens
from tui.lenses.ladder import LadderLens
from tui.lenses.logit import LogitLensPage
from tui.lenses.sampler import SamplerLensPage
from tui.lenses.score import ScoreLens
from tui.lenses.softmax import SoftmaxLens
from tui.plain import rows, words
from tui.plain.lab import lab_lines
from tui.reports.cells import sentences_of
from tui.reports.drafting import draft_lines
from tui.reports.guesses import guess_lines
from tui.reports.heat_maps import NAMES
from tui.reports.lenses import (
    attention_checks,
    device_facts,
    histogram_facts,
    lens_lines,
    question_lines,
    settled_lines,
    weights_check,
)
from tui.reports.sampler import knob_words, sampler_lines
from tui.reports.softmax import formula_lines, shares_lines

if TYPE_CHECKING:
    from core.lenses.attention import AttentionView
    from core.lenses.circuit import Circuit
    from core.lenses.context import ContextTable
    from core.lenses.device import Devices
    from core.lenses.heads import HeadsView
    from core.lenses.ladder import Ladder
    from core.lenses.last_token import LastToken
    from core.lenses.logit import LogitLens
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
    return filter(None, map(spoken, _lines(lens, answer)))


def _lines(lens: LensPage[Any], answer: Any) -> Iterator[str]:
    if own := OWN.get(lens.NAME):
        return own(lens, answer)
    if isinstance(lens, ExperimentPage):
        return _table_lines(lens, answer)
    return iter(lens_lines(lens.NAME.replace("_", "-"), answer))


def _hidden() -> Iterator[str]:
    yield _("The next token is hidden.")
    yield _("enter asks for your guess; then you hear the token that came, and what your guess cost in bits.")


def _softmax_lines(lens: SoftmaxLens, answer: Any) -> Iterator[str]:
    names = lens.names(answer)
    yield from shares_lines(answer, names) if lens.second_view else formula_lines(answer, names, lens.score)


def _draft_lines(lens: DraftLens, answer: Any) -> Iterator[str]:
    return draft_lines(answer, lens.cursor) if answer.rounds else iter([lens.waiting_text()])


def _continuation_lines(lens: ContinuationsLens, answer: Any) -> Iterator[str]:
    if not answer.continuations:
        yield lens.waiting_text()
    elif lens.merged:
        yield from (rows.strand_line(each, len(answer.continuations)) for each in answer.strands)
    else:
        yield from words.continuation_lines(answer)


def _sampler_lines(lens: SamplerLensPage, answer: Any) -> Iterator[str]:
    yield from sampler_lines(answer)
    if stage := lens.stage:
        knobs = ", ".join(knob_words(stage))
        yield _("stage {number}, {title}: {knobs}; {formula}").format(
            number=lens.cursor + 1, title=_(stage.TITLE), knobs=knobs, formula=formula(_(stage.FORMULA))
        )


def grid_lines(grid: Iterable[Sequence[float | None]], columns: Sequence[str], decimals: int = 2) -> Iterator[str]:
    """A table of numbers: a line for each layer, each number with the name of its column."""
    for layer, row in enumerate(grid):
        yield _("layer {layer}: {numbers}").format(layer=layer, numbers=rows.named(columns, row, decimals))


def numbered(count: int) -> list[str]:
    """The names of heads."""
    return [_("head {n}").format(n=n) for n in range(count)]


def _attention_lines(answer: "AttentionView") -> Iterator[str]:
    """The weights of the last position, of the others, and of each head its entropy."""
    yield _("layer {layer}, head {head}: attention weights of the last position").format(
        layer=answer.layer, head=answer.head
    )
    for position, (piece, weight) in enumerate(zip(answer.pieces, answer.row, strict=True)):
        yield f"{position}  {label(piece)}  {percent(weight, 2)}"
    yield _("attention pattern: each row is a position, each number the weight on an earlier position or its own")
    yield from rows.pattern_lines(answer)
    yield _("entropy of each head's attention weights at the last position, bits")
    yield from grid_lines([[head.entropy_bits for head in row] for row in answer.heads], numbered(len(answer.heads[0])))
    yield from attention_checks(answer)


def _logit_lines(lens: LogitLensPage, answer: "LogitLens") -> Iterator[str]:
    """Every layer at the last position; in the map, the likeliest token of each layer at every position."""
    if lens.view != "map":
        yield from map(rows.layer_line, answer.layers)
        yield from settled_lines(answer)
        return
    if (drawn := answer.map) is None:
        yield _("reading every position …")
        return
    yield _("the likeliest token after each block at each position")
    columns = [label(piece) for piece in drawn.pieces]
    for name, row in zip(drawn.names, drawn.rows, strict=True):
        cells = (
            _("after {token} {likeliest}").format(token=token, likeliest=label(each.top[0].piece))
            for token, each in zip(columns, row, strict=False)
        )
        yield f"{part_name(name)}: {', '.join(cells) or _('none')}"


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
    if not (grid := getattr(answer, lens.map)):
        yield _("this map is not measured yet")
        return
    yield _("{title}, 0 corrupt, 1 clean").format(title=_(NAMES[lens.map]))
    columns = numbered(len(grid[0])) if lens.map == "heads" else [label(each) for each in answer.pieces]
    yield from grid_lines(grid, columns)


def _paths_lines(answer: "Paths") -> Iterator[str]:
    """What each sender does, in numbers: a line for each layer."""
    yield why(answer.asked)
    yield _("one sender directly to {label}; 0 corrupt, 1 clean").format(label=answer.label)
    columns = [*numbered(len(answer.heads[0]) if answer.heads else 0), *(["MLP"] if answer.mlp else [])]
    grid = [(*row, *answer.mlp[number : number + 1]) for number, row in enumerate(answer.heads)]
    yield from grid_lines(grid, columns)


def _heads_lines(lens: HeadsLens, answer: "HeadsView") -> Iterator[str]:
    """The score that is chosen, of every head."""
    yield f"{lens.title_detail()}: {lens.asked_words(answer, EVERYTHING)}"
    if (drawn := lens.heat_map()) is None:
        yield _("one layer has no earlier heads to read from") if len(answer.induction) == 1 else lens.waiting_text()
        return
    yield from grid_lines(drawn.values, numbered(len(drawn.columns)), decimals=3)


def _circuit_lines(lens: CircuitLens, answer: "Circuit") -> Iterator[str]:
    """What the edges that are kept carry, how much others would, and each edge."""
    yield why(answer.asked)
    yield from (line.plain for line in lens.facts(answer, EVERYTHING))
    shares = ", ".join(
        ngettext("{edges:,} edge {share}", "{edges:,} edges {share}", each.edges).format(
            edges=each.edges, share=percent(each.share, 1)
        )
        for each in answer.curve
    )
    yield _("carried of the difference: {shares}").format(shares=shares or _("none"))
    yield from islice(rows.table_lines(lens.NAME, answer), min(lens.count, words.READ))
    if more := lens.count - words.READ:
        yield ngettext("{count:,} more edge: down", "{count:,} more edges: down", more).format(count=more)


def _table_lines(lens: ExperimentPage[Any], answer: Any) -> Iterator[str]:
    """The question of an experiment and its table, each number with its name."""
    yield from question_lines(lens.NAME, answer)
    yield from rows.table_lines(lens.NAME, answer)


def _context_lines(answer: "ContextTable") -> Iterator[str]:
    yield from (rows.prefix_line(number, each) for number, each in enumerate(answer.rows, start=answer.start))
    yield from sentences_of(answer.note)


def _last_token_lines(answer: "LastToken") -> Iterator[str]:
    yield from (rows.change_line(answer.how, each) for each in answer.changes)
    if answer.together_bits is not None:
        yield _("all of them at once: KL {bits:.6f} bits").format(bits=answer.together_bits)
    yield from sentences_of(answer.why, answer.note)


def _ladder_lines(lens: LadderLens, answer: "Ladder") -> Iterator[str]:
    """Each rung with what it adds, or the divergences between them."""
    if lens.divergences:
        yield _("KL divergence of the next token between every two rungs, bits")
        yield from rows.divergence_lines(answer)
    else:
        for rung in answer.rungs:
            yield rows.rung_line(rung)
            if not rung.trained:
                yield one_line(_(rung.adds))
                yield "; ".join(f"{each.name} {each.before} → {each.after}" for each in rung.differences)
    yield from sentences_of(*answer.notes)


def _device_lines(answer: "Devices") -> Iterator[str]:
    """What each device takes, or why it cannot be used."""
    yield from device_facts(answer)
    for each in answer.times:
        parts = [
            one_line(each.problem or each.label),
            *(
                f"{name} {1000 * seconds:,.1f} ms"
                for name, seconds in (
                    (_("creation"), each.create_seconds),
                    (_("forward"), each.forward_seconds),
                    (_("training step"), each.train_seconds),
                )
                if seconds is not None
            ),
            "" if each.size_bytes is None else _("{size} of weights").format(size=compact(each.size_bytes) + "B"),
        ]
        yield f"{one_line(each.name)}: {', '.join(filter(None, parts))}"
    yield from sentences_of(answer.note)


def _score_lines(lens: ScoreLens, answer: Summary) -> Iterator[str]:
    yield _(
        "perplexity {perplexity:.2f}, {bits:.3f} bits per token, {bytes:.3f} bits per byte, {measured:,} tokens"
    ).format(
        perplexity=answer.perplexity,
        bits=answer.bits_per_token,
        bytes=answer.bits_per_byte,
        measured=answer.measured,
    )
    yield _("the most surprising tokens:")
    yield from islice(rows.worst_lines(lens, answer), words.READ)


OWN: dict[str, Callable[[Any, Any], Iterator[str]]] = {
    "attention": lambda _lens, answer: _attention_lines(answer),
    "branches": lambda _lens, answer: words.forest_lines(answer),
    "circuit": _circuit_lines,
    "context": lambda _lens, answer: _context_lines(answer),
    "continuations": _continuation_lines,
    "contrast": _contrast_lines,
    "device": lambda _lens, answer: _device_lines(answer),
    "draft": _draft_lines,
    "flow": lambda _lens, answer: map(rows.stage_line, answer.stages),
    "guess": lambda _lens, answer: guess_lines(answer) if answer else _hidden(),
    "heads": _heads_lines,
    "lab": lambda _lens, answer: lab_lines(answer),
    "ladder": _ladder_lines,
    "last_token": lambda _lens, answer: _last_token_lines(answer),
    "logit": _logit_lines,
    "paths": lambda _lens, answer: _paths_lines(answer),
    "sampler": _sampler_lines,
    "score": _score_lines,
    "softmax": _softmax_lines,
    "watermark": lambda _lens, answer: _watermark_lines(answer),
    "weights": lambda _lens, answer: _weights_lines(answer),
}
"""By name, what a lens says; others are experiments with a table."""
