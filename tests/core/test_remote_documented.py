"""Engines that are not at hand: SGLang as its documentation and source say, servers of text as OpenAI's API is."""

import json
import math
from typing import Any

import pytest
from engine_servers import Body, Handler, serving
from remote_contract import connect

from core.errors import UserError
from core.remote.engine import RemoteEngine

V = 6
SCORES = (0.5, 0.2, 0.1, 0.1, 0.06, 0.04)
LOGPROBS = [math.log(share) for share in SCORES]


def sglang(path: str, body: Body, handler: Handler) -> None:
    """SGLang with a vocabulary of six ids, whose likelihood never changes; it gives five log-probabilities at most."""
    body = body or {}
    answer: dict[str, Any] = {
        "/v1/models": {"data": [{"id": "m", "owned_by": "sglang", "root": "m", "max_model_len": 99}]},
        "/get_model_info": {"model_path": "org/m", "is_generation": True},
        "/get_server_info": {"version": "0.5.1", "api_key": "secret", "internal_states": [{}]},
        "/tokenize": {"tokens": [1, 2, 3], "count": 3, "max_model_len": 99},
        "/detokenize": {"text": "abc"},
    }.get(path, {})
    if path == "/generate":
        ids, count = body["input_ids"], body.get("top_logprobs_num", 0)
        if max(ids) >= V:
            words = f"The input_ids {ids} contains values greater than the vocab size ({V})."
            return handler.send(400, json.dumps({"error": {"message": words}}).encode())
        if count > 5:
            return handler.send(400, b'{"error": {"message": "too many"}}')
        heat = body["sampling_params"]["temperature"]
        total = math.log(sum(share ** (1 / heat) for share in SCORES))
        after = [value / heat - total for value in LOGPROBS]
        answer["meta_info"] = {
            "prompt_tokens": len(ids),
            "input_token_logprobs": [[LOGPROBS[id] if at else None, id, None] for at, id in enumerate(ids)],
            "output_top_logprobs": [[[after[id], id, None] for id in range(count)]],
        }
    handler.send(200 if answer else 404, json.dumps(answer or {"detail": "Not Found"}).encode())


def test_sglang_as_documented_is_probed() -> None:
    with serving(sglang) as server:
        engine = connect(server.url)
        found = engine.capabilities
        engine.close()
    assert (found.engine, found.version, found.model, found.source) == ("sglang", "0.5.1", "m", "org/m")
    assert (found.vocab_size, found.context, found.top_k, found.full) == (V, 99, 5, False)
    assert (found.raw, found.ids, found.bytes, found.prompt_scores, found.tokenizer) == (False, True, False, True, True)
    assert "secret" not in repr(found)


def test_sglang_as_documented_gives_distributions_scores_and_tokens() -> None:
    with serving(sglang) as server:
        engine = connect(server.url)
        known = engine.next([1, 2], 50).result(10)
        assert known.ids.tolist() == [0, 1, 2, 3, 4] and known.logprobs.tolist() == pytest.approx(LOGPROBS[:5])
        scored = engine.score([1, 2, 4], 1).result(10)
        assert [(one.id, one.logprob, one.rank) for one in scored] == [(2, LOGPROBS[2], None), (4, LOGPROBS[4], None)]
        assert engine.tokenize("abc").result(10) == [1, 2, 3]
        assert engine.detokenize([1, 2, 3]).result(10) == "abc"
        sent = [body for path, body, _ in server.seen if path == "/generate" and body]
        assert all(body["sampling_params"]["temperature"] > 0 for body in sent)
        engine.close()


def text_only(most: int) -> Any:
    """A server as Ollama's: text, and `most` log-probabilities."""

    def respond(path: str, body: Body, handler: Handler) -> None:
        if path == "/v1/models":
            return handler.send(200, b'{"data": [{"id": "llama3", "owned_by": "library"}]}')
        top = {f" {n}": -1.0 - n for n in range(min(most, (body or {}).get("logprobs", 0)))}
        handler.send(200, json.dumps({"choices": [{"text": "x", "logprobs": {"top_logprobs": [top]}}]}).encode())

    return respond


@pytest.mark.parametrize("most", [0, 5, 20])
def test_a_server_of_text_says_how_many_log_probabilities_it_gives_and_cannot_be_walked(most: int) -> None:
    with serving(text_only(most)) as server:
        engine = RemoteEngine(connect(server.url).address)
        found = engine.probe().result(10)
        assert (found.engine, found.ids, found.top_k, found.raw) == ("openai", False, most, most > 0)
        with pytest.raises(UserError, match="gives text only, no token ids; a walk needs vLLM"):
            engine.next([1]).result(10)
        engine.close()
