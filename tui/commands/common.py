"""Owns what every command shares: its words on stderr and stdout, the prompt it reads, the model it loads."""

import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from core.engine import threads
from core.errors import UserError, out_of_memory
from tui.options import ModelOptions
from tui.wording import spell_without_keys

Prompt = Annotated[str, typer.Argument(help="The text to begin with; - reads it from standard input.")]
Json = Annotated[bool, typer.Option("--json", help="JSON Lines on standard output, and nothing else.")]


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """A user's mistake becomes one line on stderr and exit code 2; a closed pipe ends quietly."""
    try:
        yield
    except UserError as error:
        _fail(spell_without_keys(error))
    except (RuntimeError, MemoryError) as error:
        if (words := out_of_memory(error)) is None:
            raise
        _fail(f"{words}; a smaller model, a shorter prompt or fewer samples may fit")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(141) from None


def _fail(words: str) -> None:
    from tui.drawing.text import one_line

    sys.stderr.write(f"tokenwalk: {one_line(words)}\n")
    raise typer.Exit(2)


def say(line: str) -> None:
    """One line on standard output."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that what is begun ends whole; a second one does not wait for that."""
    stop = threading.Event()

    def asked(_: int, __: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, asked)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def read_argument(prompt: str) -> str:
    """The prompt, from standard input where it is `-`."""
    given, where = (sys.stdin.buffer.read(), "standard input") if prompt == "-" else (os.fsencode(prompt), "the prompt")
    try:
        return given.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{where} is not UTF-8 text (its byte {error.start + 1} is none); convert it first") from error


def load_model(model: ModelOptions, text: str) -> tuple[Any, list[int]]:
    """The model, and the ids of a text in it."""
    threads.prepare(beside_screen=False)
    from core.loading.models import load_model
    from core.tokenizers import chat

    loaded = load_model(model.choice())
    threads.apply(loaded.info.parameters, beside_screen=False)
    ids = chat.encode(loaded.tokenizer, text, special=model.special, chat=model.chat)
    ids = ids or [loaded.tokenizer.end_of_text]
    return loaded, ids


def finish(said: Iterable[Any], unit: str) -> Any:
    """The answer of something long, which comes last; the readings before it show on a terminal's standard error."""
    from core.progress import Progress

    shows, answer = sys.stderr.isatty(), None
    for answer in said:
        if shows and isinstance(answer, Progress):
            sys.stderr.write(f"\r{answer.done:,} of {answer.total:,} {unit}")
            sys.stderr.flush()
    if shows:
        sys.stderr.write("\r\x1b[K")
    return answer
