"""What every engine must fulfill, whether it is recorded or runs. SmolLM2-135M is the model."""

import numpy as np

from core.remote.address import address
from core.remote.client import Limits
from core.remote.engine import RemoteEngine
from core.remote.tokenizer import PROBE_TEXT, RemoteTokenizer
from core.remote.values import Capabilities

V = 49152
SENTENCE = "I prefer oat milk in"
IDS = [57, 4640, 28973, 4788, 281]
CUP = "🥛"
DAYS = "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday"
WAIT = 60.0


def connect(url: str, engine: str = "auto", **limits: float) -> RemoteEngine:
    """An engine that was probed."""
    remote = RemoteEngine(address(url), engine, limits=Limits(**limits))  # type: ignore[arg-type]
    remote.probe().result(WAIT)
    return remote


def serves(remote: RemoteEngine) -> Capabilities:
    """It has ids, a tokenizer, V and a context."""
    said = remote.capabilities
    assert said.ids and said.tokenizer
    assert said.vocab_size == V
    assert said.context is not None and said.context >= 512
    return said


def likeliest(remote: RemoteEngine) -> None:
    """` my` with probability 0.209 comes after the sentence, whatever k is."""
    for k in (1, 5, 20):
        known = remote.next(IDS, k).result(WAIT)
        assert len(known.ids) == k
        assert (np.diff(known.ids) > 0).all()
        assert known.ids[known.logprobs.argmax()] == 957
        assert abs(np.exp(known.logprobs.max()) - 0.2092) < 2e-3


def scores(remote: RemoteEngine) -> None:
    """Each day follows from those before it, as `next` says too."""
    ids = remote.tokenize(DAYS).result(WAIT)
    scored = remote.score(ids, 5).result(WAIT)
    assert [one.id for one in scored] == ids[5:]
    for at, one in enumerate(scored, start=5):
        said = remote.next(ids[:at], 20).result(WAIT).score(ids[at])
        assert one.rank == said.rank and one.rank is not None and one.rank < 5
        assert one.logprob is not None and said.logprob is not None
        assert abs(one.logprob - said.logprob) < 1e-2


def tokens(remote: RemoteEngine) -> None:
    """Text becomes the ids of the model and text again; a part of a character has its own bytes."""
    assert remote.tokenize(SENTENCE).result(WAIT) == IDS
    assert remote.detokenize(IDS).result(WAIT) == SENTENCE
    cup = remote.tokenize(CUP).result(WAIT)
    assert len(cup) > 1
    pieces = remote.pieces([*cup, *IDS, 15107]).result(WAIT)
    assert b"".join(pieces[id] for id in cup) == CUP.encode()
    assert b"".join(pieces[id] for id in IDS) == SENTENCE.encode()
    assert pieces[15107] == b" \xf0\x9f"


def tokenizer(remote: RemoteEngine) -> RemoteTokenizer:
    """It encodes as a tokenizer does, and gives each character's place."""
    made = RemoteTokenizer(remote)
    ids = made.encode(PROBE_TEXT)
    assert b"".join(map(made.piece, ids)) == PROBE_TEXT.encode()
    assert made.inner_starts(f"a {CUP} b")[1][0] == 0
    return made


CHECKS = (serves, likeliest, scores, tokens, tokenizer)
