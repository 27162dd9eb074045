"""Walks in which 6 tokens of each distribution are known at first, under many samplers, against those of all tokens."""

import json
from typing import Any

import pytest
from engines import served

from core.loading.choice import ModelChoice
from core.loading.model import Model
from core.loading.models import load_model
from core.loading.served import requests
from core.sampling.bounds import Bounds, high, low
from core.sampling.sampler import Sampler
from core.sessions import export, reader, record, writer
from core.sessions.replay import replay
from core.walk.session import Session

SAMPLERS = (
    "temp=1",
    "temp=0.7",
    "temp=2.3",
    "temp=1.7,top_k=12",
    "top_p=0.83,temp=0.9",
    "min_p=0.031,temp=1.3",
    "presence=0.53,frequency=0.21,dry=0.83,no_repeat=3,temp=0.9",
    "typical=0.87",
    "epsilon=0.0031,eta=0.0031,xtc=0.5:0.103",
    "top_k=19,mirostat=3.1",
    "temp=1.9,ban=101;102,bias=97+1.13;100-2.07",
)
LENGTH = 30


def walked(model: Any, line: str) -> Session:
    walk = Session(model, Sampler.read(line, seed=7))
    list(walk.prefill(walk.model.tokenizer.encode("The baker")))
    list(walk.generate(LENGTH))
    return walk


@pytest.fixture(scope="module", name="trained")
def trained_model() -> Model:
    return load_model(ModelChoice(name="model5-trained", device="cpu"))


@pytest.fixture(autouse=True)
def six_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "FIRST", 6)


@pytest.mark.parametrize("line", SAMPLERS)
def test_a_walk_from_the_likeliest_tokens_is_that_of_all(trained: Model, line: str) -> None:
    engine, elsewhere = served(trained, top_k=None)
    here, there = walked(trained, line), walked(elsewhere, line)
    assert 6 in {count for _, count in engine.asked}
    assert [(each.id, each.u) for each in there.tokens] == [(each.id, each.u) for each in here.tokens]
    for one, two in zip(here.tokens, there.tokens, strict=True):
        if one.score and two.score:
            for name in ("probability", "entropy_bits", "rank"):
                exact, bounded = getattr(one.score, name), getattr(two.score, name)
                assert low(bounded) - 1e-4 <= exact <= high(bounded) + 1e-4


def test_what_was_known_goes_through_a_file_and_a_replay(trained: Model) -> None:
    _, elsewhere = served(trained, top_k=None)
    walk = walked(elsewhere, "temp=1.4")
    taken = record.record_of(walk)
    read = reader.parse_record("".join(writer.lines(taken)), "walk.json")
    scores = [token.score for token in read.path() if token.score]
    assert [each.known for each in scores] == [token.score.known for token in walk.tokens if token.score]
    assert any(isinstance(each.entropy_bits, Bounds) for each in scores)
    lines = [json.loads(line) for line in export.json_lines(read)]
    assert any(each["known"] and len(each["entropy_bits"]) == 2 for each in lines[-LENGTH:])
    for model in (elsewhere, trained):
        places = list(replay(read, model))
        assert len(places) >= LENGTH
        assert not [each for each in places if each.differs(1e-4)]
