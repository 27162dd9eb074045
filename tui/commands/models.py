"""`tokenwalk models`: the models that can be chosen, all about one of them, and what an engine elsewhere can do."""

import importlib.util
import re
from typing import Annotated

import typer

from core.errors import Option, UserError
from core.language import _
from core.remote.address import address, is_address
from tui.commands.common import Json, exit_on_user_error, load_model, note, say
from tui.options import Device, Dtype, Engine, Lora, ModelOptions, ServedModel, check_engine

HOST_AND_PORT = re.compile(r"[\w.-]+:\d+")
"""What is meant as an address and lacks its scheme, which its error asks for."""
SECONDS = 60.0
"""How long each answer of an engine is waited for."""


def models(
    model: Annotated[
        str,
        typer.Argument(
            metavar="[MODEL]",
            help="A model as --model takes it, or the address of an engine, such as http://host:8000.",
        ),
    ] = "",
    engine: Engine = "auto",
    served_model: ServedModel = "",
    device: Device = "auto",
    dtype: Dtype = "auto",
    lora: Lora = None,
    as_json: Json = False,
) -> None:
    """List the models that --model takes, and why others cannot be used.

    With MODEL, load it and tell all about it; with the address of an engine, tell what that can do.
    """
    with exit_on_user_error():
        check_engine(model, engine, served_model)
        options = ModelOptions(model=model, device=device, dtype=dtype, lora=lora)
        if is_address(model) or HOST_AND_PORT.fullmatch(model):
            _engine(model, engine, served_model, as_json)
        elif model:
            _details(options, as_json)
        elif options != ModelOptions(model=model):
            raise UserError(
                _("{device}, {dtype} and {lora} belong to one model; name it"),
                device=Option("device"),
                dtype=Option("dtype"),
                lora=Option("lora"),
            )
        else:
            _offers(as_json)


def _details(options: ModelOptions, as_json: bool) -> None:
    loaded, _ids = load_model(options, "")
    from core.loading.details import details
    from tui.reports.json_values import json_line
    from tui.reports.model_details import model_details_json, model_details_lines

    found = details(loaded)
    for line in [json_line(model_details_json(found))] if as_json else model_details_lines(found):
        say(line)


def _offers(as_json: bool) -> None:
    from core.loading.listing import offers
    from tui.reports.choices import model_json, model_lines
    from tui.reports.json_values import json_line

    found = offers()
    for line in [json_line(model_json(offer)) for offer in found] if as_json else model_lines(found):
        say(line)
    if importlib.util.find_spec("numba") is None:
        note(_("GGUF files, int8 and int4 run on a slow path: the package numba is not installed"))


def _engine(url: str, engine: str, served_model: str, as_json: bool) -> None:
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
