"""Owns the command line: what can be said, and exit codes. Imports nothing heavy until a command needs it."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version as installed_version
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from core import threads
from core.config import Sampler
from core.errors import Mistake
from tui.options import ModelOptions, SamplerOptions, shared

APP = "walk"
"""The command that a prompt without a command means."""

Prompt = Annotated[str, typer.Argument(help="The text to begin with; - reads it from standard input.")]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on standard output, and nothing else.")]


class Commands(TyperGroup):
    """Takes a first argument that names no command for the prompt of the app."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        if not args or (args[0] not in self.commands and args[0].partition("=")[0] not in own):
            args = [APP, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Commands,
    help="See a language model think, one token at a time.",
    epilog="tokenwalk [PROMPT] opens the app.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def mistakes() -> Iterator[None]:
    """A user's mistake becomes one line on stderr and exit code 2; a closed pipe ends quietly."""
    try:
        yield
    except Mistake as mistake:
        _fail(str(mistake))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def _fail(words: str) -> None:
    from tui.text import one_line

    sys.stderr.write(f"tokenwalk: {one_line(words)}\n")
    raise typer.Exit(2)


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _read(prompt: str) -> str:
    """The prompt, from standard input where it is `-`."""
    given, where = (sys.stdin.buffer.read(), "standard input") if prompt == "-" else (os.fsencode(prompt), "the prompt")
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise Mistake(f"{where} is not UTF-8 text (its byte {error.start + 1} is none); convert it first") from error


def _take_terminal() -> None:
    """Read keys from the terminal after a prompt came through standard input."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return
    os.dup2(terminal, 0)
    os.close(terminal)


def _show_version(wanted: bool) -> None:
    if wanted:
        _say(f"tokenwalk {installed_version('tokenwalk')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """See a language model think, one token at a time."""


@app.command(APP)
@shared
def walk(
    model: ModelOptions,
    sampler: SamplerOptions,
    prompt: Prompt = "",
    count: Annotated[int, typer.Option("-n", help="Tokens that one press of g generates.", min=1)] = 30,
    fps: Annotated[int | None, typer.Option(help="Frames a second at most.", min=1, max=60)] = None,
    theme: Annotated[str | None, typer.Option(help="tokenwalk-dark, tokenwalk-light or a theme of Textual.")] = None,
) -> None:
    """Open the app; what `tokenwalk PROMPT` does."""
    with mistakes():
        from dataclasses import replace

        from core import catalog
        from tui import settings as own_settings

        choice, draws = model.choice(), sampler.sampler()
        catalog.check(choice)
        text = _read(prompt)
        if prompt == "-":
            _take_terminal()
        if not (sys.stdin.isatty() and sys.stderr.isatty()):  # Textual reads the one and draws on the other
            raise Mistake("the app needs a terminal; tokenwalk generate, next and tokens work without one")
        problems = []
        try:
            settings = own_settings.load()
        except Mistake as mistake:
            settings, problems = own_settings.Settings(), [str(mistake)]
        settings = replace(settings, fps=fps or settings.fps, theme=theme or settings.theme)
    threads.prepare()
    from tui.app import TokenwalkApp

    playground = TokenwalkApp(
        choice, draws, text, settings=settings, count=count, special=model.special, problems=problems
    )
    playground.run()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(playground.return_code or 0)  # neither a step that still computes nor torch's own end holds the terminal


@app.command()
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
        draws, text = sampler.sampler(), _read(prompt)
        loaded, ids = _load(model, text)
        _generate(loaded, ids, draws, count, samples, as_json)


def _load(model: ModelOptions, text: str) -> tuple[Any, list[int]]:
    threads.prepare()
    from core.models import load

    loaded = load(model.choice())
    threads.apply(loaded.info.parameters, beside_screen=False)
    ids = loaded.tokenizer.encode(text, special=model.special) or [loaded.tokenizer.end_of_text]
    return loaded, ids


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
    made, reason, before = 0, "length", prefilled
    try:
        if as_json:
            _say(report.line(report.prefill(loaded.info, ids, prefilled - began)))
        for _ in range(count):
            drawn = batch.step()
            now = time.perf_counter()
            for sample, one in enumerate(drawn):
                piece = loaded.tokenizer.piece(one.id)
                fresh = decoders[sample].feed(piece)
                texts[sample] += fresh
                if as_json:
                    top = batch.top(sample, 20)
                    position = len(ids) + made
                    _say(report.line(report.step(sample, position, one, piece, top, now - before)))
                elif streams:
                    sys.stdout.write(printed(fresh))
                    sys.stdout.flush()
            made, before = made + 1, now
    except KeyboardInterrupt:
        reason = "interrupted"
    seconds = before - prefilled
    tails = [decoder.finish() for decoder in decoders]
    texts = [text + tail for text, tail in zip(texts, tails, strict=True)]
    if as_json:
        _say(report.line(report.done(texts, made * samples, seconds, reason)))
    elif streams:
        _say(printed(tails[0]))
    else:
        for number, each in enumerate(texts, start=1):
            _say(f"── {number} ──\n{printed(each)}")
    if reason == "interrupted":
        raise typer.Exit(130)


@app.command("next")
@shared
def next_token(
    prompt: Prompt,
    model: ModelOptions,
    count: Annotated[int, typer.Option("-k", help="Candidates to list.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """The next-token distribution after a prompt."""
    with mistakes():
        loaded, ids = _load(model, _read(prompt))
        from core.sampling import mass_count
        from core.session import Session
        from tui import report

        session = Session(loaded)
        for _ in session.prefill(ids):
            pass
        chart, mass90 = session.chart(count), mass_count(session.distribution(), 0.9)
        if as_json:
            _say(report.line(report.distribution(loaded.info, ids, chart, mass90)))
        else:
            for each in report.distribution_lines(chart, mass90):
                _say(each)


@app.command()
def tokens(
    text: Annotated[str, typer.Argument(help="The text; - reads it from standard input.")],
    tokenizer: Annotated[str, typer.Option(help="cl100k or bytes.")] = "cl100k",
    special: Annotated[bool, typer.Option("--special", help="Read <|endoftext|> and the like as tokens.")] = False,
    as_json: Json = False,
) -> None:
    """Pieces, ids and bytes of a text."""
    with mistakes():
        from core import tokenizer as tokenizers
        from tui import report

        words = tokenizers.load(tokenizer)
        ids = words.encode(_read(text), special=special)
        for each in [report.line(report.tokens(words, ids))] if as_json else report.tokens_lines(words, ids):
            _say(each)


@app.command()
def models(as_json: Json = False) -> None:
    """The models that can be chosen, and why not where they cannot."""
    from dataclasses import asdict

    from core.catalog import offers
    from tui import report

    found = offers()
    for each in [json.dumps(asdict(offer)) for offer in found] if as_json else report.model_lines(found):
        _say(each)


@app.command()
def devices(as_json: Json = False) -> None:
    """The devices that can be chosen, and why not where they cannot."""
    with mistakes():
        from dataclasses import asdict

        from core.device import devices as find
        from tui import report

        found = find()
        for each in [json.dumps(asdict(info)) for info in found] if as_json else report.device_lines(found):
            _say(each)


def main() -> None:
    """The entry point."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal that is not UTF-8
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = 130
    except Exception as error:
        if (words := getattr(error, "format_message", None)) is None:
            raise
        sys.stderr.write(f"tokenwalk: {' '.join(words().split())}; tokenwalk --help shows what there is\n")
        code = 2
    sys.exit(code)
