"""What every engine fulfills: recorded vLLM 0.32 and llama-server always, running ones where they are named.

TOKENWALK_ENGINES names running engines that serve SmolLM2-135M, by their addresses with commas between them:
TOKENWALK_ENGINES=http://127.0.0.1:8123,http://127.0.0.1:8124 pytest tests/core/test_remote_contract.py
"""

import os
from collections.abc import Callable, Iterator

import pytest
from engine_servers import replay, serving
from remote_contract import CHECKS, connect

from core.remote.engine import RemoteEngine

RECORDED = ("vllm_top20", "llama")
RUNNING = tuple(filter(None, os.environ.get("TOKENWALK_ENGINES", "").split(",")))


@pytest.fixture(scope="module", params=[*RECORDED, *RUNNING])
def remote(request: pytest.FixtureRequest) -> Iterator[RemoteEngine]:
    if request.param in RUNNING:
        engine = connect(request.param)
        yield engine
        engine.close()
        return
    with serving(replay(request.param)) as server:
        engine = connect(server.url)
        yield engine
        engine.close()


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_an_engine_fulfills(remote: RemoteEngine, check: Callable[[RemoteEngine], object]) -> None:
    check(remote)


def test_the_probe_finds_out_what_a_server_was_started_with() -> None:
    """vLLM with 20 log-probabilities and `--logprobs-mode processed_logprobs`; llama-server gives all of V."""
    found = {}
    for name in RECORDED:
        with serving(replay(name)) as server:
            engine = connect(server.url)
            found[name] = engine.capabilities.as_json()
            engine.close()
    assert found["vllm_top20"] == {
        "engine": "vllm",
        "version": "0.32.0",
        "model": "smollm2",
        "vocab_size": 49152,
        "context": 1024,
        "top_k": 20,
        "full": False,
        "raw": False,
        "ids": True,
        "bytes": False,
        "prompt_scores": True,
    }
    assert found["llama"] == {
        "engine": "llama",
        "version": "b0-unknown",
        "model": "smollm2-f32.gguf",
        "vocab_size": 49152,
        "context": 2048,
        "top_k": None,
        "full": True,
        "raw": True,
        "ids": True,
        "bytes": True,
        "prompt_scores": False,
    }
