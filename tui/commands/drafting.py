"""`tokenwalk generate --draft`: speculative decoding, with each proposal and what became of it."""

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from core.generation.token import Token
from core.sampling.sampler import Sampler
from tui.commands.common import say, stoppable

if TYPE_CHECKING:
    from core.generation.rounds import Round
    from core.generation.sample import Sample


def generate(
    loaded: Any,
    draft: str,
    start: Sequence[Token],
    sampler: Sampler,
    proposals: int,
    count: int,
    sample: "Sample",
    as_json: bool,
) -> None:
    """Continue `start` by up to `count` tokens, and print the text or the events."""
    from core.generation.speculative import Speculation, kept
    from core.loading.draft import load_draft
    from tui.drawing.text import printed
    from tui.reports.drafting import done_json, prefill_json, round_json, summary
    from tui.reports.json_values import json_line

    began = time.perf_counter()
    model = load_draft(loaded, draft)
    speculation = Speculation(loaded, model, start, len(start), sampler, proposals)
    rounds = list["Round"]()
    if as_json:
        ids = [token.id for token in start]
        say(json_line(prefill_json(loaded.info, model.info, ids, proposals, time.perf_counter() - began)))
    began = time.perf_counter()
    with stoppable() as stop:
        while not stop.is_set() and not sample.stopped and len(sample.tokens) < count:
            before = time.perf_counter()
            found = speculation.round(count - len(sample.tokens))
            rounds.append(found)
            for token in found.tokens:
                if sample.stopped:  # tokens after the one that met a condition are dropped
                    break
                text = sample.append(kept(token))
                if not as_json:
                    sys.stdout.write(printed(text))
                    sys.stdout.flush()
            if as_json:
                say(json_line(round_json(found, time.perf_counter() - before - (found.step_seconds or 0.0))))
        seconds = time.perf_counter() - began - sum(each.step_seconds or 0.0 for each in rounds)
    tail = sample.finish()
    if as_json:
        reason = "interrupted" if stop.is_set() else _reason(sample)
        say(json_line(done_json(sample.text + tail, rounds, len(sample.tokens), seconds, reason)))
    else:
        say(printed(tail))
        sys.stderr.write(f"tokenwalk: {summary(rounds)}\n")
    if stop.is_set():
        raise typer.Exit(130)


def _reason(sample: "Sample") -> str:
    from core.generation.sample import MODEL_ENDED

    return "stop" if sample.stopped == MODEL_ENDED else sample.stopped or "length"
