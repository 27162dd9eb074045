"""What went wrong between here and an engine, as one line each; text of a server in it is quoted and shortened."""

import os
import re
import socket
import ssl
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
import msgspec

from core.errors import UserError
from core.formats.text import shown
from core.language import _
from core.remote.address import Address
from core.remote.engines.api import Request

LONGEST = 200
"""Characters of a server's own words in an error."""


class Refused(UserError):
    """A status other than 200. `status` is its number, `words` what the server says of it, on one line."""

    def __init__(self, line: str, status: int, words: str) -> None:
        super().__init__(line)
        self.status, self.words = status, words


class Retry(Exception):
    """A failure that may be over in a moment; `error` is what to say if it is not."""

    def __init__(self, error: UserError, after: float | None = None) -> None:
        super().__init__(str(error))
        self.error, self.after = error, after


def transport_error(address: Address, error: Exception, *, began: bool) -> UserError | Retry:
    """The error for a connection that failed; a `Retry` where it broke before any answer."""
    reason = address.hide(_reason(error))
    match error:
        case httpx2.ConnectTimeout():
            tls = _(", and that the server speaks TLS") if address.url.startswith("https") else ""
            return UserError(
                _("{address} did not accept the connection in time; check the address{tls}"), address=address, tls=tls
            )
        case httpx2.ConnectError() if _is_tls(error):
            return UserError(
                _(
                    "{address}: the TLS connection failed ({reason}); check the certificate, and whether the address "
                    "begins with http or https"
                ),
                address=address,
                reason=reason,
            )
        case httpx2.ConnectError():
            return UserError(
                _("{address} cannot be reached ({reason}); check the address, and that the engine runs"),
                address=address,
                reason=reason,
            )
        case httpx2.TimeoutException():
            return UserError(
                _("{address} gave no answer in time; check the engine, or ask for fewer tokens"), address=address
            )
        case httpx2.ProxyError() | httpx2.UnsupportedProtocol():
            return UserError(
                _("{address} cannot be reached through the proxy ({reason}); check HTTP_PROXY and NO_PROXY"),
                address=address,
                reason=reason,
            )
        case httpx2.DecodingError():
            return UserError(
                _("{address} sent an answer that cannot be decompressed ({reason}); check the proxy in front of it"),
                address=address,
                reason=reason,
            )
    cut = UserError(
        _("{address} cut the connection ({reason}); check the engine's log, then try again"),
        address=address,
        reason=reason,
    )
    return cut if began else Retry(cut)


def too_slow(address: Address, seconds: float) -> UserError:
    """The error for an answer that began and did not end."""
    return UserError(
        _("{address} began an answer and did not end it in {seconds:g} s; check the engine and the network"),
        address=address,
        seconds=seconds,
    )


def too_large(address: Address, limit: int) -> UserError:
    """The error for an answer that is longer than any engine's."""
    return UserError(
        _("{address} sent more than {limit:,} bytes as one answer; check that it is an engine"),
        address=address,
        limit=limit,
    )


def status_error(
    address: Address, request: Request, status: int, headers: Mapping[str, str], body: bytes
) -> UserError | Retry:
    """The error for an HTTP status other than 200; a `Retry` where the server is busy or loads its model."""
    words = address.hide(words_of(body))
    said = f": {words}" if words else ""

    def refused(line: str) -> Refused:
        return Refused(line, status, words)

    if 300 <= status < 400:
        target = shown(address.hide(headers.get("location", "")))
        return refused(
            _("{address} redirects to {target}, and redirects are not followed; give that address").format(
                address=address, target=target
            )
        )
    match status:
        case 401 | 403 | 407:
            return refused(
                _(
                    "{address} refuses access (HTTP {status}{said}); set TOKENWALK_API_KEY, or its key in config.toml"
                ).format(address=address, status=status, said=said)
            )
        case 404 | 405:
            return refused(
                _("{address} has no {path} (HTTP {status}{said}); check the address and the engine").format(
                    address=address, path=request.path, status=status, said=said
                )
            )
        case 429:
            error = refused(
                _("{address} is asked too often (HTTP 429{said}); wait, or ask for less at a time").format(
                    address=address, said=said
                )
            )
            return Retry(error, _retry_after(headers))
        case 503:
            error = refused(
                _("{address} is not ready (HTTP 503{said}); wait until it has loaded its model").format(
                    address=address, said=said
                )
            )
            return Retry(error, _retry_after(headers))
        case 502 | 504:
            error = refused(
                _("{address}: the proxy does not reach the engine (HTTP {status}{said}); check the engine").format(
                    address=address, status=status, said=said
                )
            )
            return Retry(error, _retry_after(headers))
    text = (
        _("{address} failed (HTTP {status}{said}); check the engine's log")
        if status >= 500
        else _("{address} refuses the request (HTTP {status}{said}); check the engine's log")
    )
    return refused(text.format(address=address, status=status, said=said))


def _reason(error: BaseException) -> str:
    """The innermost cause that has words, in the system's words where it has a number."""
    words = str(error)
    while inner := error.__cause__ or error.__context__:
        error = inner
        words = str(error) or words
    if isinstance(error, socket.gaierror):
        words = _("no such host") if error.errno == socket.EAI_NONAME else error.strerror or words
    elif isinstance(error, OSError) and not isinstance(error, ssl.SSLError) and error.errno:
        words = os.strerror(error.errno).lower()
    return readable(words) or type(error).__name__


def readable(words: str) -> str:
    """A server's words as a part of one line: control characters out, shortened."""
    line = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    return line if len(line) <= LONGEST else line[: LONGEST - 1] + "…"


def _is_tls(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLError):
            return True
        error = error.__cause__ or error.__context__
    return False


def message(body: bytes) -> str:
    """What an engine says of a refusal, from the JSON forms they use; empty where there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
    for key in ("error", "detail", "message"):
        if isinstance(value, dict) and key in value:
            value = value[key]
    return value if isinstance(value, str) else ""


def words_of(body: bytes) -> str:
    """What a server says of an error, on one line; empty where it says nothing that can be read."""
    if words := readable(message(body)):
        return words
    return _("a page of HTML, as a proxy sends it") if re.match(rb"\s*<", body) else ""


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that a server asks to wait; None where it does not, or where the value is no time."""
    value = headers.get("retry-after", "")
    try:
        if re.fullmatch(r"\d{1,9}", value):
            return float(value)
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None
