"""Requests on their way: many at once, cancelled, tried again; a server that changes while it is used."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError

import pytest
from engine_faults import status
from engine_servers import Body, Handler, Server, replay, serving
from remote_contract import IDS, connect

from core.errors import UserError
from core.remote.address import address
from core.remote.engine import RemoteEngine

BUSY = status(503, b'{"error": {"message": "Loading model"}}')


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[RemoteEngine, Server]]:
    with serving(replay("vllm_top20")) as server:
        engine = connect(server.url, longest_pause=0.3)
        yield engine, server
        engine.close()


@pytest.fixture
def engine(running: tuple[RemoteEngine, Server]) -> Iterator[RemoteEngine]:
    """The engine on a server that is as it was before after each test."""
    remote, server = running
    healthy = server.respond
    yield remote
    server.respond = healthy


@pytest.fixture
def server(running: tuple[RemoteEngine, Server], engine: RemoteEngine) -> Server:
    running[1].seen.clear()
    return running[1]


def changed(server: Server, change: Callable[[dict[str, object]], None]) -> None:
    """From now on each answer of the server is changed before it is sent."""
    healthy = server.respond

    def respond(path: str, body: Body, handler: Handler) -> None:
        send = handler.send

        def sent(code: int, answer: bytes, **headers: str) -> None:
            values = json.loads(answer)
            change(values)
            send(code, json.dumps(values).encode(), **headers)

        handler.send = sent  # type: ignore[method-assign]
        healthy(path, body, handler)
        del handler.send

    server.respond = respond


def test_requests_are_on_their_way_at_once_over_kept_connections(engine: RemoteEngine, server: Server) -> None:
    meeting = threading.Barrier(4, timeout=5)
    healthy = server.respond

    def together(path: str, body: Body, handler: Handler) -> None:
        meeting.wait()
        healthy(path, body, handler)

    server.respond = together
    pending = [engine.next(IDS, 5) for _ in range(8)]
    assert len({one.result(10).logprobs.tobytes() for one in pending}) == 1
    assert len(server.seen) == 8


def test_a_cancelled_request_closes_its_connection(engine: RemoteEngine, server: Server) -> None:
    arrived, gone = threading.Event(), threading.Event()

    def wait(path: str, body: Body, handler: Handler) -> None:
        arrived.set()
        handler.connection.settimeout(5)
        if handler.connection.recv(1) == b"":
            gone.set()
        handler.close_connection = True

    server.respond = wait
    pending = engine.next(IDS, 5)
    assert arrived.wait(5) and not pending.done
    pending.cancel()
    assert gone.wait(5)
    assert pending.wait(5) and pending.done
    with pytest.raises(CancelledError):
        pending.result()


def test_waiting_has_a_limit_and_the_request_goes_on(engine: RemoteEngine, server: Server) -> None:
    healthy, go = server.respond, threading.Event()

    def slow(path: str, body: Body, handler: Handler) -> None:
        go.wait(5)
        healthy(path, body, handler)

    server.respond = slow
    pending, called = engine.next(IDS, 5), threading.Event()
    pending.on_done(called.set)
    assert not pending.wait(0.01)
    with pytest.raises(TimeoutError):
        pending.result(0.01)
    go.set()
    assert len(pending.result(5).ids) == 5 and called.wait(5)


@pytest.mark.parametrize("times", [1, 3])
def test_a_server_that_is_busy_for_a_moment_is_asked_again(engine: RemoteEngine, server: Server, times: int) -> None:
    healthy, left = server.respond, [BUSY] * times
    server.respond = lambda path, body, handler: left.pop()(handler) if left else healthy(path, body, handler)
    assert len(engine.next(IDS, 5).result(10).ids) == 5
    assert len(server.seen) == times + 1


def test_retry_after_is_waited_for(engine: RemoteEngine, server: Server) -> None:
    healthy, left = server.respond, [status(429, b"", Retry_After="0")]
    server.respond = lambda path, body, handler: left.pop()(handler) if left else healthy(path, body, handler)
    began = time.perf_counter()
    engine.next(IDS, 5).result(10)
    assert time.perf_counter() - began < 0.25  # the pause is 0.25 s where the server asks for none


def test_a_request_that_is_refused_is_not_sent_again(engine: RemoteEngine, server: Server) -> None:
    server.respond = lambda path, body, handler: status(400)(handler)
    with pytest.raises(UserError):
        engine.next(IDS, 5).result(10)
    assert len(server.seen) == 1


def test_another_model_under_the_same_address_is_named(engine: RemoteEngine, server: Server) -> None:
    engine.next(IDS, 5).result(10)
    changed(server, lambda values: values.update(model="other\x1b[2J"))
    with pytest.raises(UserError, match=r"serves 'other\\x1b\[2J' now, but served smollm2 before"):
        engine.next(IDS, 5).result(10)


def test_tokens_that_the_engine_adds_or_cuts_are_noticed(engine: RemoteEngine, server: Server) -> None:
    changed(server, lambda values: values["usage"].update(prompt_tokens=6))  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="read 6 tokens, but 5 were sent"):
        engine.next(IDS, 5).result(10)


def test_an_engine_without_prompt_scores_is_asked_for_each_position() -> None:
    with serving(replay("llama")) as server:
        engine = connect(server.url)
        ids = engine.tokenize("Monday, Tuesday, Wednesday, Thursday, Friday, Saturday").result(10)
        before = len(server.seen)
        scored = engine.score(ids, 5).result(10)
        assert [one.id for one in scored] == ids[5:]
        assert len(server.seen) - before == len(ids) - 5
        engine.close()


def test_closing_ends_what_is_on_its_way_and_the_thread() -> None:
    before = set(threading.enumerate())
    with serving(replay("vllm_top20")) as server:
        engine = connect(server.url)
        arrived, leave = threading.Event(), threading.Event()

        def wait(path: str, body: Body, handler: Handler) -> None:
            arrived.set()
            leave.wait(5)

        server.respond = wait
        pending = engine.next(IDS, 5)
        assert arrived.wait(5)
        engine.close()
        engine.close()
        assert pending.wait(5)
        with pytest.raises(CancelledError):
            pending.result()
        leave.set()
        with pytest.raises(RuntimeError, match="closed"):
            engine.next(IDS, 5)
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
        assert not thread.is_alive()


def test_an_engine_is_probed_before_it_is_asked() -> None:
    engine = RemoteEngine(address("http://127.0.0.1:9"))
    with pytest.raises(RuntimeError, match="not probed"):
        engine.next(IDS, 5).result(5)
    engine.close()
