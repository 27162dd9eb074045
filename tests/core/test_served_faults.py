"""A walk in a served model through 100 faults and a restart with another model: nothing of it is lost."""

from collections.abc import Iterator
from functools import partial
from itertools import cycle, islice

import pytest
from engine_faults import FAULTS, answers
from engine_servers import Server, serving
from tiny_engine import tiny_engine
from walks import ids, nodes_of, started

from core.errors import UserError
from core.loading.choice import ModelChoice
from core.loading.models import load_model
from core.loading.served import connect
from core.remote.client import Limits
from core.remote.engine import RemoteEngine
from core.sampling.sampler import Sampler
from core.walk.session import Session

STALLED = {"no answer", "half of the headers", "a body that stalls", "a body that drips", "a huge length"}
"""They end with a limit of time, which a busy machine reaches without a fault; the client's tests have them."""
QUICK = [fault for name, (fault, _) in FAULTS.items() if name not in STALLED]
TOLD = Sampler.read("top_k=20")
"""Decided by the tokens that are asked for at first."""


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(tiny_engine()) as server:
        yield server


@pytest.fixture
def walk(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Session]:
    """A walk whose requests are not tried again by themselves."""
    limits = Limits(attempts=1, bytes=1_000_000)
    monkeypatch.setattr(connect, "RemoteEngine", partial(RemoteEngine, limits=limits))
    walk = started(load_model(ModelChoice(name=server.url)), sampler=TOLD)
    yield walk
    assert walk.model.requests
    walk.model.requests.engine.close()


def test_after_each_of_100_faults_the_walk_goes_on_as_if_nothing_had_been(server: Server, walk: Session) -> None:
    healthy = server.respond
    for fault in islice(cycle(QUICK), 100):
        walk.distribution()
        server.respond = answers(fault)
        walk.step()  # what it asks for ahead fails
        before, nodes = ids(walk), len(nodes_of(walk.history.tree))
        with pytest.raises(UserError) as caught:
            walk.step()
        assert str(caught.value).isprintable() and server.url in str(caught.value)
        assert (ids(walk), len(nodes_of(walk.history.tree))) == (before, nodes)
        server.respond = healthy
    undisturbed = started(walk.model, sampler=TOLD)
    list(undisturbed.generate(100))
    assert ids(undisturbed) == ids(walk)
    assert [token.score for token in undisturbed.tokens[4:]] == [token.score for token in walk.tokens[4:]]


@pytest.mark.parametrize(
    ("name", "first", "says"),
    [("other", 0, "the engine serves other now, but served tiny before"), ("tiny", 1, "other bytes than before")],
    ids=["another name", "other pieces under the same name"],
)
def test_a_restart_with_another_model_is_noticed(
    server: Server, walk: Session, name: str, first: int, says: str
) -> None:
    list(walk.generate(3))
    before = ids(walk)
    healthy, server.respond = server.respond, tiny_engine(name, first)
    for _ in range(2):  # one token may have been asked for before the restart
        before = ids(walk)
        try:
            walk.step()
        except UserError as error:
            assert says in str(error)
            break
    else:
        pytest.fail("the other model was taken for the one before")
    assert ids(walk) == before
    server.respond = healthy
    walk.step()
    assert len(ids(walk)) == len(before) + 1
