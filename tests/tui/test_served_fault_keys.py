"""The app over an engine that fails: one line each time, the walk stays, and the next key asks again."""

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import islice

import pytest
from engine_faults import FAULTS, answers
from engine_servers import serving
from textual.pilot import Pilot
from tiny_engine import tiny_engine

from core.loading.choice import ModelChoice
from core.loading.served import connect
from core.remote.client import Limits
from core.remote.engine import RemoteEngine
from core.sampling.sampler import Sampler
from tui.app import TokenwalkApp

Go = Callable[..., Awaitable[None]]


async def test_after_each_of_20_faults_the_next_key_asks_again(
    real: Callable[..., TokenwalkApp], settle: Callable[[Pilot[None]], Awaitable[None]], press: Go,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(connect, "RemoteEngine", partial(RemoteEngine, limits=Limits(attempts=1, bytes=1_000_000)))
    with serving(tiny_engine()) as server:
        app = real("oat", choice=ModelChoice(name=server.url), sampler=Sampler.read("top_k=20"))
        async with app.run_test(size=(80, 24)) as pilot:
            await settle(pilot)
            healthy = server.respond
            for fault, _ in islice(FAULTS.values(), 20):
                before = app.frame.snapshot.tokens
                server.respond = answers(fault)
                await press(pilot, "space")  # drawn from what is known; then what is asked for fails
                assert len(app.frame.snapshot.tokens) == len(before) + 1
                lines = [note.message for note in app._notifications]
                assert lines and all(server.url in line and "\n" not in line for line in lines)
                app.clear_notifications()
                server.respond = healthy
                await press(pilot, "space")
                assert len(app.frame.snapshot.tokens) == len(before) + 2
                assert app.frame.snapshot.tokens[: len(before)] == before
                assert app.frame.snapshot.chart and not app._notifications
