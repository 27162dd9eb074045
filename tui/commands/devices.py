"""`tokenwalk devices`: where it can run."""

import json

from tui.commands.common import Json, exit_on_user_error, say


def devices(as_json: Json = False) -> None:
    """The devices that can be chosen, and why not where they cannot."""
    with exit_on_user_error():
        from dataclasses import asdict

        from core.engine.device import devices as find
        from tui.reports import general

        found = find()
        for each in [json.dumps(asdict(info)) for info in found] if as_json else general.device_lines(found):
            say(each)
