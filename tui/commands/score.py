"""`tokenwalk score`: how well a model predicts a text, token by token."""

from pathlib import Path
from typing import Annotated

import typer

from core.bounded import read_file
from core.errors import UserError
from core.language import _
from tui.commands.common import Json, decode_utf8, exit_on_user_error, finish, load_model, note, read_argument, say
from tui.options import ModelOptions, shared

BYTE_ORDER_MARK = "\ufeff"
"""Some editors begin a file with it; it is not part of the text."""


@shared
def score(
    file: Annotated[str, typer.Argument(help="The text file to score; - reads standard input.")],
    model: ModelOptions,
    as_json: Json = False,
) -> None:
    """Measure how well a model predicts a text: surprisal of each token, perplexity, bits per byte."""
    with exit_on_user_error():
        text = read_argument("-") if file == "-" else _read_file(Path(file))
        source = _("standard input") if file == "-" else file
        if text.startswith(BYTE_ORDER_MARK):
            note(_("{source} begins with a byte-order mark, which is not scored").format(source=source))
            text = text.removeprefix(BYTE_ORDER_MARK)
        if not text:
            raise UserError(_("{source} is empty; give a text of at least two tokens"), source=source)
        loaded, ids = load_model(model, text)
        from core.evaluation.score import score as measure
        from tui.reports.score import score_json, score_lines

        scored = finish(measure(loaded, ids, None if model.chat else text), _("tokens"))
        for line in (score_json if as_json else score_lines)(loaded.info, scored):
            say(line)


def _read_file(path: Path) -> str:
    """The text of a file. Raises `UserError` where it cannot be read or is not UTF-8."""
    try:
        content = read_file(path)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            _("{path} cannot be read: {reason}; name a text file, or - for standard input"), path=path, reason=reason
        ) from error
    return decode_utf8(content, str(path))
