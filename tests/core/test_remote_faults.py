"""Faults between here and an engine: one clear line each, and the next request is served as if nothing had been."""

from collections.abc import Iterator

import pytest
from engine_faults import FAULTS, answers
from engine_servers import Server, replay, serving
from remote_contract import IDS, connect

from core.errors import UserError
from core.remote.engine import RemoteEngine

KEY = "sk-very-secret"
QUICK = {"connect": 2, "answer": 0.2, "body": 0.2, "bytes": 1_000_000, "attempts": 2, "longest_pause": 0.02}


@pytest.fixture(scope="module")
def engine_and_server() -> Iterator[tuple[RemoteEngine, Server]]:
    with serving(replay("vllm_top20")) as server:
        engine = connect(server.url, **QUICK)
        yield engine, server
        engine.close()


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_the_engine_can_be_asked_again(
    engine_and_server: tuple[RemoteEngine, Server], name: str
) -> None:
    engine, server = engine_and_server
    fault, says = FAULTS[name]
    healthy, server.respond = server.respond, answers(fault)
    try:
        with pytest.raises(UserError) as caught:
            engine.next(IDS, 5).result(5)
    finally:
        server.respond = healthy
    line = str(caught.value)
    assert says in line and server.url in line and "; " in line
    assert line.isprintable() and len(line) < 500
    assert len(engine.next(IDS, 5).result(5).ids) == 5
