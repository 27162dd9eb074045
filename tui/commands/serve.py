"""`tokenwalk serve`: the app in a browser on this machine."""

import errno
import inspect
import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from core.errors import Option, UserError
from core.language import _
from tui.commands.common import exit_on_user_error, note, say
from tui.commands.follow import ADDRESS, feed_of
from tui.commands.opening import Opening, opening
from tui.commands.walk import walk
from tui.options import ModelOptions, SamplerOptions

if TYPE_CHECKING:
    import asyncio

    from tui.serve.server import Limits, Server

LOOPBACK = ("127.0.0.1", "::1", "localhost")
PROCESS_BYTES = 400_000_000
"""What a viewer's process takes beside the weights of its model; see tests/benchmarks/README.md."""
FOLLOWING_BYTES = 120_000_000
"""What the process of a viewer takes that follows, and loads no model."""
LONGEST = 100_000
"""Bytes of a prompt at most: it is an argument of each viewer's process."""


def with_options_of_the_app(command: Callable[..., None]) -> Callable[..., None]:
    """Add the app's arguments and options to those of `command`, which takes their values as `app`."""
    own = {name: each for name, each in inspect.signature(command).parameters.items() if name != "app"}
    hints = get_type_hints(command, include_extras=True)
    parameters = [
        *inspect.signature(walk).parameters.values(),
        *(each.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY) for name, each in own.items()),
    ]

    def run(**values: Any) -> None:
        command(**{name: values.pop(name) for name in own}, app=values)

    run.__name__, run.__doc__ = command.__name__, command.__doc__
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


@with_options_of_the_app
def serve(
    call: typer.Context,
    app: Mapping[str, Any],
    port: Annotated[int, typer.Option(help="The port to listen on; 0 takes a free one.", min=0, max=65535)] = 8321,
    viewers: Annotated[int, typer.Option(help="How many browser pages may be open at once.", min=1, max=64)] = 4,
    idle: Annotated[
        int, typer.Option(help="Minutes without a key after which a page's app is ended; 0 never ends it.", min=0)
    ] = 60,
    follow: Annotated[
        bool,
        typer.Option(
            "--follow",
            help="Each page follows the shared walk, or the one at the address given as PROMPT; see tokenwalk follow.",
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="127.0.0.1, ::1 or localhost; no other machine can connect.")] = LOOPBACK[0],
) -> None:
    """Serve the app to browsers on this machine, a process for each page. It takes the options of the app."""
    with exit_on_user_error():
        if host not in LOOPBACK:
            raise UserError(
                _(
                    "{option} must be {allowed}, not {host!r}: whoever can connect can read and write your files; "
                    "from another machine use ssh -L {port}:127.0.0.1:{port}"
                ),
                option=Option("host"),
                allowed=", ".join(LOOPBACK),
                host=host,
                port=port,
            )
        import asyncio

        from core.loading.sizes import weights_bytes
        from tui.serve.access import new_token
        from tui.serve.server import Limits, Server
        from tui.serve.viewer import program

        seconds, token = 60.0 * idle or None, new_token()
        if follow:
            feed_of(app["prompt"])
            limits = Limits(viewers, seconds, FOLLOWING_BYTES)
            os.environ[ADDRESS] = app["prompt"]
            command, memory = program([], "follow"), _memory_line(_("no model"), limits, 0.0)
        else:
            first = _checked(app)
            weights = weights_bytes(first.choice)
            limits = Limits(viewers, seconds, int(PROCESS_BYTES + (weights or 0)))
            command = program([*_passed_on(call, app), "--", first.text])
            memory = _memory_line(first.choice.name, limits, weights)
        code = asyncio.run(_run(Server(command, limits, token), host, port, token, memory))
    raise typer.Exit(code)


def _checked(app: Mapping[str, Any]) -> Opening:
    """What each viewer opens with. Raises `UserError` now for what none could open."""
    model = ModelOptions(**{field.name: app[field.name] for field in fields(ModelOptions)})
    sampler = SamplerOptions(**{field.name: app[field.name] for field in fields(SamplerOptions)})
    first = opening(model, sampler, app["prompt"], resume=app["resume"])
    if app["plain"]:
        raise UserError(_("{plain} is for a terminal; leave it out, or leave out serve"), plain=Option("plain"))
    if "\0" in first.text or len(first.text.encode()) > LONGEST:
        raise UserError(
            _("a prompt for the browser has at most {most:,} bytes and no NUL; open the page, and paste it there"),
            most=LONGEST,
        )
    return first


def _passed_on(call: typer.Context, app: Mapping[str, Any]) -> Iterator[str]:
    """The options of the app that were given, as arguments of a process."""
    for parameter in call.command.params:
        name = parameter.name or ""
        source = call.get_parameter_source(name)
        if name not in app or name == "prompt" or source is None or source.name.startswith("DEFAULT"):
            continue
        option, value = max(parameter.opts, key=len), app[name]
        for each in value if isinstance(value, list | tuple) else [value]:
            yield option
            if not isinstance(each, bool):
                yield str(each)


def _memory_line(model: str, limits: "Limits", weights: float | None) -> str:
    """What the viewers need together, in one line."""
    from core.engine import memory

    left = memory.available()
    text = _(
        "up to {count} pages, a process for each: about {needed:.1f} GB with {model}, {all:.1f} GB together"
    ).format(
        count=limits.viewers,
        needed=limits.memory_bytes / 1e9,
        model=model,
        all=limits.viewers * limits.memory_bytes / 1e9,
    )
    if weights is None:
        text += _(" (the size of its weights is known after the download)")
    return text if left is None else text + _("; {left:.1f} GB are left").format(left=left / 1e9)


async def _run(server: "Server", host: str, port: int, token: str, memory: str) -> int:
    """Serve until a signal comes; the exit code. Raises `UserError` where the port cannot be had."""
    import asyncio

    from aiohttp import web

    runner = web.AppRunner(server.application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    for number in (each for each in signal.Signals if each.name in ("SIGINT", "SIGTERM", "SIGHUP")):
        with suppress(NotImplementedError):  # on Windows
            asyncio.get_running_loop().add_signal_handler(number, _end, ended, number)
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            raise _port_problem(error, port) from error
        name = f"[{host}]" if ":" in host else host
        note(memory)
        say(f"http://{name}:{runner.addresses[0][1]}/{token}/")
        return await ended
    finally:
        await runner.cleanup()


def _end(ended: "asyncio.Future[int]", number: signal.Signals) -> None:
    """A second signal does not wait for walks that are being saved."""
    if ended.done():
        os._exit(128 + number)
    ended.set_result(128 + number)


def _port_problem(error: OSError, port: int) -> UserError:
    reason = (
        _("is in use")
        if error.errno == errno.EADDRINUSE
        else _("cannot be used: {reason}").format(reason=os.strerror(error.errno or 0))
    )
    return UserError(
        _("port {port} {reason}; choose another one with {option}, or 0 for a free one"),
        port=port,
        reason=reason,
        option=Option("port"),
    )
