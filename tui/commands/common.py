"""What the commands share: output and errors, reading the prompt, loading the model, interruption by Ctrl-C."""

import errno
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from core import language
from core.atomic import check_replaceable
from core.bounded import read_stream
from core.engine import threads
from core.errors import UserError, out_of_memory
from core.language import _
from tui.options import ModelOptions
from tui.wording import COMPILING, spell_without_keys

UNWRITABLE = (errno.ENOSPC, errno.EIO, errno.EBADF, errno.EFBIG, errno.EDQUOT)
"""The errors of a stream that cannot be written."""

Prompt = Annotated[str, typer.Argument(help="The text to begin with; - reads it from standard input.")]


def _in_english(as_json: bool) -> bool:
    """What programs read is in English: JSON, and the messages beside it."""
    if as_json:
        language.speak(language.ENGLISH)
    return as_json


Json = Annotated[
    bool, typer.Option("--json", callback=_in_english, help="Print JSON Lines instead of text, always in English.")
]


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """A `UserError` or missing memory becomes one line on stderr and exit code 2; a closed pipe ends without a word."""
    try:
        yield
    except UserError as error:
        _fail(spell_without_keys(error))
    except (RuntimeError, MemoryError, ImportError) as error:
        if (message := out_of_memory(error)) is None:
            raise
        _fail(_("{message}; a smaller model, a shorter prompt or fewer samples may fit").format(message=message))
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            _discard_output()
            raise typer.Exit(141) from None
        if (problem := unwritable_output(error)) is None:
            raise
        _fail(problem)


def unwritable_output(error: OSError) -> str | None:
    """One line where `error` says that standard output takes no more; None for any other error.

    What waits to be written is discarded, or the interpreter would try once more as it ends.
    """
    if error.filename is not None or error.errno not in UNWRITABLE:
        return None
    _discard_output()
    return _("standard output cannot be written: {reason}").format(reason=os.strerror(error.errno))


def _discard_output() -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fail(message: str) -> None:
    note(message)
    raise typer.Exit(2)


def note(message: str) -> None:
    """Write one line to standard error."""
    from tui.drawing.text import one_line

    sys.stderr.write(f"tokenwalk: {one_line(message)}\n")


def note_saved(app: Any) -> None:
    """Say after the app how its walk is continued, where it was saved."""
    if app.autosave.kept and sys.stderr.isatty():
        note(_("the walk is saved; tokenwalk --resume continues it"))


def say(line: str) -> None:
    """Write one line to standard output at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """The first Ctrl-C sets the event, so that the caller can finish its step; a second one interrupts at once."""
    stop = threading.Event()

    def on_interrupt(_: int, __: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


def read_argument(prompt: str) -> str:
    """The prompt, from standard input where it is `-`. Raises `UserError` where it is not UTF-8."""
    if prompt == "-":
        return decode_utf8(read_stream(sys.stdin.buffer, _("standard input")), _("standard input"))
    return decode_utf8(os.fsencode(prompt), _("the prompt"))


def decode_utf8(content: bytes, source: str) -> str:
    """`content` as text. Raises `UserError`, which names `source` and the first invalid byte, counted from 1."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            _("{source} is not UTF-8 text: byte {start} is invalid; convert it to UTF-8 first"),
            source=source,
            start=error.start + 1,
        ) from error


def check_new_walk(path: Path | None) -> None:
    """Raise `UserError` where a walk cannot be saved to the path, before anything is computed; None saves none."""
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise UserError(
            _("there is no folder {parent}; create it or save the walk elsewhere"), parent=path.absolute().parent
        )
    check_replaceable(path)


def load_model(model: ModelOptions, text: str) -> tuple[Any, list[int]]:
    """The model, and the token ids of a text in it; an empty text becomes the end-of-text token.

    The steering vectors of the options act in the model from now on.
    """
    patches, choice = model.patches(), model.choice()
    from core.loading import catalog

    if catalog.has_files(choice.name):
        catalog.find(choice.name)  # refuses a wrong name before torch is imported, which takes seconds
    threads.prepare(beside_screen=False, packed=catalog.packed(choice))
    from core.activations.apply import InstalledPatches
    from core.loading.models import load_model
    from core.tokenizers import chat

    loaded = load_model(choice, _tell)
    if loaded.info.slow_path:
        note(
            _("{label} runs on a slow path: {slow_path}").format(
                label=loaded.info.label, slow_path=loaded.info.slow_path
            )
        )
    if loaded.tokenizer.warning:
        note(loaded.tokenizer.warning)
    threads.apply(loaded.info.parameters, beside_screen=False)
    if patches:
        InstalledPatches(loaded, patches)
    ids = chat.encode(loaded.tokenizer, text, special=model.special, chat=model.chat, system=model.system)
    ids = ids or [loaded.tokenizer.end_of_text]
    return loaded, ids


def _tell(loading: Any) -> None:
    """Say to a person why the first start takes longer than others."""
    if loading.activity == "compiling" and sys.stderr.isatty():
        note(_(COMPILING))


def finish(values: Iterable[Any], unit: str = "") -> Any:
    """The last value that is not `Progress`; progress is shown on standard error where that is a terminal."""
    from core.progress import Progress

    answer, shown = None, False
    for value in values:
        if not isinstance(value, Progress):
            answer = value
        elif sys.stderr.isatty():
            count = _("{done:,} of {total:,}").format(done=value.done, total=value.total)
            sys.stderr.write(f"\r\x1b[K{count} {unit}".rstrip())
            sys.stderr.flush()
            shown = True
    if shown:
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()
    return answer
