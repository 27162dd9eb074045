"""A chart of which one candidate has nearly all says why: the gap of its logit to the next, and what is left."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from core.sampling.values import Candidate
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Lines = Callable[..., list[str]]


def peaked(scenes: Any, logits: list[float]) -> Any:
    """A chart of the softmax of these logits, computed in float64."""
    shares = torch.tensor(logits, dtype=torch.float64).softmax(0).tolist()
    chart = scenes.chart([f" w{n}" for n in range(len(logits))], shares)
    found = tuple(
        Candidate(each.id, each.piece, n, logits[n], shares[n], shares[n]) for n, each in enumerate(chart.candidates)
    )
    return replace(chart, candidates=found)


@pytest.mark.parametrize("size", [(80, 24), (120, 36), (200, 60)])
@pytest.mark.parametrize("gap", [8.25, 12.87, 25.0])
async def test_the_gap_is_told_in_nats_and_as_a_factor(
    scripted: Make, scenes: Any, panel_lines: Lines, size: tuple[int, int], gap: float
) -> None:
    logits = [gap + 2.0, 2.0, 1.0, 0.5]
    frame = scenes.frame(scenes.tokens(["a"]), peaked(scenes, logits))
    async with scripted(frame, text="a").run_test(size=size) as pilot:
        await pilot.pause()
        line = next(line for line in panel_lines(pilot.app.candidates) if "above the next" in line)
        words = line.replace("×", " ").replace(":", " ").split()
        assert float(words[0]) == pytest.approx(gap, abs=0.051)
        shares = torch.tensor(logits, dtype=torch.float64).softmax(0)
        factor = next(float(word.replace(",", "")) for word in words[2:] if word[0].isdigit())
        assert factor == pytest.approx((shares[0] / shares[1]).item(), rel=0.06 if gap < 20 else 0.5)
        assert factor == pytest.approx(math.exp(gap), rel=0.06 if gap < 20 else 0.5)


async def test_a_chart_without_a_peak_says_nothing_of_it(scripted: Make, scenes: Any, panel_lines: Lines) -> None:
    for logits in ([2.0, 1.9, 1.0], [8.0, 2.0, 1.0], [5.0]):
        frame = scenes.frame(scenes.tokens(["a"]), peaked(scenes, logits))
        async with scripted(frame, text="a").run_test(size=(120, 36)) as pilot:
            await pilot.pause()
            assert not any("above the next" in line for line in panel_lines(pilot.app.candidates))
