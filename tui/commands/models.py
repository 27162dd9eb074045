"""`tokenwalk models`: the models that can be chosen."""

import importlib.util
import sys

from tui.commands.common import Json, say


def models(as_json: Json = False) -> None:
    """List the models that --model takes, and why others cannot be used."""
    from core.loading.catalog import offers
    from tui.reports.choices import model_json, model_lines
    from tui.reports.json_values import json_line

    found = offers()
    for line in [json_line(model_json(offer)) for offer in found] if as_json else model_lines(found):
        say(line)
    if importlib.util.find_spec("numba") is None:
        sys.stderr.write(
            "tokenwalk: GGUF files, int8 and int4 run on a slow path: the package numba is not installed\n"
        )
