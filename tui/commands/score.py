"""`tokenwalk score`: how well a model predicts a text, token by token."""

from pathlib import Path
from typing import Annotated

import typer

from core.errors import UserError
from tui.commands.common import Json, exit_on_user_error, finish, load_model, read_argument, say
from tui.options import ModelOptions, shared


@shared
def score(
    file: Annotated[str, typer.Argument(help="The text to score; - reads it from standard input.")],
    model: ModelOptions,
    as_json: Json = False,
) -> None:
    """Probability, rank and surprisal of each token of a text; perplexity and bits per byte."""
    with exit_on_user_error():
        text = read_argument("-") if file == "-" else _text_of(Path(file))
        if not text:
            raise UserError(f"{'standard input' if file == '-' else file} is empty; give a text of two tokens at least")
        loaded, ids = load_model(model, text)
        from core.evaluation.score import score as measure
        from tui.reports import score as report

        scored = finish(measure(loaded, ids), "tokens")
        for each in (report.json_lines if as_json else report.lines)(loaded.info, scored):
            say(each)


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text (its byte {error.start + 1} is none); convert it first") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} cannot be read: {reason}; name a text file, or - for standard input") from error
