"""Owns what the commands print: JSON Lines for programs, plain lines for people; nothing a terminal would obey."""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from core.catalog import Offer
from core.events import Candidate, Chart, DeviceInfo, Draw, ModelInfo
from core.shelf import Saved
from core.tokenizer import Tokenizer, piece_text
from tui.text import decimals_for, fit, label, one_line, percent

if TYPE_CHECKING:
    from core.bench import Measured

NAME = 26
"""Cells for the name of a session in a list."""


def line(value: dict[str, Any]) -> str:
    """One JSON object on one line, escaped where standard output cannot hold every character."""
    utf8 = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    return json.dumps(value, ensure_ascii=not utf8, allow_nan=False)


def token(id: int, piece: bytes) -> dict[str, Any]:
    """A token in every format: its id, its text (parts of a character escaped) and its bytes in hex."""
    return {"id": id, "text": piece_text(piece), "bytes": piece.hex()}


def candidate(found: Candidate) -> dict[str, Any]:
    """A candidate with the model's own probability and the one it is drawn with."""
    return {
        **token(found.id, found.piece),
        "logit": found.logit,
        "probability": found.probability,
        "sampled_probability": found.sampled_probability,
    } | ({} if found.true is None else {"true_probability": found.true})


def prefill(info: ModelInfo, ids: Sequence[int], seconds: float) -> dict[str, Any]:
    """The first line of a generation."""
    return {
        "event": "prefill",
        "model": info.name,
        "device": info.device,
        "dtype": info.dtype,
        "prompt_ids": list(ids),
        "vocab_size": info.vocab_size,
        "seconds": seconds,
    }


def step(
    sample: int, position: int, drawn: Draw, piece: bytes, top: Sequence[Candidate], seconds: float
) -> dict[str, Any]:
    """One drawn token and what it was drawn among."""
    return {
        "event": "step",
        "sample": sample,
        "position": position,
        **token(drawn.id, piece),
        "logit": drawn.score.logit,
        "probability": drawn.score.probability,
        "logprob": drawn.score.logprob,
        "sampled_probability": drawn.sampled_probability,
        "entropy_bits": drawn.score.entropy_bits,
        "rank": drawn.score.rank,
        "u": drawn.u,
        "top": [candidate(each) for each in top],
        "seconds": seconds,
    }


def done(texts: Sequence[str], tokens: int, seconds: float, reasons: Sequence[str]) -> dict[str, Any]:
    """The last line of a generation; `seconds` is the time after prefill. `reasons`: one for all, or one a sample."""
    return {
        "event": "done",
        "text": texts[0] if len(texts) == 1 else list(texts),
        "tokens": tokens,
        "tokens_per_second": tokens / seconds if seconds > 0 and tokens else None,
        "reason": reasons[0] if len(reasons) == 1 else list(reasons),
    }


def distribution(info: ModelInfo, ids: Sequence[int], chart: Chart, mass90: int) -> dict[str, Any]:
    """A next-token distribution; `mass90` tokens hold 90 % of it."""
    return {
        "model": info.name,
        "prompt_ids": list(ids),
        "entropy_bits": chart.entropy_bits,
        "effective": chart.effective,
        "mass90": mass90,
        "top": [candidate(each) for each in chart.candidates],
        "others": {"count": chart.others_count, "probability": chart.others_probability},
    }


def distribution_lines(chart: Chart, mass90: int) -> list[str]:
    """The same for a person."""
    decimals = decimals_for(chart.candidates[0].probability)
    lines = [f"{'#':>4}  {'token':<20} {'id':>7} {'p':>10} {'logit':>8}"]
    lines += [
        f"{c.rank + 1:>4}  {fit(label(c.piece), 20)} {c.id:>7} {percent(c.probability, decimals):>10} {c.logit:>8.3f}"
        for c in chart.candidates
    ]
    lines.append(f"      {f'others {chart.others_count:,}':<28} {percent(chart.others_probability, decimals):>10}")
    lines.append(
        f"      H {chart.entropy_bits:.3f} bits, as uncertain as {chart.effective:,.1f} equal candidates; "
        f"{mass90:,} hold 90%"
    )
    return lines


def tokens(words: Tokenizer, ids: Sequence[int]) -> dict[str, Any]:
    """What a tokenizer made of a text."""
    pieces = [token(id, words.piece(id)) | original(words, id) for id in ids]
    return {"tokenizer": words.name, "ids": list(ids), "pieces": pieces}


def original(words: Tokenizer, id: int) -> dict[str, Any]:
    """The id in cl100k, where a vocabulary was cut from that."""
    return {"original_id": words.originals[id]} if words.originals else {}


def tokens_lines(words: Tokenizer, ids: Sequence[int]) -> list[str]:
    """The same for a person."""
    originals = [f"{words.originals[id]:>7}" if words.originals else "" for id in ids]
    lines = [
        f"{id:>7}{original}  {fit(label(words.piece(id)), 24)} {words.piece(id).hex(' ')}"
        for id, original in zip(ids, originals, strict=True)
    ]
    return [*lines, f"{len(ids):,} tokens of {words.name}"]


def device_lines(found: Sequence[DeviceInfo]) -> list[str]:
    """Devices for a person."""
    lines = []
    for info in found:
        memory = f"{info.memory_bytes / 2**30:.1f} GiB" if info.memory_bytes else "–"
        lines.append(
            f"{info.name:<8} {memory:>10}  {info.label}" + (f" · not here: {info.problem}" if info.problem else "")
        )
    return lines


def model_lines(found: Sequence[Offer]) -> list[str]:
    """Models for a person."""
    wide = max(len(one_line(offer.name)) for offer in found)
    return [f"{one_line(offer.name):<{wide}}  {offer_words(offer)}" for offer in found]


def offer_words(offer: Offer) -> str:
    """What is to be said of a model beside its name."""
    if offer.size_bytes is None:
        return offer.words
    size = f"{offer.size_bytes / 1e6:,.0f} MB" if offer.size_bytes >= 1e6 else f"{offer.size_bytes / 1e3:,.0f} kB"
    words = one_line(f"{offer.family} · {size} · {offer.words}")
    return f"{words} · not here: {one_line(offer.problem)}" if offer.problem else words


def bench(measured: "Measured") -> dict[str, Any]:
    """What a model does here; times in seconds, sizes in bytes."""
    return {
        "model": measured.model,
        "device": measured.device,
        "dtype": measured.dtype,
        "threads": measured.threads,
        "prompt_tokens": measured.prompt_tokens,
        "first_token_seconds": measured.first_token,
        "prompt_tokens_per_second": measured.prompt_rate,
        "tokens_per_second": measured.rate,
        "implementation": measured.implementation,
        "weights_bytes": measured.weights,
        "bytes_per_token": measured.read,
        "bandwidth_bytes_per_second": measured.bandwidth,
        "bandwidth_share": measured.share,
        "peak_bytes": measured.peak,
    }


def bench_lines(measured: "Measured") -> list[str]:
    """The same for a person."""
    peak = f", {measured.peak / 1e6:,.0f} MB at the most" if measured.peak else ""
    threads = f", {measured.threads} threads" if measured.device == "cpu" else ""
    return [
        f"{one_line(measured.model)} on {measured.device} in {measured.dtype}{threads}",
        f"  {measured.rate:>9,.1f} tokens a second by {one_line(measured.implementation)}",
        f"  {1000 * measured.first_token:>9,.1f} ms to the first token after {measured.prompt_tokens:,} of a prompt "
        f"({measured.prompt_rate:,.0f} a second)",
        f"  {measured.share:>9.0%} of the {measured.bandwidth / 1e9:.1f} GB/s that this memory gives",
        f"  {measured.weights / 1e6:>9,.1f} MB of weights{peak}",
    ]


def saved_words(saved: Saved) -> tuple[str, str]:
    """What a list says of a saved session: its name, and all else."""
    if saved.problem:
        return fit(one_line(saved.path.stem), NAME), one_line(saved.problem.removeprefix(saved.path.name).lstrip(": "))
    name = fit(one_line(saved.prompt.strip()) or "no prompt", NAME)
    tokens = f"{saved.tokens:,} token{'s' if saved.tokens != 1 else ''}"
    branches = f"{saved.branches:,} branch{'es' if saved.branches != 1 else ''}"
    when = f"{datetime.fromtimestamp(saved.when).astimezone():%Y-%m-%d %H:%M}"
    return name, f"{when} · {one_line(saved.model)} · {tokens} · {branches}"
