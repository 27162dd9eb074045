"""Where an engine is, and the key for it, which is never shown."""

from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from core.errors import UserError
from core.formats.text import shown
from core.language import _
from core.remote import keys

SCHEMES = ("http", "https")
ENGINES = ("auto", "vllm", "llama", "sglang", "openai")
"""The names of engines; auto asks the server."""


def is_address(name: str) -> bool:
    """Whether the name of a model is the address of an engine."""
    return name.lower().startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class Address:
    """A server. `repr` and `str` do not show the key."""

    url: str
    """`http://host:port/path`, without a slash at the end, a user or a password."""
    headers: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """What proves to this server, and to no other, that a request is allowed."""

    secrets: tuple[str, ...] = field(default=(), repr=False, compare=False)
    """The key or the password, as `hide` takes them out of a text."""

    def __str__(self) -> str:
        return self.url

    def hide(self, text: str) -> str:
        """`text` of a server, which may repeat what was sent to it, without the secrets."""
        for secret in self.secrets:
            text = text.replace(secret, "…")
        return text

    @property
    def host(self) -> str:
        """`host:port`, by which settings hold a key."""
        return host_of(self.url)


def address(url: str, key: str | None = None) -> Address:
    """The address that `url` means. A user and a password in it become a header, as `key` does.

    `key` None is that of the settings or the environment for this host, where `url` has no user.

    Raises `UserError` for what is not an address of HTTP, and for a key that cannot stand in a header.
    """
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise _invalid(url) from None
    host = parts.hostname
    if parts.scheme.lower() not in SCHEMES or not host or not _plain(host + parts.path):
        raise _invalid(url)
    if parts.query or parts.fragment:
        raise UserError(
            _("{url}: the address of an engine must not hold ? or #; write http://host:port"), url=_shown(url)
        )
    name = f"[{host}]" if ":" in host else host
    path = parts.path.rstrip("/").removesuffix("/v1")
    where = f"{parts.scheme.lower()}://{name}{'' if port is None else f':{port}'}{path}"
    if key is None:
        key = "" if parts.username is not None else keys.find(host_of(where))
    return Address(where, *_access(parts.username, parts.password, key))


def _access(user: str | None, password: str | None, key: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The headers that a server asks for, and what in them is secret."""
    if key:
        if not (_plain(key) and key.isascii()):
            raise UserError(
                _("the API key for the engine has characters that an HTTP header cannot hold; copy it again")
            )
        return {"Authorization": f"Bearer {key}"}, (key,)
    if user is None and password is None:
        return {}, ()
    name, word = unquote(user or ""), unquote(password or "")
    pair = b64encode(f"{name}:{word}".encode()).decode()
    return {"Authorization": f"Basic {pair}"}, tuple(filter(None, (pair, word, password)))


def host_of(url: str) -> str:
    """`host:port` of an address; the port of the scheme where it names none."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme.lower() == "https" else 80)
    return f"{parts.hostname}:{port}"


def _plain(text: str) -> bool:
    return all(character.isprintable() and not character.isspace() for character in text)


def _shown(url: str) -> str:
    """The address for an error, without what may be a password."""
    scheme, separator, rest = url.partition("://")
    return shown(f"{scheme}{separator}{rest.rpartition('@')[2]}" if separator else rest or scheme)


def _invalid(url: str) -> UserError:
    return UserError(
        _("{url} is not the address of an engine; write http://host:port or https://host:port"), url=_shown(url)
    )
