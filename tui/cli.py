"""The command line: its commands and exit codes. torch and Textual are imported by the commands that need them."""

import sys
from collections.abc import Collection
from importlib.metadata import version as installed_version
from typing import Annotated

import typer

from core.errors import UserError
from core.language import _
from core.remote import keys
from tui import config_file, languages
from tui.commands import (
    bench,
    compare,
    devices,
    export,
    follow,
    generate,
    learn,
    lens,
    models,
    next_token,
    replay,
    score,
    search,
    serve,
    tokens,
    train,
    walk,
    world,
)
from tui.commands.common import note, say, unwritable_output
from tui.commands.help import APP, Command, Commands, translated_problem, use_parser_texts
from tui.wording import spell_without_keys

INTERRUPTED = 130
"""The exit code for ctrl+c."""

app = typer.Typer(
    cls=Commands,
    help="See a language model think, one token at a time.",
    no_args_is_help=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        say(f"tokenwalk {installed_version('tokenwalk')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """See a language model think, one token at a time."""


for name, command in (
    (APP, walk.walk),
    ("generate", generate.generate),
    ("next", next_token.next_token),
    ("tokens", tokens.tokens),
    ("follow", follow.follow),
    ("search", search.search),
    ("lens", lens.lens),
    ("learn", learn.learn),
    ("score", score.score),
    ("compare", compare.compare),
    ("train", train.train),
    ("world", world.world),
    ("bench", bench.bench),
    ("models", models.models),
    ("devices", devices.devices),
    ("replay", replay.replay),
    ("export", export.export),
    ("serve", serve.serve),
):
    app.command(name, cls=Command)(command)


def main(closed: Collection[str] = ()) -> None:
    """Run a command. Exit codes: 0, 130 for ctrl+c, 2 for a `UserError`, wrong options or unwritable output.

    `closed` names the standard streams that were closed when the program began.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a terminal that is not UTF-8
    try:
        arguments = languages.choose(sys.argv[1:])
    except UserError as error:
        note(spell_without_keys(error))
        sys.exit(2)
    if "stdout" in closed:
        note(_("standard output is closed, so nothing can be printed; open it, such as with > FILE"))
        sys.exit(2)
    use_parser_texts()
    keys.use(config_file.engine_keys)
    try:
        code = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except OSError as error:
        if (problem := unwritable_output(error)) is None:
            raise
        note(problem)
        code = 2
    except Exception as error:
        if (message := getattr(error, "format_message", None)) is None:
            raise
        problem = translated_problem(" ".join(message().split())).rstrip(".")
        sys.stderr.write(_("tokenwalk: {problem}; tokenwalk --help lists commands and options").format(problem=problem))
        sys.stderr.write("\n")
        code = 2
    sys.exit(code)
