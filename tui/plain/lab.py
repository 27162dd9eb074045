"""The lab lens in words: its five experiments, in which each number has its name."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.language import _
from tui.drawing.text import label
from tui.plain.words import share
from tui.reports.cells import numbers
from tui.reports.lab import lookup_lines, norm_title

if TYPE_CHECKING:
    from core.lenses.lab import ActivationSwitch, CausalAverage, Lab, NormEffect, TrainingBatch

EVERY = 10
"""Points of a curve of which one is read."""


def lab_lines(answer: "Lab") -> Iterator[str]:
    """The parts that are known so far."""
    if answer.averaging:
        yield from _averaging(answer.averaging)
    if answer.norm:
        yield from _norm(answer.norm)
    if answer.batch:
        yield from _batch(answer.batch)
    if answer.lookup:
        yield from lookup_lines(answer.lookup)
    if answer.switch:
        yield from _switch(answer.switch)


def _averaging(averaging: "CausalAverage") -> Iterator[str]:
    yield _("Averaging the past: a lower triangular matrix, each row divided by its sum, times the embeddings")
    names = [label(piece) for piece in averaging.pieces]
    for name, weights, seen, before, after in zip(
        names, averaging.weights, averaging.seen, averaging.before, averaging.after, strict=True
    ):
        row = ", ".join(
            f"{each} {weight:.2f}" for each, weight, known in zip(names, weights, seen, strict=True) if known
        )
        yield _("{token}: weights {weights}; embedding {before}, averaged {after}").format(
            token=name, weights=row, before=_first(before), after=_first(after)
        )


def _first(values: tuple[float, ...]) -> str:
    """The first numbers of a vector."""
    return " ".join(numbers(values).split())


def _norm(norm: "NormEffect") -> Iterator[str]:
    yield norm_title(norm)
    for name, mean, std, values in (
        (_("before"), norm.mean_before, norm.std_before, norm.before),
        (_("after"), norm.mean_after, norm.std_after, norm.after),
    ):
        yield _("{name}: mean {mean:.4f}, standard deviation {std:.4f}, first values {values}").format(
            name=name, mean=mean, std=std, values=_first(values)
        )


def _batch(batch: "TrainingBatch") -> Iterator[str]:
    yield _("A training batch of {rows} rows of {tokens} tokens, stride {stride}").format(
        rows=len(batch.inputs), tokens=len(batch.inputs[0]), stride=batch.stride
    )
    for inputs, targets in zip(batch.input_pieces, batch.target_pieces, strict=True):
        yield _("inputs {inputs}; targets {targets}").format(
            inputs=" ".join(map(label, inputs)), targets=" ".join(map(label, targets))
        )
    yield _("loss {loss:.4f} nats per token; a uniform guess has ln V = {ln_v:.4f}").format(
        loss=batch.loss, ln_v=batch.ln_v
    )


def _switch(switch: "ActivationSwitch") -> Iterator[str]:
    yield _("activation {own} replaced by {other}: KL {kl_bits:.4f} bits").format(
        own=switch.own, other=switch.other, kl_bits=switch.kl_bits
    )
    for name, chart in ((switch.own, switch.before), (switch.other, switch.after)):
        likeliest = ", ".join(f"{label(each.piece)} {share(each.probability)}" for each in chart.candidates)
        yield _("likeliest with {name}: {tokens}").format(name=name, tokens=likeliest)
    for curve in switch.curves:
        points = zip(switch.xs[::EVERY], curve.values[::EVERY], strict=True)
        values = ", ".join(_("{y:.3f} at {x:g}").format(x=round(x, 1), y=y) for x, y in points)
        yield f"{curve.name}: {values}"
    if switch.note:
        yield switch.note
