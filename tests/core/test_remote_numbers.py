"""Numbers in answers that cannot be log-probabilities of tokens are refused by name, whichever engine sends them.

The answers of SGLang have their documented form; no server of it was at hand.
"""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_answers import written

from core.remote.engines import ENGINES
from core.remote.values import BadAnswer, known

V = 8
NAMES = ("vllm", "llama", "sglang")
GOOD = ((3, -0.5), (1, -1.2))
"""Probabilities 0.61 and 0.30: 0.09 are left to six others, each at most 0.30."""
WRONG: dict[str, tuple[tuple[tuple[object, object], ...], str]] = {
    "NaN": (((3, "NaN"), (1, -1.2)), "JSON"),
    "Infinity": (((3, "Infinity"), (1, -1.2)), "JSON"),
    "a number over all floats": (((3, "1e999"), (1, -1.2)), "out of range|over 0"),
    "a positive log-probability": (((3, 0.5), (1, -1.2)), "over 0"),
    "zeros": (((3, 0.0), (1, 0.0)), "sum to 2"),
    "a mass over 1": (((3, -0.5), (1, -0.9)), "sum to 1.01"),
    "nothing that can come": (((3, -9999), (1, -9999)), "minus infinity"),
    "too much left": (((3, -5), (1, -9)), "less likely"),
    "too little left to be true": (((3, -30), (1, -31)), "less likely"),
    "text for a number": (((3, '"-0.5"'), (1, -1.2)), "Expected"),
    "true for a number": (((3, "true"), (1, -1.2)), "Expected"),
    "an object for a number": (((3, "{}"), (1, -1.2)), "Expected"),
    "an id of V": (((8, -0.5), (1, -1.2)), "token id 8"),
    "a negative id": (((-1, -0.5), (1, -1.2)), "token id -1"),
    "an id over 64 bits": (((2**64, -0.5), (1, -1.2)), "64 bits|by text"),
    "an id of 200 digits": ((("9" * 200, -0.5), (1, -1.2)), "64 bits|by text"),
    "an id with a fraction": (((3.5, -0.5), (1, -1.2)), "Expected|by text"),
    "fewer than asked": (((3, -0.5),), "1 log-probabilities, but 2 were asked for"),
    "none": ((), "no log-probabilities"),
}
TWICE = ((3, -0.9), (3, -0.9))


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_number_is_refused(engine: str, name: str) -> None:
    pairs, says = WRONG[name]
    with pytest.raises(BadAnswer, match=says):
        ENGINES[engine]("m").read_next(written(engine, *pairs), 2, V)


@pytest.mark.parametrize("engine", ["llama", "sglang"])
def test_an_id_twice_is_refused(engine: str) -> None:
    with pytest.raises(BadAnswer, match="twice"):
        ENGINES[engine]("m").read_next(written(engine, *TWICE), 2, V)


@pytest.mark.parametrize(
    "keys", ['" my": -0.5, "a": -1', '"token_id:": -0.5, "token_id:x": -1', '"token_id:3": -1, "token_id:03": -1']
)
def test_keys_of_vllm_that_are_no_ids_are_refused(keys: str) -> None:
    answer = f'{{"choices": [{{"logprobs": {{"top_logprobs": [{{{keys}}}]}}}}]}}'.encode()
    with pytest.raises(BadAnswer):
        ENGINES["vllm"]("m").read_next(answer, 2, V)


@pytest.mark.parametrize("engine", NAMES)
@pytest.mark.parametrize("body", [b"{}", b"[]", b'{"choices": []}', b'{"choices": [{}]}', b'{"choices": null}'])
def test_an_answer_without_its_fields_is_refused(engine: str, body: bytes) -> None:
    with pytest.raises(BadAnswer):
        ENGINES[engine]("m").read_next(body, 2, V)


@pytest.mark.parametrize("engine", NAMES)
def test_a_good_answer_is_read(engine: str) -> None:
    said = ENGINES[engine]("m").read_next(written(engine, *GOOD), 2, V).known
    assert said.ids.tolist() == [1, 3] and said.logprobs.tolist() == [-1.2, -0.5]


@pytest.mark.parametrize("engine", NAMES)
def test_the_engines_own_draw_beside_the_likeliest_is_left_out(engine: str) -> None:
    """vLLM gives k + 1 candidates where its draw is not among the k likeliest."""
    said = ENGINES[engine]("m").read_next(written(engine, (6, -4.0), *GOOD), 2, V).known
    assert said.ids.tolist() == [1, 3]


def test_minus_9999_is_minus_infinity() -> None:
    values = [*((id, -9999.0) for id in range(6)), (6, math.log(0.75)), (7, math.log(0.25))]
    said = ENGINES["vllm"]("m").read_next(written("vllm", *values), V, V).known
    assert said.full and np.exp(said.logprobs).tolist() == pytest.approx([0] * 6 + [0.75, 0.25])


def test_older_llama_servers_write_probabilities_and_other_names() -> None:
    old = b'{"probs": [{"probs": [{"id": 3, "prob": 0.5}, {"id": 1, "prob": 0.25}]}]}'
    post = b'{"completion_probabilities": [{"top_probs": [{"id": 3, "prob": 0.5}, {"id": 1, "prob": 0.25}]}]}'
    for answer in (old, post):
        said = ENGINES["llama"]("m").read_next(answer, 2, V).known
        assert said.ids.tolist() == [1, 3] and np.exp(said.logprobs).tolist() == pytest.approx([0.25, 0.5])


def test_a_llama_server_without_ids_is_refused() -> None:
    answer = b'{"completion_probabilities": [{"content": " a", "probs": [{"tok_str": " a", "prob": 0.5}]}]}'
    with pytest.raises(BadAnswer, match="id"):
        ENGINES["llama"]("m").read_next(answer, 1, V)


def test_speculative_decoding_that_gives_no_candidates_is_refused() -> None:
    """llama-server with a draft model writes logprob 0.0 and no candidates for tokens that the draft proposed."""
    answer = b'{"completion_probabilities": [{"id": 6728, "token": " coffee", "logprob": 0.0, "top_logprobs": []}]}'
    with pytest.raises(BadAnswer, match="no log-probabilities"):
        ENGINES["llama"]("m").read_next(answer, 2, V)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-20, 20), min_size=2, max_size=30), st.data())
def test_known_is_the_head_of_any_distribution(logits: list[float], data: st.DataObject) -> None:
    """By brute force: the k likeliest of softmax, in any order, with any other token among them."""
    values = np.array(logits) - np.logaddexp.reduce(logits)
    k = data.draw(st.integers(1, len(values)))
    order = np.argsort(-values, kind="stable")
    sent = order[: data.draw(st.integers(k, len(values)))]
    sent = data.draw(st.permutations(sent.tolist()))
    said = known(sent, values[sent], len(values), k)
    assert sorted(values[said.ids]) == sorted(values[order[:k]])
    assert (np.diff(said.ids) > 0).all() and np.allclose(said.logprobs, np.minimum(values[said.ids], 0))
    for id in range(len(values)):
        scored = said.score(id)
        assert (scored.rank is None) == (id not in said.ids)
        assert scored.rank is None or scored.rank == np.count_nonzero(values > values[id])
