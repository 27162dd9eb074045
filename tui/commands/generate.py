"""`tokenwalk generate`: continue a prompt token by token."""

import sys
import time
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from core.config import Sampler
from core.until import FORMS, Until, parse
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
    conditions: Annotated[
        list[str] | None,
        typer.Option("--until", help=f"Stop a sample where this holds: {FORMS}. May be given again."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt token by token."""
    with mistakes():
        draws, until, text = sampler.sampler(), parse(conditions or ()), read(prompt)
        loaded, ids = load_model(model, text)
        _generate(loaded, ids, draws, min(count, until.limit or count), samples, until, as_json)


def _generate(
    loaded: Any, ids: list[int], sampler: Sampler, count: int, samples: int, until: Until, as_json: bool
) -> None:
    from core.session import Batch, sampled_token
    from core.tokenizer import Decoder
    from tui import report
    from tui.text import printed

    began = time.perf_counter()
    batch = Batch(loaded, ids, sampler, samples)
    prefilled = time.perf_counter()
    decoders, texts = [Decoder() for _ in range(samples)], [""] * samples
    streams = samples == 1 and not as_json
    steps, made, before, reasons, interrupted = 0, 0, prefilled, [""] * samples, False
    try:
        if as_json:
            say(report.line(report.prefill(loaded.info, ids, prefilled - began)))
        while not all(reasons) and steps < count:
            drawn = batch.step()
            now = time.perf_counter()
            for sample, one in ((sample, one) for sample, one in enumerate(drawn) if one and not reasons[sample]):
                if steps and (why := until.before(one.score.entropy_bits, batch.margin(sample))):
                    reasons[sample] = why
                    continue
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
                token = sampled_token(one, piece, batch.samplers[sample], loaded.info)
                reasons[sample] = until.after(token, texts[sample]) if batch.running[sample] else "stop"
            steps, before = steps + 1, now
    except KeyboardInterrupt:
        interrupted = True
    seconds = before - prefilled
    tails = [decoder.finish() for decoder in decoders]
    texts = [text + tail for text, tail in zip(texts, tails, strict=True)]
    if as_json:
        say(report.line(report.done(texts, made, seconds, _ends(reasons, until, interrupted))))
    elif streams:
        say(printed(tails[0]))
    else:
        say("\n".join(f"── {number} ──\n{printed(each)}" for number, each in enumerate(texts, start=1)))
    if interrupted:
        raise typer.Exit(130)
    if until and not as_json:
        _tell(reasons, f"{count} tokens without {until}")


def _ends(reasons: Sequence[str], until: Until, interrupted: bool) -> list[str]:
    """Why it ended: for all together, or where there are conditions for each sample."""
    short = "interrupted" if interrupted else "length"
    return [why or short for why in reasons] if until else ["stop" if all(reasons) and not interrupted else short]


def _tell(reasons: Sequence[str], otherwise: str) -> None:
    """Say on standard error what stopped each sample."""
    from tui.text import one_line

    for number, why in enumerate(reasons, start=1):
        sample = f"{number}: " if len(reasons) > 1 else ""
        sys.stderr.write(one_line(f"tokenwalk: {sample}{f'stopped: {why}' if why else otherwise}") + "\n")
