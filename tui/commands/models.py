"""`tokenwalk models`: the models that can be chosen, and what an engine elsewhere can do."""

import importlib.util
from typing import Annotated

import typer

from core.errors import UserError
from core.language import _
from core.remote.address import address, is_address
from tui.commands.common import Json, exit_on_user_error, note, say
from tui.options import Engine, ServedModel, check_engine

SECONDS = 60.0
"""How long each answer of an engine is waited for."""


def models(
    url: Annotated[
        str, typer.Argument(metavar="[URL]", help="The address of an engine, such as http://host:8000.")
    ] = "",
    engine: Engine = "auto",
    served_model: ServedModel = "",
    as_json: Json = False,
) -> None:
    """List the models that --model takes, and why others cannot be used; with URL, what the engine there can do."""
    with exit_on_user_error():
        check_engine(url, engine, served_model)
        if url:
            _engine(url, engine, served_model, as_json)
        else:
            _offers(as_json)


def _offers(as_json: bool) -> None:
    from core.loading.catalog import offers
    from tui.reports.choices import model_json, model_lines
    from tui.reports.json_values import json_line

    found = offers()
    for line in [json_line(model_json(offer)) for offer in found] if as_json else model_lines(found):
        say(line)
    if importlib.util.find_spec("numba") is None:
        note(_("GGUF files, int8 and int4 run on a slow path: the package numba is not installed"))


def _engine(url: str, engine: str, served_model: str, as_json: bool) -> None:
    if not is_address(url):
        raise UserError(
            _("{url!r} is not the address of an engine; write http://host:port, or nothing for all models"), url=url
        )
    from core.remote.client import Limits
    from core.remote.engine import RemoteEngine
    from tui.reports.engine import engine_lines
    from tui.reports.json_values import json_line

    remote = RemoteEngine(address(url), engine, served_model, Limits(answer=SECONDS))
    try:
        found = remote.probe().result()
    finally:
        remote.close()
    for line in [json_line(found.as_json())] if as_json else engine_lines(remote.address.url, found):
        say(line)
