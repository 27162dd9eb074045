"""Small experiments that show one idea each, one page for each experiment."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.text import Text
from textual.content import Content

from core.language import N_
from core.lenses import lens
from tui.drawing.bars import columns, meter
from tui.drawing.plots import curve, overlay
from tui.drawing.text import fit, label, percent
from tui.lenses.base import AXIS, KeyWords, LensPage
from tui.runner import Question

if TYPE_CHECKING:
    from core.lenses.lab import ActivationSwitch, CausalAverage, EmbeddingLookup, Lab, NormEffect, TrainingBatch

TITLES = {
    "switch": "activations",
    "lookup": "nn.Embedding and nn.Linear",
    "norm": "before and after the norm",
    "averaging": "averaging earlier positions",
    "batch": "a training batch",
}
PAGES = tuple(TITLES)
TOKEN, CELL, BINS = 12, 7, 32


class LabLens(LensPage["Lab"]):
    """`o` turns to the next experiment."""

    NAME = "lab"
    TITLE = "lab"
    DESCRIPTION = "Small experiments: GELU and ReLU, lookup and product, norms, averaging, a training batch"
    ORDER = 18
    PICKS = False
    GROUP = "Learning"
    ALSO = "gelu relu layer norm embedding lookup batch"
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
        return f"{TITLES[self.page]} · page {PAGES.index(self.page) + 1} of {len(PAGES)}"

    def draw(self) -> None:
        number = PAGES.index(self.page)
        following = TITLES[PAGES[(number + 1) % len(PAGES)]]
        self.border_subtitle = Content(f"o {following}" if self.answer else "")
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
            yield self.text(("measuring …", "faint"))
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
            (f"{data.other} in place of {data.own}, same weights: ", "muted"),
            (f"KL {data.kl_bits:.6f} bits", "text"),
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
            f"Looking up rows of the table, and multiplying one-hot vectors by the table, give the same "
            f"{len(data.pieces)} × {data.columns} numbers. They differ by at most {data.difference:g}.",
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
            (f"the product takes {data.product_seconds / (data.lookup_seconds or 1e-9):,.0f} times as long", "muted")
        )
        yield Text()
        same = "in the same rows with both" if data.lookup_rows == data.product_rows else "in different rows"
        yield from self.paragraph(
            f"The gradient is nonzero in {len(data.lookup_rows)} of {data.rows:,} rows, {same}: "
            "those of the tokens in the input.",
            "text",
            width,
        )
        yield self.text((", ".join(f"{row:,}" for row in data.lookup_rows), "hot"))
        yield self.text((" ".join(label(piece) for piece in data.pieces), "muted"))

    def _norm(self, data: "NormEffect", width: int, height: int) -> Iterator[Text]:
        """Both histograms over the same axis."""
        if not data.own:
            yield from self.paragraph(
                "This model has no norm; a layer norm without parameters is shown.", "muted", width
            )
            yield Text()
        low, high = min(*data.before, *data.after), max(*data.before, *data.after)
        across, room = min(80, width), max(3, min(9, (height - 8) // 2))
        for name, values, mean, std, style in (
            ("the last hidden state", data.before, data.mean_before, data.std_before, "ghost"),
            (f"after {data.name}", data.after, data.mean_after, data.std_after, "bar"),
        ):
            yield self.text((name, "text"), (f"   mean {mean:+.4f} · std {std:.4f}", "muted"))
            counts = _histogram(values, low, high, BINS)
            shares = [counts[x * BINS // across] / (max(counts) or 1) for x in range(across)]
            for line in columns(shares, room):
                yield self.text((line, style))
            yield self.text(("─" * across, "faint"))
        yield self.text((f"{low:+.3f}" + f"{high:+.3f}".rjust(across - len(f"{low:+.3f}")), "muted"))

    def _averaging(self, data: "CausalAverage", width: int, height: int) -> Iterator[Text]:
        yield from self.paragraph(
            "Each row is the mean of all positions up to its own: a lower triangle of ones divided by its row sums. "
            "The softmax of 0 at visible positions and -∞ at masked ones gives the same weights.",
            "text",
            width,
        )
        yield Text()
        yield self.text(
            (" " * (TOKEN + 1), "head"), ("".join(f"{fit(label(p), CELL - 1):>{CELL}}" for p in data.pieces), "head")
        )
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
        yield self.text((f"{'':<{TOKEN}} {'embedding':<{8 * shown}}   {'mean so far':<{8 * shown}}", "head"))
        for piece, before, after in zip(data.pieces, data.before, data.after, strict=True):
            yield self.text(
                (fit(label(piece), TOKEN) + " ", "muted"),
                ("".join(f"{value:>8.3f}" for value in before[:shown]), "text"),
                (" → ", "faint"),
                ("".join(f"{value:>8.3f}" for value in after[:shown]), "bar"),
            )
        yield self.text((f"differs from averaging in a loop by at most {data.difference:.1e}", "faint"))

    def _batch(self, data: "TrainingBatch", width: int, height: int) -> Iterator[Text]:
        rows, length = len(data.inputs), len(data.inputs[0])
        yield self.text(
            (f"[{rows}, {length}]", "text"),
            (f" inputs x, targets y: the same tokens shifted by one · stride {data.stride}", "muted"),
        )
        yield self.text(
            (f"loss {data.loss:.4f} nats", "text"), (f" · a uniform guess has ln V = {data.ln_v:.4f}", "muted")
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
