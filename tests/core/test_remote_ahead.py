"""An engine goes on by its likeliest tokens as long as these are the ones drawn; the distributions stay the same."""

import json
import math
import re
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from engine_servers import Body, Handler, Server, serving
from remote_answers import answer
from tiny_engine import tiny_engine

from core.remote.address import address
from core.remote.engine import RemoteEngine
from core.remote.engines import ENGINES
from core.remote.values import Known

V = 49152
PROMPT = [72, 105]


@pytest.fixture(name="server")
def tiny_server() -> Iterator[Server]:
    with serving(tiny_engine()) as server:
        yield server


@pytest.fixture(name="engine")
def probed_engine(server: Server) -> Iterator[RemoteEngine]:
    engine = RemoteEngine(address(server.url))
    engine.probe().result(20)
    yield engine
    engine.close()


def likeliest(known: Known) -> int:
    return int(known.ids[known.logprobs.argmax()])


def run(engine: RemoteEngine, count: int, place: Callable[[int], int] = lambda number: 0) -> list[Known]:
    """The distributions of a run whose n-th token is at a place of the candidates; they equal those asked for alone."""
    ids, prefixes, found = PROMPT, list[list[int]](), list[Known]()
    for number in range(count):
        prefixes.append(ids)
        found.append(known := engine.next(ids, 20).result(20))
        ids = [*ids, int(known.ids[np.argsort(-known.logprobs)[place(number)]])]
    assert same(found, alone(engine, prefixes))
    return found


def alone(engine: RemoteEngine, prefixes: list[list[int]]) -> list[Known]:
    """The same, each by a request of its own: the longest first, so that none follows from the one before."""
    return [engine.next(ids, 20).result(20) for ids in reversed(prefixes)][::-1]


def same(one: list[Known], other: list[Known]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(np.array_equal(a.ids, b.ids) and np.array_equal(a.logprobs, b.logprobs) for a, b in pairs)


def streams(server: Server) -> list[Body]:
    return [body for _, body, _ in server.seen if body and body.get("stream")]


def test_events_that_real_engines_sent_hold_a_distribution_and_a_token_each() -> None:
    """` my coffee, but` come after `I prefer oat milk in`; vLLM and llama-server agree on the probabilities."""
    told = []
    for engine in ("vllm", "llama"):
        api = ENGINES[engine]("smollm2")
        events = re.findall(rb"^data: *(.+)$", answer(f"{engine}_ahead.sse"), re.MULTILINE)
        told.append([each for event in events for each in api.read_ahead(event, 3, V)])
        assert [each.token for each in told[-1]] == [957, 6728, 28, 564]
        assert [likeliest(each.known) for each in told[-1]] == [957, 6728, 28, 564]
    for one, other in zip(*told, strict=True):
        assert np.array_equal(one.known.ids, other.known.ids)
        assert one.known.logprobs == pytest.approx(other.known.logprobs, abs=5e-4)


def test_a_run_by_the_likeliest_needs_few_requests(engine: RemoteEngine, server: Server) -> None:
    run(engine, 60)
    assert len(streams(server)) == 1
    alone = 60
    assert sum(bool(body and "n_probs" in body) for _, body, _ in server.seen) < alone + 20


def test_another_token_than_the_likeliest_leaves_the_stream(engine: RemoteEngine, server: Server) -> None:
    run(engine, 30, lambda number: int(number == 28))
    assert len(streams(server)) == 1


def test_a_text_that_is_drawn_lets_nothing_go_ahead(engine: RemoteEngine, server: Server) -> None:
    run(engine, 40, lambda number: number % 2)
    assert not streams(server)


def _without(number: int) -> Callable[[bytes], bytes]:
    """A stream that leaves out one token, as llama-server does with a part of a character."""

    def change(stream: bytes) -> bytes:
        events = stream.split(b"\n\n")
        return b"\n\n".join(events[:number] + events[number + 1 :])

    return change


def _with_logprob(value: float) -> Callable[[bytes], bytes]:
    def change(stream: bytes) -> bytes:
        events = stream.split(b"\n\n")
        event = json.loads(events[3].removeprefix(b"data: "))
        event["completion_probabilities"][0]["top_logprobs"][0]["logprob"] = value
        return b"\n\n".join([*events[:3], b"data: " + json.dumps(event).encode(), *events[4:]])

    return change


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(_without(4), id="a token is left out"),
        pytest.param(lambda stream: stream[:700], id="cut"),
        pytest.param(lambda stream: b"", id="empty"),
        pytest.param(lambda stream: b"<html>busy</html>\n\n", id="a page"),
        pytest.param(lambda stream: b"data: {\n\n" + stream, id="no JSON"),
        pytest.param(_with_logprob(5.0), id="a probability over 1"),
        pytest.param(_with_logprob(math.nan), id="not a number"),
    ],
)
def test_a_stream_that_ends_or_is_wrong_costs_nothing_but_a_request(
    engine: RemoteEngine, server: Server, harm: Callable[[bytes], bytes]
) -> None:
    healthy = server.respond

    def respond(path: str, body: Body, handler: Handler) -> None:
        if body and body.get("stream"):
            parts: list[bytes] = []
            send, handler.send = handler.send, lambda status, content, **headers: parts.append(content)  # type: ignore[method-assign,misc]
            healthy(path, body, handler)
            handler.send = send  # type: ignore[method-assign]
            handler.send(200, harm(parts[0]), Content_Type="text/event-stream")
        else:
            healthy(path, body, handler)

    server.respond = respond
    run(engine, 24)
    assert streams(server)
