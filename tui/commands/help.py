"""Help texts and the messages of the command line's parser in the language that is spoken."""

import gettext
import os
import re
from typing import Any

from typer.core import TyperCommand, TyperGroup, TyperOption

from core import language
from core.language import N_, _
from tui.commands.examples import EXAMPLES
from tui.languages import OPTION

APP = "walk"
"""The command that runs where the first argument names none."""
EXAMPLE = N_("Example: {example}")
WAYS_IN = N_("tokenwalk [PROMPT] opens the app. tokenwalk COMMAND --help explains a command.")
LANGUAGE = N_("The language: {languages}. Default: TOKENWALK_LANG, language in config.toml, or the locale.")
USAGE = N_("Usage: ")
PARSER = (
    N_("Arguments"),
    N_("Options"),
    N_("Commands"),
    N_("required"),
    N_("default: {default}"),
    N_("Show this message and exit."),
    N_("No such command {name!r}."),
)
"""What the parser itself writes in help texts, which it looks up by gettext."""
PROBLEMS = (
    N_("No such option: {option} (Possible options: {options})"),
    N_("No such option: {option}"),
    N_("Missing argument {argument}."),
    N_("Missing option {option}."),
    N_("Missing parameter: {parameter}"),
    N_("Invalid value for {parameter}: {problem}"),
    N_("Got unexpected extra argument(s) ({arguments})"),
    N_("Option {option} requires an argument."),
    N_("Option {option} does not take a value."),
    N_("{value} is not a valid {kind}."),
    N_("{value} is not in the range {range}."),
    N_("int"),
    N_("int range"),
    N_("float"),
    N_("float range"),
)
"""What the parser says of wrong arguments, the first that fits."""
_FIELD = re.compile(r"\\\{\w+\\\}")


class _Help:
    """The parts of help that the parser writes in English."""

    collect_usage_pieces: Any

    def format_usage(self, ctx: Any, formatter: Any) -> None:
        formatter.write_usage(ctx.command_path, " ".join(self.collect_usage_pieces(ctx)), _(USAGE))

    def get_params(self, ctx: Any) -> list[Any]:
        """The options with their help in the language that is spoken, also those that the parser adds."""
        params: list[Any] = super().get_params(ctx)  # type: ignore[misc]  # of the class beside it
        for each in params:
            if each.help:
                each.help = _(each.help)
        return params


class Command(_Help, TyperCommand):
    """A command whose help is translated."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        _finish(self, _(EXAMPLE).format(example=EXAMPLES[str(self.name)]))


class Commands(_Help, TyperGroup):
    """Treats a first argument that names no command as the prompt of the app."""

    def __init__(self, *args: Any, **values: Any) -> None:
        super().__init__(*args, **values)
        _finish(self, f"{_(WAYS_IN)} {_(EXAMPLE).format(example=EXAMPLES[APP])}")

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        own = {name for parameter in self.get_params(ctx) for name in (*parameter.opts, *parameter.secondary_opts)}
        if not args or (args[0] not in self.commands and args[0].partition("=")[0] not in own):
            args = [APP, *args]
        return super().parse_args(ctx, args)


def use_parser_texts() -> None:
    """Let the parser find its own texts in the catalogue of the language that is spoken."""
    if language.spoken() != language.ENGLISH:
        os.environ["LANGUAGE"] = language.spoken()
        gettext.bindtextdomain(language.DOMAIN, str(language.FOLDER))
        gettext.textdomain(language.DOMAIN)


def translated_problem(message: str) -> str:
    """What the parser says of wrong arguments, in the language that is spoken."""
    if language.spoken() == language.ENGLISH:
        return message
    for template in PROBLEMS:
        pattern = re.escape(template)
        names = re.findall(r"\{(\w+)\}", template)
        found = re.fullmatch(_FIELD.sub("(.+)", pattern), message, re.DOTALL)
        if found:
            parts = map(translated_problem, found.groups())
            return _(template).format(**dict(zip(names, parts, strict=True)))
    return message


def _finish(command: Any, epilog: str) -> None:
    """Give a command its last lines and `--lang`, and translate its texts."""
    # `languages.choose` takes the value out of the arguments before they are parsed; here the option is listed
    asked = TyperOption(param_decls=[OPTION], expose_value=False, metavar="LANGUAGE")
    command.params.append(asked)
    command.help, command.epilog = _(command.help), epilog
    asked.help = _(LANGUAGE).format(languages=", ".join(language.languages()))
