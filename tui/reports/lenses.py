"""`tokenwalk lens`: the answer of each lens, one function per lens."""

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len

from core.language import N_, _
from core.lenses import table
from tui.drawing.attributions import advice, start, total
from tui.drawing.parts import part_name
from tui.drawing.question import why
from tui.drawing.text import compact, fit, label, one_line, percent
from tui.reports.cells import bar, cell, column_name, numbers, sentences_of, shared_decimals, token_cell
from tui.reports.heat_maps import contrast_lines, paths_lines
from tui.reports.lab import lab_lines

if TYPE_CHECKING:
    from core.lenses.attention import AttentionView
    from core.lenses.context import ContextTable
    from core.lenses.device import Devices
    from core.lenses.flow import Flow
    from core.lenses.heads import HeadsView
    from core.lenses.ladder import Ladder
    from core.lenses.last_token import LastToken
    from core.lenses.logit import LogitLens, LogitMap
    from core.lenses.weights import Histogram, Weights

HEIGHTS = "▁▂▃▄▅▆▇█"
SHADES = "·░▒▓█"


def lens_lines(name: str, answer: Any) -> list[str]:
    """The answer of the lens `name` as lines without trailing spaces."""
    lines = LINES[name](answer) if name in LINES else _experiment(name, answer)
    return [line.rstrip() for line in lines]


def question_lines(name: str, answer: Any) -> Iterator[str]:
    """What an experiment was asked, and what holds for all rows of its table."""
    yield why(answer.asked)
    if name == "gradients":
        yield _("{start}; {total} after {steps:,} steps").format(
            start=start(answer), total=total(answer), steps=answer.steps
        )
        yield from filter(None, [advice(answer)])


def _experiment(name: str, answer: Any) -> Iterator[str]:
    """The question of an experiment, and its table with aligned columns."""
    yield from question_lines(name, answer)
    found = table(name.replace("-", "_"))(answer)
    rows = [tuple(map(column_name, found.columns)), *(tuple(map(cell, found.columns, row)) for row in found.rows)]
    widths = [min(40, max(cell_len(row[n]) for row in rows)) for n in range(len(found.columns))]
    numbers = [any(isinstance(row[n], int | float) for row in found.rows) for n in range(len(found.columns))]
    for row in rows:
        cells = zip(row, widths, numbers, strict=True)
        yield "  ".join(text.rjust(width) if number else fit(text, width) for text, width, number in cells)


def _flow(answer: "Flow") -> Iterator[str]:
    yield f"{_('stage'):<26} {_('shape'):<28} {'‖x‖':>9} {_('residual'):>9}  {_('first values')}"
    for stage in answer.stages:
        shape = " ".join(f"{part_name(axis)} {size:,}" for axis, size in stage.axes)
        norm = "" if stage.norm is None else f"{stage.norm:.3f}"
        residual = "" if stage.stream is None else f"{stage.stream:.3f}"
        if stage.text:
            values = one_line(stage.text)
        elif stage.labels:
            shown = [str(value) if isinstance(value, int) else f"{value:.4g}" for value in stage.values]
            values = "  ".join(f"{label(piece)} {value}" for piece, value in zip(stage.labels, shown, strict=True))
        else:
            values = numbers(stage.values)
        yield f"{'  ' * stage.level + part_name(stage.name):<26} {shape:<28} {norm:>9} {residual:>9}  {values}"
    yield ""
    for source in answer.sources:
        yield f"{source.component:<11} {source.equation:<52} {source.where}"


def _attention(answer: "AttentionView") -> Iterator[str]:
    yield _("layer {layer}, head {head}: attention weights of the last position").format(
        layer=answer.layer, head=answer.head
    )
    for position, (piece, weight) in enumerate(zip(answer.pieces, answer.row, strict=True)):
        yield f"{position:>5}  {fit(label(piece), 16)} {percent(weight, 2):>8}  {bar(weight, 40)}"
    yield ""
    yield _("attention pattern: each row is a position, each column an earlier position or its own")
    for position, row in enumerate(answer.pattern, start=answer.start):
        cells = "".join(SHADES[min(4, int(5 * weight**0.5))] * 2 for weight in row)
        yield f"{position:>5}  {fit(label(answer.pieces[position]), 16)} {cells}"
    yield ""
    yield _("entropy of each head's attention weights at the last position, bits")
    for number, heads in enumerate(answer.heads):
        yield _("layer {number:>3}  ").format(number=number) + " ".join(f"{head.entropy_bits:5.2f}" for head in heads)
    yield ""
    yield from attention_checks(answer)


def attention_checks(answer: "AttentionView") -> Iterator[str]:
    """How exact the weights are, and what was left out."""
    yield _("softmax(q kᵀ/√c) v and SDPA differ by at most {difference:.1e}").format(difference=answer.difference)
    yield from sentences_of(answer.note)


def _logit(answer: "LogitLens") -> Iterator[str]:
    target = label(answer.layers[-1].target.piece)
    decimals = shared_decimals(layer.top[0] for layer in answer.layers)
    finer = shared_decimals(layer.target for layer in answer.layers)
    yield (
        f"{_('layer'):<20} {_('H bits'):>7}  {_('likeliest token'):<27}  {_('second'):<27} {_('rank'):>8}  "
        + _("p of {target}").format(target=target)
    )
    for layer in answer.layers:
        likeliest = "  ".join(token_cell(each, 16, decimals) for each in layer.top[:2])
        share = percent(layer.target.probability, finer)
        yield (
            f"{part_name(layer.name):<20} {layer.entropy_bits:>7.3f}  "
            f"{likeliest} {layer.target.rank + 1:>8,}  {share:>10}"
        )
    yield ""
    yield from settled_lines(answer)
    if answer.map:
        yield from _logit_map(answer.map)


def settled_lines(answer: "LogitLens") -> Iterator[str]:
    """What the target is, and from which layer on the likeliest token stays."""
    settled = part_name(answer.layers[answer.locks_in or 0].name)
    yield (
        _("{target} is the given next token; the likeliest token no longer changes from {layer} on")
        if answer.target_came
        else _("{target} is the model's likeliest token; the likeliest token no longer changes from {layer} on")
    ).format(target=label(answer.layers[-1].target.piece), layer=settled)


def _logit_map(drawn: "LogitMap") -> Iterator[str]:
    """The likeliest token after each block at each position; under the table, so that it may be wider."""
    width = 12
    yield ""
    yield _("the likeliest token after each block at each position; KL(output ‖ layer) after {token}").format(
        token=label(drawn.pieces[-1])
    )
    yield f"{_('layer'):<10} {_('KL bits'):>8}  {''.join(fit(label(piece), width) + ' ' for piece in drawn.pieces)}"
    for name, row in zip(drawn.names, drawn.rows, strict=True):
        tokens = "".join(fit(label(cell.top[0].piece), width) + " " for cell in row)
        yield f"{name:<10} {row[-1].kl_bits:>8.3f}  {tokens}"


def _context(answer: "ContextTable") -> Iterator[str]:
    decimals = shared_decimals(row.top[0] for row in answer.rows)
    yield (
        f"{'#':>5}  {_('token'):<16} {_('H bits'):>8} {_('effective'):>11} {_('for 90 %'):>8}  "
        f"{_('likeliest token'):<27}  {_('next token and its rank')}"
    )
    for position, row in enumerate(answer.rows, start=answer.start):
        came = "" if row.came is None else f"{fit(label(row.came.piece), 16)} {row.came.place + 1:>8,}"
        yield (
            f"{position:>5}  {fit(label(row.piece), 16)} {row.entropy_bits:>8.3f} {row.effective:>11,.1f} "
            f"{row.mass90:>8,}  {token_cell(row.top[0], 16, decimals)}  {came}"
        )
    yield from sentences_of(answer.note)


def _last_token(answer: "LastToken") -> Iterator[str]:
    change_name = {"replace": _("replaced by"), "mask": _("hidden"), "shuffle": _("exchanged with")}[answer.how]
    largest = max((change.kl_bits for change in answer.changes), default=0.0) or 1.0
    yield f"{'#':>5}  {_('token'):<16} {change_name:<18} {_('KL bits'):>10}"
    for change in answer.changes:
        by = fit(label(change.by), 18)
        yield (
            f"{change.position:>5}  {fit(label(change.piece), 16)} {by} {change.kl_bits:>10.6f}  "
            f"{bar(change.kl_bits / largest, 30)}"
        )
    if answer.together_bits is not None:
        yield f"{'':>5}  {_('all of them at once'):<35} {answer.together_bits:>10.6f}"
    yield from sentences_of(answer.why, answer.note)


def _ladder(answer: "Ladder") -> Iterator[str]:
    decimals = shared_decimals(rung.top for rung in answer.rungs)
    finer = shared_decimals(rung.target for rung in answer.rungs if rung.target)
    yield (
        f"{_('model'):<16} {_('parameters'):>12} {_('added'):>12} {_('loss'):>8} {'ln V':>8}  "
        f"{_('likeliest token'):<27} "
        + (f"{_('target rank'):>12} {_('p of it'):>10}" if any(rung.target for rung in answer.rungs) else "")
    )
    for rung in answer.rungs:
        loss = "–" if rung.loss is None else f"{rung.loss:.4f}"
        target = f"{rung.target.rank + 1:>12,} {percent(rung.target.probability, finer):>10}" if rung.target else ""
        yield (
            f"{rung.name:<16} {rung.parameters:>12,} {rung.added:>+12,} {loss:>8} {rung.ln_v:>8.4f}  "
            f"{token_cell(rung.top, 16, decimals)} {target}"
        )
    yield ""
    yield _("loss and ln V in nats per token; ln V is the loss of a uniform guess")
    yield ""
    for rung in answer.rungs:
        changed = "; ".join(f"{each.name} {each.before} → {each.after}" for each in rung.differences)
        yield f"{rung.name:<16} {one_line(_(rung.adds))}"
        if changed:
            yield f"{'':<16} {one_line(changed)}"
    yield ""
    yield _("KL(row ‖ column), bits")
    for rung, row in zip(answer.rungs, answer.kl_bits, strict=True):
        cells = " ".join("       –" if value is None else f"{value:>8.4f}" for value in row)
        yield f"{rung.name:<16} {cells}"
    yield from sentences_of(*answer.notes)


def _weights(answer: "Weights") -> Iterator[str]:
    yield f"{_('part'):<12} {_('weights'):>14} {_('biases'):>10} {_('memory'):>9}"
    for each in answer.counts:
        share = each.parameters / max(1, answer.total)
        yield (
            f"{part_name(each.part):<12} {each.weights:>14,} {each.biases:>10,} {compact(each.size_bytes) + 'B':>9}  "
            f"{percent(share, 2):>7} {bar(share, 30)}"
        )
    yield f"{_('total'):<12} {answer.total:>14,}  {''.join(weights_check(answer))}"
    if histogram := answer.histogram:
        largest = max(histogram.counts)
        yield ""
        yield histogram_facts(histogram)
        bars = "".join(HEIGHTS[round(7 * count / largest)] for count in histogram.counts)
        yield f"{histogram.low:>10.4f} {bars} {histogram.high:.4f}"


def weights_check(answer: "Weights") -> tuple[str, str]:
    """Whether the configuration gives the same total; whether the unembedding is tied, else empty."""
    check = (
        _("as computed from the configuration")
        if answer.total == answer.expected
        else _("but {expected:,} as computed from the configuration").format(expected=answer.expected)
    )
    return check, _("; the unembedding shares the weights of the embedding") if answer.tied else ""


def histogram_facts(histogram: "Histogram") -> str:
    """The weight of a histogram, its shape, mean and standard deviation."""
    return _("{name} {shape}: mean {mean:.5f}, std {std:.5f}").format(
        name=histogram.name,
        shape=" × ".join(map(str, histogram.shape)),
        mean=histogram.mean,
        std=histogram.std,
    )


def device_facts(answer: "Devices") -> Iterator[str]:
    """The device in use, its parity and its speed."""
    yield _("{device} in {dtype}, {tokens} tokens per forward pass").format(
        device=answer.device, dtype=answer.dtype, tokens=answer.tokens
    )
    if answer.parity:
        parity = answer.parity
        yield (
            _(
                "against float32 on the CPU at {positions} positions: |Δlogit| ≤ {max_logit:.4f}, KL {kl_bits:.2e} "
                "bits, the same likeliest token at {share}"
            ).format(
                positions=parity.positions,
                max_logit=parity.max_logit,
                kl_bits=parity.kl_bits,
                share=percent(parity.top1, 2),
            )
        )
    if answer.speed:
        yield (
            _(
                "{tokens_per_second:,.1f} tokens a second, {bandwidth_share:.0%} of the memory bandwidth, which is "
                "{bandwidth_bytes_per_second:.1f} GB/s here"
            ).format(
                tokens_per_second=answer.speed.tokens_per_second,
                bandwidth_share=answer.speed.bandwidth_share,
                bandwidth_bytes_per_second=answer.speed.bandwidth_bytes_per_second / 1e9,
            )
        )


def _device(answer: "Devices") -> Iterator[str]:
    yield from device_facts(answer)
    yield ""
    yield f"{_('device'):<8} {_('creation'):>11} {_('forward'):>11} {_('training'):>11} {_('memory'):>9}"
    for each in answer.times:
        times = " ".join(
            f"{'–' if s is None else f'{1000 * s:,.1f} ms':>11}"
            for s in (each.create_seconds, each.forward_seconds, each.train_seconds)
        )
        size = "–" if each.size_bytes is None else compact(each.size_bytes) + "B"
        yield f"{each.name:<8} {times} {size:>9}  {one_line(each.problem or each.label)}"
    yield from sentences_of(answer.note)


def _watermark(answer: Any) -> Iterator[str]:
    yield _("z {z:.3f}, p {p_value:.3g}: {green:,} of {scored:,} tokens are green").format(
        z=answer.z, p_value=answer.p_value, green=answer.green, scored=answer.scored
    )
    yield _("expected by chance {ratio:.0%}; {watermark}").format(
        ratio=answer.ratio, watermark=one_line(answer.watermark)
    )
    for token in answer.tokens:
        yield f"{ {True: '●', False: '○', None: ' '}[token.green] } {label(token.piece)}"


HEADS = {
    "induction": (N_("induction"), N_("attention to the token after an earlier copy of a token")),
    "previous": (N_("previous token"), N_("attention to the token before")),
    "duplicate": (N_("duplicate token"), N_("attention to earlier copies of a token")),
    "copying": (
        N_("copying"),
        N_("eigenvalues of W_E W_OV W_U, 1 raises the logits of the tokens attended to, -1 lowers them"),
    ),
}
"""Of each score its name and its meaning."""


def _heads(answer: "HeadsView") -> Iterator[str]:
    text = _("random tokens, repeated once") if answer.measured_on == "random" else _("tokens of the prompt")
    yield _("scores of heads, measured on {positions} {text}").format(positions=answer.positions, text=text)
    for name, (title, meaning) in HEADS.items():
        yield from ("", f"{_(title)}: {_(meaning)}")
        yield from _head_grid(getattr(answer, name))
    if answer.composition:
        reads = part_name({"q": "queries", "k": "keys", "v": "values"}[answer.kind])
        yield ""
        receiver = _("head {layer}.{head}").format(layer=answer.layer, head=answer.head)
        yield _("{kind}-composition: what {receiver} reads of earlier heads for its {reads}").format(
            kind=answer.kind.upper(), receiver=receiver, reads=reads
        )
        yield _("independent heads have {independent:.3f}").format(independent=answer.independent)
        yield from _head_grid(answer.composition)
    yield from sentences_of(answer.note)


def _head_grid(grid: Sequence[Sequence[float | None]]) -> Iterator[str]:
    heads = (_("head {n}").format(n=n) for n in range(len(grid[0])))
    yield f"{_('layer'):>9}  " + " ".join(f"{head:>7}" for head in heads)
    for number, row in enumerate(grid):
        yield f"{number:>9}  " + " ".join(f"{'–' if value is None else f'{value:.3f}':>7}" for value in row)


LINES: dict[str, Callable[[Any], Iterator[str]]] = {
    "flow": _flow,
    "attention": _attention,
    "heads": _heads,
    "contrast": contrast_lines,
    "paths": paths_lines,
    "logit": _logit,
    "context": _context,
    "last-token": _last_token,
    "ladder": _ladder,
    "weights": _weights,
    "lab": lab_lines,
    "device": _device,
    "watermark": _watermark,
}
