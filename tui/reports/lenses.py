"""Owns what `tokenwalk lens` prints: an answer as plain values for JSON, and as calm lines for people."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from core.sampling.values import Candidate, Chart
from core.tokenizers.tokenizer import piece_text
from tui.drawing.text import compact, decimals_for, fit, label, one_line, percent
from tui.reports import general

if TYPE_CHECKING:
    from core.lenses.attention import AttentionView
    from core.lenses.context import ContextTable
    from core.lenses.device import Devices
    from core.lenses.flow import Flow
    from core.lenses.lab import Lab
    from core.lenses.ladder import Ladder
    from core.lenses.last_token import LastToken
    from core.lenses.logit import LogitLens
    from core.lenses.weights import Weights

EIGHTHS = " ▏▎▍▌▋▊▉█"
LEVELS = "▁▂▃▄▅▆▇█"
SHADES = "·░▒▓█"


# For programs --------------------------------------------------------------------------------------------------------


def plain(name: str, answer: Any) -> dict[str, Any]:
    """An answer as JSON has it: tokens with their text and bytes, a context table as its prefixes."""
    values: dict[str, Any] = _plain(answer)
    if name == "context":
        values["prefixes"] = _prefixes(answer, values.pop("rows"))
    return values


def _plain(value: Any) -> Any:
    if isinstance(value, Candidate):
        return general.candidate(value)
    if isinstance(value, Chart):
        return {"entropy_bits": value.entropy_bits, "top": _plain(value.candidates)}
    if isinstance(value, bytes):
        return piece_text(value)
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if is_dataclass(value) and not isinstance(value, type):
        found = {each.name: getattr(value, each.name) for each in fields(value)}
        piece = found.pop("piece", None)
        own = {} if piece is None else {"text": piece_text(piece), "bytes": piece.hex()}
        return own | {key: _plain(each) for key, each in found.items()}
    return value


def _prefixes(table: "ContextTable", rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row with the text of the whole prefix, as far as it is in the table, for that of its last token."""
    text = b""
    for row, values in zip(table.rows, rows, strict=True):
        text += row.piece
        values["token"], values["text"] = values["text"], piece_text(text)
    return rows


# For people ----------------------------------------------------------------------------------------------------------


def lines(name: str, answer: Any) -> list[str]:
    """The same for a person."""
    return [line.rstrip() for line in LINES[name](answer)]


def bar(share: float, width: int) -> str:
    """A share of 1 as a bar of up to `width` cells."""
    eighths = round(min(1.0, max(0.0, share)) * 8 * width)
    return "█" * (eighths // 8) + EIGHTHS[eighths % 8].strip()


def _numbers(values: Sequence[float], count: int = 4) -> str:
    return " ".join(f"{value:>8.3f}" for value in values[:count])


def _token(candidate: Candidate, width: int, decimals: int) -> str:
    """A token and its probability, in `width` + 11 cells."""
    return f"{fit(label(candidate.piece), width)} {percent(candidate.probability, decimals):>10}"


def _decimals(candidates: Iterable[Candidate]) -> int:
    """As many as the least of them needs, so that all share one scale."""
    return decimals_for(min((each.probability for each in candidates), default=1.0))


def _noted(*notes: str) -> Iterator[str]:
    """Notes after a table, where there are any."""
    said = [note for note in notes if note]
    if said:
        yield ""
        yield from (one_line(note[0].upper() + note[1:] + ("" if note.endswith(".") else ".")) for note in said)


def _flow(answer: "Flow") -> Iterator[str]:
    yield f"{'stage':<26} {'shape':<28} {'length':>9} {'stream':>9}  first values"
    for stage in answer.stages:
        shape = " ".join(f"{axis} {size:,}" for axis, size in stage.axes)
        norm = "" if stage.norm is None else f"{stage.norm:.3f}"
        stream = "" if stage.stream is None else f"{stage.stream:.3f}"
        if stage.text:
            values = one_line(stage.text)
        elif stage.labels:
            shown = [str(value) if isinstance(value, int) else f"{value:.4g}" for value in stage.values]
            values = "  ".join(f"{label(piece)} {value}" for piece, value in zip(stage.labels, shown, strict=True))
        else:
            values = _numbers(stage.values)
        yield f"{'  ' * stage.level + stage.name:<26} {shape:<28} {norm:>9} {stream:>9}  {values}"
    yield ""
    for source in answer.sources:
        yield f"{source.component:<11} {source.equation:<52} {source.where}"


def _attention(answer: "AttentionView") -> Iterator[str]:
    yield f"layer {answer.layer}, head {answer.head}: where the last position looks"
    for place, (piece, weight) in enumerate(zip(answer.pieces, answer.row, strict=True)):
        yield f"{place:>5}  {fit(label(piece), 16)} {percent(weight, 2):>8}  {bar(weight, 40)}"
    yield ""
    yield "pattern: a row looks at the columns up to its own place"
    for place, row in enumerate(answer.pattern, start=answer.start):
        cells = "".join(SHADES[min(4, int(5 * weight**0.5))] * 2 for weight in row)
        yield f"{place:>5}  {fit(label(answer.pieces[place]), 16)} {cells}"
    yield ""
    yield "entropy of each head's last row, bits"
    for number, heads in enumerate(answer.heads):
        yield f"layer {number:>3}  " + " ".join(f"{head.entropy_bits:5.2f}" for head in heads)
    yield ""
    yield f"softmax(q kᵀ/√c) v and SDPA differ by at most {answer.difference:.1e}"
    yield from _noted(answer.note)


def _logit(answer: "LogitLens") -> Iterator[str]:
    target = label(answer.layers[-1].target.piece)
    decimals = _decimals(layer.top[0] for layer in answer.layers)
    finer = _decimals(layer.target for layer in answer.layers)
    yield f"{'layer':<20} {'H bits':>7}  {'favourite':<27}  {'second':<27} {'rank':>8}  p of {target}"
    for layer in answer.layers:
        favourites = "  ".join(_token(each, 16, decimals) for each in layer.top[:2])
        share = percent(layer.target.probability, finer)
        yield f"{layer.name:<20} {layer.entropy_bits:>7.3f}  {favourites} {layer.target.rank + 1:>8,}  {share:>10}"
    yield ""
    came = "came next" if answer.target_came else "is the model's favourite"
    yield f"{target} {came}; the favourite stays what it is from {answer.layers[answer.locks_in or 0].name} on"


def _context(answer: "ContextTable") -> Iterator[str]:
    decimals = _decimals(row.top[0] for row in answer.rows)
    yield f"{'#':>5}  {'token':<16} {'H bits':>8} {'effective':>11} {'90 %':>8}  {'favourite':<27}  came at rank"
    for place, row in enumerate(answer.rows, start=answer.start + 1):
        came = "" if row.came is None else f"{fit(label(row.came.piece), 16)} {row.came.rank + 1:>8,}"
        yield (
            f"{place:>5}  {fit(label(row.piece), 16)} {row.entropy_bits:>8.3f} {row.effective:>11,.1f} "
            f"{row.mass90:>8,}  {_token(row.top[0], 16, decimals)}  {came}"
        )
    yield from _noted(answer.note)


def _last_token(answer: "LastToken") -> Iterator[str]:
    verb = {"replace": "replaced by", "mask": "hidden", "shuffle": "exchanged with"}[answer.how]
    largest = max((change.kl_bits for change in answer.changes), default=0.0) or 1.0
    yield f"{'#':>5}  {'token':<16} {verb:<18} {'KL bits':>10}"
    for change in answer.changes:
        by = fit(label(change.by), 18)
        yield (
            f"{change.position:>5}  {fit(label(change.piece), 16)} {by} {change.kl_bits:>10.6f}  "
            f"{bar(change.kl_bits / largest, 30)}"
        )
    if answer.together_bits is not None:
        yield f"{'':>5}  {'all of them':<35} {answer.together_bits:>10.6f}"
    yield from _noted(answer.why, answer.note)


def _ladder(answer: "Ladder") -> Iterator[str]:
    decimals = _decimals(rung.top for rung in answer.rungs)
    finer = _decimals(rung.target for rung in answer.rungs if rung.target)
    yield (
        f"{'model':<16} {'parameters':>12} {'added':>12} {'loss':>8} {'ln V':>8}  {'favourite':<27} "
        f"{'target rank':>12} {'p of it':>10}"
    )
    for rung in answer.rungs:
        loss = "–" if rung.loss is None else f"{rung.loss:.4f}"
        target = f"{rung.target.rank + 1:>12,} {percent(rung.target.probability, finer):>10}" if rung.target else ""
        yield (
            f"{rung.name:<16} {rung.parameters:>12,} {rung.added:>+12,} {loss:>8} {rung.ln_v:>8.4f}  "
            f"{_token(rung.top, 16, decimals)} {target}"
        )
    yield ""
    for rung in answer.rungs:
        changed = "; ".join(f"{each.name} {each.before} → {each.after}" for each in rung.differences)
        yield f"{rung.name:<16} {one_line(rung.adds)}"
        if changed:
            yield f"{'':<16} {one_line(changed)}"
    yield ""
    yield "KL(row ‖ column), bits"
    for rung, row in zip(answer.rungs, answer.kl_bits, strict=True):
        cells = " ".join("       –" if value is None else f"{value:>8.4f}" for value in row)
        yield f"{rung.name:<16} {cells}"
    yield from _noted(*answer.notes)


def _weights(answer: "Weights") -> Iterator[str]:
    yield f"{'part':<12} {'weights':>14} {'biases':>10} {'memory':>9}"
    for each in answer.counts:
        share = each.parameters / max(1, answer.total)
        yield (
            f"{each.part:<12} {each.weights:>14,} {each.biases:>10,} {compact(each.size_bytes) + 'B':>9}  "
            f"{percent(share, 2):>7} {bar(share, 30)}"
        )
    agrees = (
        "as the configuration says" if answer.total == answer.expected else f"not {answer.expected:,} as configured"
    )
    yield f"{'total':<12} {answer.total:>14,}  {agrees}" + ("; the unembedding is the embedding" if answer.tied else "")
    if found := answer.histogram:
        most = max(found.counts)
        yield ""
        yield f"{found.name} {' × '.join(map(str, found.shape))}: mean {found.mean:.5f}, std {found.std:.5f}"
        yield f"{found.low:>10.4f} {''.join(LEVELS[round(7 * n / most)] for n in found.counts)} {found.high:.4f}"


def _lab(answer: "Lab") -> Iterator[str]:
    assert answer.averaging and answer.norm and answer.batch and answer.lookup and answer.switch
    yield "Averaging the past: a triangular matrix, each row divided by its sum, times the embeddings"
    for n, piece in enumerate(answer.averaging.pieces):
        row = " ".join(
            f"{weight:4.2f}" if seen else "   ·"
            for weight, seen in zip(answer.averaging.weights[n], answer.averaging.seen[n], strict=True)
        )
        before, after = _numbers(answer.averaging.before[n]), _numbers(answer.averaging.after[n])
        yield f"  {fit(label(piece), 14)} {row}  ×  {before}  =  {after}"
    norm = answer.norm
    yield ""
    yield f"Norm: {norm.name}" + ("" if norm.own else ", which this model does not have")
    yield f"  before  mean {norm.mean_before:>9.4f}  std {norm.std_before:>9.4f}  {_numbers(norm.before)}"
    yield f"  after   mean {norm.mean_after:>9.4f}  std {norm.std_after:>9.4f}  {_numbers(norm.after)}"
    batch = answer.batch
    yield ""
    yield f"A training batch [{len(batch.inputs)}, {len(batch.inputs[0])}], stride {batch.stride}: inputs │ targets"
    for inputs, targets in zip(batch.input_pieces, batch.target_pieces, strict=True):
        yield f"  {fit(' '.join(map(label, inputs)), 48)} │ {fit(' '.join(map(label, targets)), 48)}"
    yield f"  loss {batch.loss:.4f}, ln V {batch.ln_v:.4f}"
    look = answer.lookup
    yield ""
    yield f"nn.Embedding and nn.Linear on one-hot vectors, {look.rows:,} × {look.columns}"
    yield f"  largest difference {look.difference:.1e}"
    yield f"  lookup {1e6 * look.lookup_seconds:,.0f} µs, product {1e6 * look.product_seconds:,.0f} µs"
    same = "the same for both" if look.lookup_rows == look.product_rows else "not the same for both"
    yield f"  rows with a gradient, {same}: {', '.join(map(str, look.lookup_rows))} of {look.rows:,}"
    switch = answer.switch
    yield ""
    yield f"{switch.own} switched to {switch.other}: KL {switch.kl_bits:.4f} bits"
    decimals = _decimals((switch.before.candidates[0], switch.after.candidates[0]))
    for own, other in zip(switch.before.candidates, switch.after.candidates, strict=True):
        yield f"  {_token(own, 20, decimals)}  {_token(other, 20, decimals)}"
    yield "  " + " ".join(f"{'x':>7}" if n < 0 else f"{switch.xs[n]:>7.1f}" for n in range(0, len(switch.xs), 10))
    for curve in switch.curves:
        yield "  " + " ".join(f"{curve.values[n]:>7.3f}" for n in range(0, len(switch.xs), 10)) + f"  {curve.name}"
    yield from _noted(switch.note)


def _device(answer: "Devices") -> Iterator[str]:
    yield f"{answer.device} in {answer.dtype}, {answer.tokens} tokens in a forward pass"
    if answer.parity:
        parity = answer.parity
        yield (
            f"against float32 on the CPU at {parity.positions} positions: |Δlogit| ≤ {parity.max_logit:.4f}, "
            f"KL {parity.kl_bits:.2e} bits, the same favourite at {percent(parity.top1, 2)}"
        )
    if answer.speed:
        yield (
            f"{answer.speed.tokens_per_second:,.1f} tokens a second, {answer.speed.bandwidth_share:.0%} of the "
            f"{answer.speed.bandwidth_bytes_per_second / 1e9:.1f} GB/s that its memory gives"
        )
    yield ""
    yield f"{'device':<8} {'creation':>11} {'forward':>11} {'training':>11} {'memory':>9}"
    for each in answer.times:
        spent = " ".join(
            f"{'–' if s is None else f'{1000 * s:,.1f} ms':>11}"
            for s in (each.create_seconds, each.forward_seconds, each.train_seconds)
        )
        size = "–" if each.size_bytes is None else compact(each.size_bytes) + "B"
        yield f"{each.name:<8} {spent} {size:>9}  {one_line(each.problem or each.label)}"
    yield from _noted(answer.note)


LINES: dict[str, Callable[[Any], Iterator[str]]] = {
    "flow": _flow,
    "attention": _attention,
    "logit": _logit,
    "context": _context,
    "last-token": _last_token,
    "ladder": _ladder,
    "weights": _weights,
    "lab": _lab,
    "device": _device,
}
