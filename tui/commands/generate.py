"""`tokenwalk generate`: continue a prompt token by token."""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from core.config import Sampler
from core.errors import Mistake
from core.events import Token
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
    save: Annotated[
        Path | None, typer.Option(help="Write the walk into this file, for the app, replay and export.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Continue a prompt token by token."""
    with mistakes():
        draws, text = sampler.sampler(), read(prompt)
        if save and not save.absolute().parent.is_dir():
            raise Mistake(f"there is no folder {save.absolute().parent} to save the walk in")
        loaded, ids = load_model(model, text)
        walks: list[list[Token]] | None = [[] for _ in range(samples)] if save else None
        try:
            _generate(loaded, ids, draws, count, samples, as_json, walks)
        finally:
            if save and walks is not None:
                _save(save, loaded, draws, ids, text, walks)


def _save(path: Path, loaded: Any, sampler: Sampler, ids: list[int], text: str, walks: list[list[Token]]) -> None:
    """Write the walks as one tree that stands at the end of the first."""
    from core import record
    from core.tree import Tree

    tree = Tree()
    start = tree.root
    for id in ids:
        start = tree.child(start, Token(id, loaded.tokenizer.piece(id)))
    start.text = text
    ends = []
    for walk in walks:
        ends.append(start)
        for token in walk:
            ends[-1] = tree.child(ends[-1], token)
    for end in reversed(ends):
        tree.visit(tree.path(end), 0)
    record.write(path, record.copy_tree(loaded.info, sampler, tree, ends[0], len(ids) + len(walks[0]))())


def _generate(
    loaded: Any,
    ids: list[int],
    sampler: Sampler,
    count: int,
    samples: int,
    as_json: bool,
    walks: list[list[Token]] | None,
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
    made, reason, before = 0, "length", prefilled
    try:
        if as_json:
            say(report.line(report.prefill(loaded.info, ids, prefilled - began)))
        for _ in range(count):
            drawn = batch.step()
            now, made = time.perf_counter(), made + 1
            for sample, one in enumerate(drawn):
                piece = loaded.tokenizer.piece(one.id)
                if walks is not None:
                    walks[sample].append(sampled_token(one, piece, batch.samplers[sample], loaded.info))
                fresh = decoders[sample].feed(piece)
                texts[sample] += fresh
                if as_json:
                    top = batch.top(sample, 20)
                    position = len(ids) + made - 1
                    say(report.line(report.step(sample, position, one, piece, top, now - before)))
                elif streams:
                    sys.stdout.write(printed(fresh))
                    sys.stdout.flush()
            before = now
    except KeyboardInterrupt:
        reason = "interrupted"
    seconds = before - prefilled
    tails = [decoder.finish() for decoder in decoders]
    texts = [text + tail for text, tail in zip(texts, tails, strict=True)]
    if as_json:
        say(report.line(report.done(texts, made * samples, seconds, reason)))
    elif streams:
        say(printed(tails[0]))
    else:
        for number, each in enumerate(texts, start=1):
            say(f"── {number} ──\n{printed(each)}")
    if reason == "interrupted":
        raise typer.Exit(130)
