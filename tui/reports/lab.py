"""The lab lens: averaging the past, a norm, a training batch, embedding as lookup, an activation switched."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from core.language import _
from tui.drawing.text import fit, label
from tui.reports.cells import numbers, sentences_of, shared_decimals, token_cell

if TYPE_CHECKING:
    from core.lenses.lab import ActivationSwitch, CausalAverage, EmbeddingLookup, Lab, NormEffect, TrainingBatch


def lab_lines(answer: "Lab") -> Iterator[str]:
    """The five parts of the lab."""
    assert answer.averaging and answer.norm and answer.batch and answer.lookup and answer.switch
    yield from _averaging(answer.averaging)
    yield ""
    yield from _norm(answer.norm)
    yield ""
    yield from _batch(answer.batch)
    yield ""
    yield from lookup_lines(answer.lookup)
    yield ""
    yield from _switch(answer.switch)


def _averaging(averaging: "CausalAverage") -> Iterator[str]:
    yield _("Averaging the past: a lower triangular matrix, each row divided by its sum, times the embeddings")
    for n, piece in enumerate(averaging.pieces):
        row = " ".join(
            f"{weight:4.2f}" if seen else "   ·"
            for weight, seen in zip(averaging.weights[n], averaging.seen[n], strict=True)
        )
        before, after = numbers(averaging.before[n]), numbers(averaging.after[n])
        yield f"  {fit(label(piece), 14)} {row}  ×  {before}  =  {after}"


def norm_title(norm: "NormEffect") -> str:
    """Which norm it is."""
    return (_("Norm: {name}") if norm.own else _("Norm: {name}, which this model does not have")).format(name=norm.name)


def _norm(norm: "NormEffect") -> Iterator[str]:
    yield norm_title(norm)
    yield _("  before  mean {mean_before:>9.4f}  std {std_before:>9.4f}  {numbers}").format(
        mean_before=norm.mean_before, std_before=norm.std_before, numbers=numbers(norm.before)
    )
    yield _("  after   mean {mean_after:>9.4f}  std {std_after:>9.4f}  {numbers}").format(
        mean_after=norm.mean_after, std_after=norm.std_after, numbers=numbers(norm.after)
    )


def _batch(batch: "TrainingBatch") -> Iterator[str]:
    yield _("A training batch [{rows}, {tokens}], stride {stride}: inputs │ targets").format(
        rows=len(batch.inputs), tokens=len(batch.inputs[0]), stride=batch.stride
    )
    for inputs, targets in zip(batch.input_pieces, batch.target_pieces, strict=True):
        yield f"  {fit(' '.join(map(label, inputs)), 48)} │ {fit(' '.join(map(label, targets)), 48)}"
    yield _("  loss {loss:.4f} nats per token; a uniform guess has ln V = {ln_v:.4f}").format(
        loss=batch.loss, ln_v=batch.ln_v
    )


def lookup_lines(lookup: "EmbeddingLookup") -> Iterator[str]:
    """An embedding as a lookup and as a product."""
    yield _("nn.Embedding and nn.Linear on one-hot vectors, {rows:,} × {columns}").format(
        rows=lookup.rows, columns=lookup.columns
    )
    yield _("  largest difference {difference:.1e}").format(difference=lookup.difference)
    yield _("  lookup {lookup:,.0f} µs, matrix product {product:,.0f} µs").format(
        lookup=1e6 * lookup.lookup_seconds, product=1e6 * lookup.product_seconds
    )
    same = _("the same for both") if lookup.lookup_rows == lookup.product_rows else _("not the same for both")
    yield _("  rows with a gradient, {same}: {numbers} of {rows:,}").format(
        same=same, numbers=", ".join(map(str, lookup.lookup_rows)), rows=lookup.rows
    )


def _switch(switch: "ActivationSwitch") -> Iterator[str]:
    yield _("activation {own} replaced by {other}: KL {kl_bits:.4f} bits").format(
        own=switch.own, other=switch.other, kl_bits=switch.kl_bits
    )
    decimals = shared_decimals((switch.before.candidates[0], switch.after.candidates[0]))
    for own, other in zip(switch.before.candidates, switch.after.candidates, strict=True):
        yield f"  {token_cell(own, 20, decimals)}  {token_cell(other, 20, decimals)}"
    yield "  " + " ".join(f"{switch.xs[n]:>7.1f}" for n in range(0, len(switch.xs), 10))
    for curve in switch.curves:
        yield "  " + " ".join(f"{curve.values[n]:>7.3f}" for n in range(0, len(switch.xs), 10)) + f"  {curve.name}"
    yield from sentences_of(switch.note)
