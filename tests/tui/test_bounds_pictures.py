"""Pictures of a walk of which an engine tells the 50 likeliest of 49,152 tokens: what is not known is bounds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from textual.pilot import Pilot

from core.sampling.chart import chart
from core.sampling.context import DrawContext
from core.sampling.explain import sampler_lens
from core.sampling.partial import next_distribution
from core.sampling.sampler import Sampler
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Compare = Callable[..., bool]
V, KNOWN = 49_152, 50
PIECES = (b" the", b" my", b" a", b" tea", b".", b" coffee", b" porridge", b"\n", b" your", b" its", b" all", b"!")
SIZES = pytest.mark.parametrize("size", [(80, 24), (160, 45)], ids=lambda size: f"{size[0]}x{size[1]}")
LOGITS = 10.0 - 1.3 * torch.arange(1, V + 1).log()
PARTIAL = next_distribution(range(KNOWN), LOGITS.double().log_softmax(-1)[:KNOWN].tolist(), V)


def piece(id: int) -> bytes:
    return PIECES[id % len(PIECES)]


def asking(app: Any, answer: object) -> None:
    app.runner.ask = lambda question: app.runner.show(replace(app.runner.frame, question=question, answer=answer))


def scene(scenes: Any, sampler: Sampler, taken: int | None = None) -> Any:
    """A walk whose last token was chosen, though it is not among the known ones."""
    shown = chart(PARTIAL, sampler, 50, piece, taken)
    tokens = scenes.tokens((b"I", b" prefer", b" oat", b" milk", b" in"))
    drawn = replace(scenes.token(b" my", 7), score=PARTIAL.score(7), origin="sampled", u=0.4182)
    chosen = replace(scenes.token(b" cup", 4711), score=PARTIAL.score(4711), origin="chosen")
    frame = scenes.frame((*tokens, drawn, chosen), None, prompt_length=5, sampler=sampler, context=8192)
    model = replace(frame.model, vocab_size=V, name="http://127.0.0.1:8000", device="vllm", dtype="bf16", parameters=0)
    return replace(frame, model=model, snapshot=replace(frame.snapshot, chart=shown))


@SIZES
def test_a_chart_with_bounds(snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    """A temperature above 1 makes bounds of the probabilities too."""
    sampler = Sampler.of(temperature=1.3)
    app = scripted(scene(scenes, sampler, taken=3000), text="I prefer oat milk in", sampler=sampler)
    assert snap_compare(app, terminal_size=size)


@SIZES
@pytest.mark.parametrize("u", [0.1211, 0.9642], ids=["drawn", "undecided"])
def test_a_sampler_lens_with_bounds(
    snap_compare: Compare, scripted: Make, scenes: Any, size: tuple[int, int], u: float
) -> None:
    sampler = Sampler.read("presence=0.5,temp=1.1,top_p=0.9,min_p=0.001")
    answer = sampler_lens(PARTIAL, sampler, u, piece, context=DrawContext(ids=[1, 3, 4], chance=0.2))
    app = scripted(scene(scenes, sampler), text="I prefer oat milk in", sampler=sampler)

    async def go(pilot: Pilot[None]) -> None:
        asking(pilot.app, answer)
        await pilot.pause()
        pilot.app.do("lens.look", "sampler")
        await pilot.pause()

    assert snap_compare(app, run_before=go, terminal_size=size)
