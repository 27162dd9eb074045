"""`tokenwalk generate`: continue a prompt token by token."""

import sys
import time
from typing import Annotated, Any

import typer

from core.config import Sampler
from tui.commands.common import Json, Prompt, load_model, mistakes, read, say
from tui.options import ModelOptions, SamplerOptions, shared


@shared
def generate(
    prompt: Prompt,
    model: ModelOptions,
    sampler: SamplerOptions,
    count: Annotated[int, typer.Option("-n", help="Tokens to generate.", min=0)] = 30,
    samples: Annotated[
        int, typer.Option(help="Continuations, run as one batch; the i-th draws with seed + i.", min=1)
    ] = 1,
    as_json: Json = False,
) -> None:
    """Continue a prompt token by token."""
    with mistakes():
        draws, text = sampler.sampler(), read(prompt)
        loaded, ids = load_model(model, text)
        _generate(loaded, ids, draws, count, samples, as_json)


def _generate(loaded: Any, ids: list[int], sampler: Sampler, count: int, samples: int, as_json: bool) -> None:
    from core.session import Batch
    from core.tokenizer import Decoder
    from tui import report
    from tui.text import printed

    began = time.perf_counter()
    batch = Batch(loaded, ids, sampler, samples)
    prefilled = time.perf_counter()
    decoders, texts = [Decoder() for _ in range(samples)], [""] * samples
    streams = samples == 1 and not as_json
    steps, made, reason, before = 0, 0, "length", prefilled
    try:
        if as_json:
            say(report.line(report.prefill(loaded.info, ids, prefilled - began)))
        while any(batch.running) and steps < count:
            drawn = batch.step()
            now = time.perf_counter()
            for sample, one in ((sample, one) for sample, one in enumerate(drawn) if one):
                piece = loaded.tokenizer.piece(one.id)
                fresh = decoders[sample].feed(piece)
                texts[sample] += fresh
                if as_json:
                    top = batch.top(sample, 20)
                    position = len(ids) + steps
                    say(report.line(report.step(sample, position, one, piece, top, now - before)))
                elif streams:
                    sys.stdout.write(printed(fresh))
                    sys.stdout.flush()
                made += 1
            steps, before = steps + 1, now
        reason = "length" if any(batch.running) else "stop"
    except KeyboardInterrupt:
        reason = "interrupted"
    seconds = before - prefilled
    tails = [decoder.finish() for decoder in decoders]
    texts = [text + tail for text, tail in zip(texts, tails, strict=True)]
    if as_json:
        say(report.line(report.done(texts, made, seconds, reason)))
    elif streams:
        say(printed(tails[0]))
    else:
        for number, each in enumerate(texts, start=1):
            say(f"── {number} ──\n{printed(each)}")
    if reason == "interrupted":
        raise typer.Exit(130)
