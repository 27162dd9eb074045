"""`tokenwalk models`: what can be chosen."""

import json

from tui.commands.common import Json, say


def models(as_json: Json = False) -> None:
    """The models that can be chosen, and why not where they cannot."""
    from dataclasses import asdict

    from core.loading.catalog import offers
    from tui.reports import general

    found = offers()
    for each in [json.dumps(asdict(offer)) for offer in found] if as_json else general.model_lines(found):
        say(each)
