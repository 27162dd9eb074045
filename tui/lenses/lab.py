"""Small experiments that show one idea each, one page for each experiment."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from core.language import N_, _
from core.lenses import lens
from tui.drawing.bars import columns, meter
from tui.drawing.plots import curve, overlay
from tui.drawing.text import fit, label, percent, within
from tui.lenses.base import AXIS, KeyWords, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.lab import ActivationSwitch, CausalAverage, EmbeddingLookup, Lab, NormEffect, TrainingBatch

TITLES = {
    "switch": N_("activations"),
    "lookup": N_("nn.Embedding and nn.Linear"),
    "norm": N_("before and after the norm"),
    "averaging": N_("averaging earlier positions"),
    "batch": N_("a training batch"),
}
PAGES = tuple(TITLES)
TOKEN, CELL, BINS = 12, 7, 32


class LabLens(LensPage["Lab"]):
    """`o` turns to the next experiment."""

    NAME = "lab"
    TITLE = N_("lab")
    DESCRIPTION = N_("Small experiments: GELU, embedding, norm, averaging, a batch")
    ORDER = 18
    PICKS = False
    GROUP = N_("Learning")
    ALSO = N_("gelu relu layer norm embedding lookup batch")
    KEYS = KeyWords(view=N_("page"))

    def __init__(self) -> None:
        super().__init__()
        self.page = PAGES[0]

    def new_question(self) -> Question:
        return Question(lambda session: lens("lab")(session.current_step()))

    def switch_view(self) -> None:
        self.page = PAGES[(PAGES.index(self.page) + 1) % len(PAGES)]
        self.draw()
        self.scroll_to(y=0, animate=False, immediate=True)

    # Painting --------------------------------------------------------------------------------------------------------

    def title_detail(self) -> str:
        return _("{title} · page {number} of {count}").format(
            title=_(TITLES[self.page]), number=PAGES.index(self.page) + 1, count=len(PAGES)
        )

    def draw(self) -> None:
        number = PAGES.index(self.page)
        following = _(TITLES[PAGES[(number + 1) % len(PAGES)]])
        self.hint(f"o {following}" if self.answer else "")
        super().draw()

    def lines(self, answer: "Lab", width: int, height: int) -> Iterator[Text]:
        painters: dict[str, Callable[..., Iterator[Text]]] = {
            "switch": self._switch,
            "lookup": self._lookup,
            "norm": self._norm,
            "averaging": self._averaging,
            "batch": self._batch,
        }
        experiment = getattr(answer, self.page)
        if experiment is None:
            yield self.text((_("measuring …"), "faint"))
        else:
            yield from painters[self.page](experiment, width, height)

    def _switch(self, data: "ActivationSwitch", width: int, height: int) -> Iterator[Text]:
        """Both activations as curves in one plot, then the distribution with each of them."""
        across, room = min(64, width - AXIS), max(5, min(14, height - 9))
        pair = {each.name: each.values for each in data.curves}
        low = min(0.0, *(min(values) for values in pair.values()))
        high = max(max(values) for values in pair.values())
        solid, dotted = (
            curve(pair[name], across, room, low, high, name == data.own) for name in (data.own, data.other)
        )
        yield self.text((" " * AXIS, "text"), (f"── {data.own}", "bar"), ("   ", "text"), (f"·· {data.other}", "hot"))
        for number, cells in enumerate(overlay(solid, dotted)):
            mark = f"{high:.1f}" if not number else f"{low:.1f}" if number == room - 1 else ""
            line = self.text((f"{mark:>{AXIS - 2}} ", "muted"), ("┤" if mark else "│", "faint"))
            for text, which in cells:
                line.append(text, self.style_of({0: "lens--bar", 1: "lens--hot"}[which]))
            yield line
        yield self.text((" " * AXIS + f"{data.xs[0]:g}" + f"{data.xs[-1]:g}".rjust(across - 2), "muted"))
        yield Text()
        yield self.text(
            (_("{other} in place of {own}, same weights: ").format(other=data.other, own=data.own), "muted"),
            (_("KL {bits:.6f} bits").format(bits=data.kl_bits), "text"),
            (f" · {data.note}" if data.note else "", "faint"),
        )
        for before, after in zip(data.before.candidates[:5], data.after.candidates[:5], strict=False):
            yield self.text(
                ("  " + fit(label(before.piece), TOKEN), "text"),
                (f"{percent(before.probability, 4):>9}", "bar"),
                ("   →   ", "faint"),
                (fit(label(after.piece), TOKEN), "text"),
                (f"{percent(after.probability, 4):>9}", "hot"),
            )

    def _lookup(self, data: "EmbeddingLookup", width: int, height: int) -> Iterator[Text]:
        yield from self.paragraph(
            _(
                "Looking up rows of the table, and multiplying one-hot vectors by the table, give the same {count} × "
                "{columns} numbers. They differ by at most {difference:g}."
            ).format(count=len(data.pieces), columns=data.columns, difference=data.difference),
            "text",
            width,
        )
        yield Text()
        bar = max(6, min(40, width - 40))
        slowest = max(data.lookup_seconds, data.product_seconds) or 1.0
        for name, seconds in (("nn.Embedding", data.lookup_seconds), ("nn.Linear, one-hot", data.product_seconds)):
            yield self.text(
                (f"{name:<20}", "muted"),
                (meter(seconds / slowest, bar), "bar"),
                (f"{1000 * seconds:>10.4f} ms", "text"),
            )
        yield self.text(
            (
                _("the product takes {ratio:,.0f} times as long").format(
                    ratio=data.product_seconds / (data.lookup_seconds or 1e-09)
                ),
                "muted",
            )
        )
        yield Text()
        same = _("in the same rows with both") if data.lookup_rows == data.product_rows else _("in different rows")
        yield from self.paragraph(
            _("The gradient is nonzero in {count} of {rows:,} rows, {same}: those of the tokens in the input.").format(
                count=len(data.lookup_rows), rows=data.rows, same=same
            ),
            "text",
            width,
        )
        yield self.text((", ".join(f"{row:,}" for row in data.lookup_rows), "hot"))
        yield self.text((" ".join(label(piece) for piece in data.pieces), "muted"))

    def _norm(self, data: "NormEffect", width: int, height: int) -> Iterator[Text]:
        """Both histograms over the same axis."""
        if not data.own:
            yield from self.paragraph(
                _("This model has no norm; a layer norm without parameters is shown."), "muted", width
            )
            yield Text()
        low, high = min(*data.before, *data.after), max(*data.before, *data.after)
        across, room = min(80, width), max(3, min(9, (height - 8) // 2))
        for name, values, mean, std, style in (
            (_("the last hidden state"), data.before, data.mean_before, data.std_before, "ghost"),
            (_("after {norm}").format(norm=data.name), data.after, data.mean_after, data.std_after, "bar"),
        ):
            yield self.text(
                (name, "text"), (_("   mean {mean:+.4f} · std {std:.4f}").format(mean=mean, std=std), "muted")
            )
            counts = _histogram(values, low, high, BINS)
            shares = [counts[x * BINS // across] / (max(counts) or 1) for x in range(across)]
            for line in columns(shares, room):
                yield self.text((line, style))
            yield self.text(("─" * across, "faint"))
        yield self.text((f"{low:+.3f}" + f"{high:+.3f}".rjust(across - len(f"{low:+.3f}")), "muted"))

    def _averaging(self, data: "CausalAverage", width: int, height: int) -> Iterator[Text]:
        yield from self.paragraph(
            _(
                "Each row is the mean of all positions up to its own: a lower triangle of ones divided by its row "
                "sums. The softmax of 0 at visible positions and -∞ at masked ones gives the same weights."
            ),
            "text",
            width,
        )
        yield Text()
        heads = [within(label(piece), CELL - 1) for piece in data.pieces]
        yield self.text((" " * (TOKEN + 1), "head"), ("".join(fit("", CELL - cell_len(p)) + p for p in heads), "head"))
        for piece, row, mask in zip(data.pieces, data.weights, data.seen, strict=True):
            line = self.text((fit(label(piece), TOKEN) + " ", "muted"))
            for weight, visible in zip(row, mask, strict=True):
                if visible:
                    line.append(f"{weight:>{CELL}.2f}", self.tint(weight))
                else:
                    line.append(f"{'·':>{CELL}}", self.style_of("lens--faint"))
            yield line
        yield Text()
        shown = max(1, min(4, (width - TOKEN - 6) // 16))
        yield self.text((f"{'':<{TOKEN}} {_('embedding'):<{8 * shown}}   {_('mean so far'):<{8 * shown}}", "head"))
        for piece, before, after in zip(data.pieces, data.before, data.after, strict=True):
            yield self.text(
                (fit(label(piece), TOKEN) + " ", "muted"),
                ("".join(f"{value:>8.3f}" for value in before[:shown]), "text"),
                (" → ", "faint"),
                ("".join(f"{value:>8.3f}" for value in after[:shown]), "bar"),
            )
        yield self.text(
            (
                _("differs from averaging in a loop by at most {difference:.1e}").format(difference=data.difference),
                "faint",
            )
        )

    def _batch(self, data: "TrainingBatch", width: int, height: int) -> Iterator[Text]:
        rows, length = len(data.inputs), len(data.inputs[0])
        words = _(" inputs x, targets y: the same tokens shifted by one · stride {stride}").format(stride=data.stride)
        yield from self.paragraph(f"[{rows}, {length}]{words}", "muted", width)
        yield self.text(
            (_("loss {loss:.4f} nats").format(loss=data.loss), "text"),
            (_(" · a uniform guess has ln V = {ln_v:.4f}").format(ln_v=data.ln_v), "muted"),
        )
        cell = max(4, min(12, (width - 3) // length))
        for number in range(rows):
            if not number or height >= 3 * rows + 2:
                yield Text()
            for mark, pieces, style in (("x", data.input_pieces, "text"), ("y", data.target_pieces, "bar")):
                body = "".join(fit(label(piece), cell - 1) + " " for piece in pieces[number])
                yield self.text((f"{mark} ", "faint"), (body, style))


def _histogram(values: Sequence[float], low: float, high: float, count: int) -> list[int]:
    """How many values fall into each of `count` equal bins."""
    counts = [0] * count
    for value in values:
        counts[min(count - 1, int(count * (value - low) / ((high - low) or 1.0)))] += 1
    return counts
