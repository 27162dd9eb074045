"""Snapshots of the screen, compared with the stored ones."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from apps import delivered, until
from textual.pilot import Pilot

from core.loading import ladder, listing
from core.progress import Progress
from core.sampling.sampler import Sampler
from tui.app import TokenwalkApp
from tui.runner import Frame
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]

PROMPT = "I prefer oat milk in my\n"


def pressing(key: str) -> Callable[[Pilot[None]], Awaitable[None]]:
    """Press a key once the walk is on the screen."""

    async def go(pilot: Pilot[None]) -> None:
        await until(lambda: pilot.app.frame.snapshot is not None)
        await delivered(pilot)
        await pilot.press(key)
        await delivered(pilot)

    return go


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_walk(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    assert snap_compare(scripted(scenes.oat_milk(), text=PROMPT), terminal_size=size)


def test_a_walk_in_the_light(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    app = scripted(scenes.oat_milk(), text=PROMPT, settings=Settings(theme="tokenwalk-light"))
    assert snap_compare(app, terminal_size=(120, 36))


def test_a_place_in_the_past_under_a_cut_distribution(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    sampler = Sampler.of(temperature=0.7, top_k=6)
    chart = scenes.chart([" the", " my", " a", b" \xf0\x9f", "\n", " 字", " your", " its"], kept=6, taken=3)
    frame = scenes.oat_milk(cursor=9, sampler=sampler, chart=chart)
    assert snap_compare(
        scripted(frame, text=PROMPT, sampler=sampler), run_before=pressing("down"), terminal_size=(120, 36)
    )


def test_writing(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    assert snap_compare(scripted(scenes.oat_milk(), text=PROMPT), run_before=pressing("i"), terminal_size=(80, 24))


def test_a_prompt_that_is_read(snap_compare: Compare, scripted: Make, scenes: Any) -> None:
    frame = scenes.oat_milk(activity="reading", activity_progress=Progress(2_560, 10_000))
    assert snap_compare(scripted(frame, text=PROMPT), terminal_size=(80, 24))


def test_nothing_yet(snap_compare: Compare, scripted: Make) -> None:
    assert snap_compare(scripted(Frame()), terminal_size=(80, 24))


@pytest.mark.parametrize(("name", "key"), [("help", "question_mark"), ("models", "m"), ("devices", "d"), ("seed", "s")])
def test_what_opens_over_it(
    snap_compare: Compare, scripted: Make, scenes: Any, monkeypatch: pytest.MonkeyPatch, name: str, key: str
) -> None:
    rungs = [offer for offer in listing.offers() if offer.name in ladder.NAMES]
    monkeypatch.setattr(listing, "offers", lambda: rungs)  # what else is installed differs
    assert snap_compare(scripted(scenes.oat_milk(), text=PROMPT), run_before=pressing(key), terminal_size=(80, 24))
