"""Which requests are answered: those with the token, to this machine by its own name, and from no other page.

A page elsewhere can send requests to this machine, also under a name of its own that points here (DNS rebinding). It
knows no token; `Host` and `Origin`, which it cannot choose, tell it apart as well.
"""

import secrets
from collections.abc import Mapping

from core.language import N_, _

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""The names of this machine in a URL. The port may be another one, that of `ssh -L`."""

POLICY = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "font-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}
"""Headers of every answer. The terminal in the page writes style elements of its own, hence `unsafe-inline` there."""

NO_TOKEN = N_("this address is not complete; open the one that tokenwalk serve has printed")
NO_NAME = N_("this server answers to 127.0.0.1 and localhost only")
NO_ORIGIN = N_("another page may not use this server")


def new_token() -> str:
    """A random token: 32 bytes."""
    return secrets.token_urlsafe(32)


def refusal(headers: Mapping[str, str], given: str, token: str, *, needs_origin: bool) -> str | None:
    """One line that says why a request is refused; None where it is answered.

    `given` is the token of its URL. A websocket `needs_origin`; another request may come without one.
    """
    host = headers.get("Host", "")
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    if name.lower() not in LOOPBACK or not (port.isdecimal() or not colon or not port):
        return _(NO_NAME)
    origin = headers.get("Origin")
    if origin != f"http://{host}" and (origin is not None or needs_origin):
        return _(NO_ORIGIN)
    if not secrets.compare_digest(given.encode("utf-8", "replace"), token.encode()):
        return _(NO_TOKEN)
    return None
