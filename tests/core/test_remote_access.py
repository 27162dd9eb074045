"""Addresses and keys: a key goes to the server it is meant for, and is never shown."""

import ssl
import subprocess
import threading
from pathlib import Path

import pytest
from engine_faults import status
from engine_servers import Body, Handler, Server, replay, serving
from remote_contract import IDS, connect

from core.errors import UserError
from core.remote.address import Address, address, is_address
from core.remote.client import Limits
from core.remote.engine import RemoteEngine

KEY = "sk-9f86d081884c7d65"


@pytest.mark.parametrize(
    ("url", "means"),
    [
        ("http://localhost:8123", "http://localhost:8123"),
        ("HTTP://Host:80/", "http://host:80"),
        ("https://host/v1/", "https://host"),
        ("https://host/team/v1", "https://host/team"),
        ("http://[::1]:8123", "http://[::1]:8123"),
        ("http://user:pw@host:1", "http://host:1"),
    ],
)
def test_an_address_is_read(url: str, means: str) -> None:
    assert is_address(url) and address(url).url == means


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "http://:80",
        "http://host:port",
        "http://host:99999",
        "http://a b",
        "http://host/\x1b[2J",
        "http://host?x=1",
        "http://host#x",
        "ftp://host",
        "http://[::1",
        "http://user:hunter2@",
        "http://user:hunter2@host:x",
    ],
)
def test_what_is_no_address_is_refused_in_one_line_without_a_password(url: str) -> None:
    with pytest.raises(UserError) as caught:
        address(url)
    assert "http://host:port" in str(caught.value)
    assert str(caught.value).isprintable() and "hunter2" not in str(caught.value)


@pytest.mark.parametrize("key", ["a b", "a\nX-Header: b", "ké", "\x00"])
def test_a_key_that_cannot_stand_in_a_header_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(UserError) as caught:
        address("http://host", key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("where", [address("http://host", KEY), address(f"http://user:{KEY}@host")])
def test_a_key_is_not_in_what_python_shows(where: Address) -> None:
    engine = RemoteEngine(where)
    assert KEY not in f"{where!r} {where} {engine!r} {engine.address!r}"
    assert where == address("http://host")


def test_each_request_has_the_key_and_no_error_shows_it() -> None:
    """A server may repeat what it was sent."""
    with serving(replay("vllm_top20")) as server:
        engine = RemoteEngine(address(server.url, KEY), limits=Limits(attempts=1))
        engine.probe().result(10)
        assert {headers["Authorization"] for _, _, headers in server.seen} == {f"Bearer {KEY}"}
        for code in (401, 500, 200):
            answer = status(code, f'{{"error": "Bearer {KEY} is wrong"}}'.encode())
            server.respond = lambda path, body, handler, answer=answer: answer(handler)
            with pytest.raises(UserError, match="is wrong") as caught:
                engine.next(IDS, 5).result(10)
            assert KEY not in str(caught.value)
        engine.close()


def test_a_password_of_an_address_is_sent_as_basic_access() -> None:
    with serving(replay("vllm_top20")) as server:
        engine = connect(server.url.replace("http://", "http://user:p%40ss@"))
        assert {headers["Authorization"] for _, _, headers in server.seen} == {"Basic dXNlcjpwQHNz"}
        engine.close()


def test_a_key_does_not_follow_a_redirect() -> None:
    with serving(replay("vllm_top20")) as other:

        def moved(path: str, body: Body, handler: Handler) -> None:
            handler.send(302, b"", Location=f"{other.url}{path}")

        with serving(moved) as server:
            engine = RemoteEngine(address(server.url, KEY))
            with pytest.raises(UserError, match="redirects"):
                engine.probe().result(10)
            engine.close()
        assert other.seen == []


def test_a_host_that_does_not_exist_and_a_closed_port_are_one_line() -> None:
    with serving(replay("vllm_top20")) as server:
        closed = server.url
    for url, says in ((closed, "connection refused"), ("http://does-not-exist.invalid:80", "no such host")):
        engine = RemoteEngine(address(url))
        with pytest.raises(UserError, match=says):
            engine.probe().result(10)
        engine.close()


def test_a_certificate_that_nobody_signed_is_refused(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost"]
    subprocess.run([*made, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    server = Server(replay("vllm_top20"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    engine = RemoteEngine(address(f"https://127.0.0.1:{server.server_port}", KEY))
    with pytest.raises(UserError, match=r"TLS connection failed .*certificate"):
        engine.probe().result(10)
    engine.close()
    server.shutdown()
    server.server_close()
    assert server.seen == []


def test_tls_with_a_server_that_speaks_none_is_one_line() -> None:
    with serving(replay("vllm_top20")) as server:
        engine = RemoteEngine(address(server.url.replace("http:", "https:")), limits=Limits(connect=1))
        with pytest.raises(UserError, match="TLS"):
            engine.probe().result(10)
        engine.close()
