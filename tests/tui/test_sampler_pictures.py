"""Pictures of a sampler of many stages, and of five samplers side by side."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from textual.pilot import Pilot

from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.explain import sampler_lens
from core.sampling.sampler import Sampler
from core.walk.values import SamplerColumn, SeveralSamplers
from tui.app import TokenwalkApp
from tui.screens.samplers import FIVE, SamplersScreen

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]
STAGES = "penalty=1.3,top_n_sigma=2,top_k=9,typical=0.95,top_p=0.97,-min_p=0.05,xtc=0.5:0.12,temp=0.8"
PIECES = (b" the", b" my", b" a", b" tea", b".", b" coffee", b" porridge", b"\n", b" your", b" its", b" all", b"!")
DISTRIBUTION = Distribution(torch.tensor([4.0 - n / 3 for n in range(12)] + [-1.0 - n / 500 for n in range(500)]))


def piece(id: int) -> bytes:
    return PIECES[id % len(PIECES)]


def asking(app: Any, answer: object) -> None:
    app.runner.ask = lambda question: app.runner.show(replace(app.runner.frame, question=question, answer=answer))


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_a_sampler_of_eight_stages(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    sampler = Sampler.read(STAGES)
    context = DrawContext(ids=[1, 3, 4], chance=0.2)
    answer = sampler_lens(DISTRIBUTION, sampler, 0.6321, piece, context=context)
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n", sampler=sampler)

    async def go(pilot: Pilot[None]) -> None:
        asking(pilot.app, answer)
        await pilot.pause()
        pilot.app.do("lens.look", "sampler")
        await pilot.pause()
        await pilot.press(*["down"] * 6)
        await pilot.pause()

    assert snap_compare(app, run_before=go, terminal_size=size)


@pytest.mark.parametrize("size", [(80, 24), (200, 50)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_five_samplers(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    texts = (b" the coffee and the tea.", b" my porridge!", b" a tea", b"\n\xf0\x9f all of it", b" its own [/b] cup")
    columns = [
        SamplerColumn(
            Sampler.read(stages),
            chart(DISTRIBUTION, Sampler.read(stages), 30, piece),
            (piece(number), text),
            6.5 + number,
        )
        for number, (stages, text) in enumerate(zip(FIVE.values(), texts, strict=True))
    ]
    columns[3] = replace(columns[3], problem="ban leaves no token to draw; change this stage or switch it off")
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")

    async def go(pilot: Pilot[None]) -> None:
        asking(pilot.app, SeveralSamplers(tuple(columns), 12))
        await pilot.pause()
        pilot.app.do("sampling.side_by_side")
        await pilot.pause()
        assert isinstance(pilot.app.screen, SamplersScreen)
        await pilot.press("right")
        await pilot.pause()

    assert snap_compare(app, run_before=go, terminal_size=size)
