"""`tokenwalk devices`: the devices a model can run on."""

from tui.commands.common import Json, exit_on_user_error, say


def devices(as_json: Json = False) -> None:
    """List the devices a model can run on, and why others cannot be used."""
    with exit_on_user_error():
        from core.engine.device import devices as all_devices
        from tui.reports.choices import device_json, device_lines
        from tui.reports.json_values import json_line

        found = all_devices()
        for line in [json_line(device_json(info)) for info in found] if as_json else device_lines(found):
            say(line)
