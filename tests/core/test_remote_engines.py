"""The requests and answers of engines: recorded ones of vLLM 0.32 and llama-server, documented ones of SGLang."""

import numpy as np
import pytest
from remote_answers import OAT_MILK, answer

from core.remote.engines import ENGINES

V = 49152


@pytest.mark.parametrize("engine", ["vllm", "llama"])
def test_a_recorded_answer_names_the_likeliest_tokens_by_id(engine: str) -> None:
    """`my`, `the`, `your`, `a` and a space come after `I prefer oat milk in`."""
    known = ENGINES[engine]("smollm2").read_next(answer(f"{engine}_next.json"), 5, V).known
    assert len(known.ids) == 5 and known.vocab_size == V and not known.full
    assert (np.diff(known.ids) > 0).all()
    assert known.ids[known.logprobs.argmax()] == 957
    assert 0.3 < np.exp(known.logprobs).sum() < 1


@pytest.mark.parametrize("engine", ["vllm", "llama"])
def test_a_request_sends_ids_and_neutral_sampling(engine: str) -> None:
    body = ENGINES[engine]("smollm2").next_request(OAT_MILK, 5, V).body
    assert body is not None
    assert body["prompt"] == OAT_MILK
    assert (body["temperature"], body["top_k"], body["top_p"], body["min_p"]) == (1.0, 0, 1.0, 0.0)
    assert body.get("logit_bias", []) == ([["a", 1000.0]] if engine == "llama" else [])
