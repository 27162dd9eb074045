"""The contrast lens by keys: maps, the cell under the cursor, and its patch in the walk."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from core.causal.attribution_patching import Agreement
from core.causal.question import CausalQuestion, Measured
from core.causal.target import Target
from core.lenses import contrast
from core.lenses.contrast import Contrast, Maps
from core.loading.choice import Hyperparameters, ModelChoice
from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Compare = Callable[..., bool]
DEEP = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(context=32, blocks=3, heads=4)
)
PROMPT, CORRUPT = "oat milk", "oat silk"
WORDS = (
    "When",
    " Mary",
    " and",
    " John",
    " went",
    " to",
    " the",
    " store",
    ",",
    " John",
    " gave",
    " a",
    " drink",
    " to",
)


async def asked(pilot: Any, settle: Go) -> Any:
    """Turn to the lens, with a question that has a corrupt prompt."""
    app = pilot.app
    question = CausalQuestion(101, 97, corrupt=tuple(CORRUPT.encode()))
    app.runner.submit(lambda session: session.ask(question))
    app.do("lens.look", "contrast")
    await settle(pilot)
    return app.lens


async def test_a_cell_is_patched_into_the_walk_and_out_again(
    real: Make, settle: Go, press: Go, panel_lines: Callable[[Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        lens = await asked(pilot, settle)
        before = lens.answer
        assert (lens.cursor, lens.column) == (0, 7)
        monkeypatch.setattr(contrast, "patched_measures", None)  # nothing is computed again
        await press(pilot, "down", "shift+left", "enter")
        (patch,) = pilot.app.frame.snapshot.patches
        assert (patch.kind, patch.part, patch.layer, patch.index) == ("swap", "position", 1, 6)
        assert bytes(patch.ids).decode() == CORRUPT
        assert lens.answer == before  # the map is that of the model without the patch
        shown = panel_lines(lens)
        assert " · patched " in shown[0]
        assert shown[2].startswith("▸ block 1 · 6 l · patched")
        assert any(each.unpatched != each.probability for each in pilot.app.frame.snapshot.chart.candidates)
        await press(pilot, "enter")
        assert pilot.app.frame.snapshot.patches == ()


async def test_digits_and_o_choose_a_map(real: Make, settle: Go, press: Go, panel_lines: Any) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        lens = await asked(pilot, settle)
        for keys, name in ((("o",), "attention"), (("o",), "mlp"), (("4",), "heads"), (("o",), "residual")):
            await press(pilot, *keys)
            assert lens.map == name
            assert str(lens.border_title) == f"contrast · {lens.place} · {name}"
        await press(pilot, "4", "shift+right", "down")
        value = lens.answer.heads[1][1]
        assert panel_lines(lens)[2].startswith("head 1.1")
        assert f"{value:+.3f}" in panel_lines(lens)[2]


async def test_without_a_corrupt_prompt_it_says_which_key_asks_for_it(real: Make, settle: Go, panel_lines: Any) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        pilot.app.do("lens.look", "contrast")
        await settle(pilot)
        assert "needs a second prompt, the corrupt one: z gives it" in " ".join(panel_lines(pilot.app.lens))


# Paths ---------------------------------------------------------------------------------------------------------------


async def test_a_receiver_is_picked_on_the_map_and_left_again(
    real: Make, settle: Go, press: Go, panel_lines: Callable[[Any], list[str]]
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        await asked(pilot, settle)
        pilot.app.do("lens.look", "paths")
        await settle(pilot)
        lens = pilot.app.lens
        assert lens.answer.receiver == "final"
        assert "one sender directly to the output" in panel_lines(lens)[1]
        await press(pilot, "down", "down", "shift+right", "2")
        assert lens.answer.receiver == "k 2.1"
        assert [len(row) for row in lens.answer.heads] == [4, 4]
        assert panel_lines(lens)[2].startswith("head 1.1")
        await press(pilot, "shift+right", "shift+right", "shift+right", "enter")
        assert lens.answer.receiver == "mlp 1"
        await press(pilot, "o", "o")
        assert lens.answer.receiver == "final"


# Pictures ------------------------------------------------------------------------------------------------------------


def answer() -> Contrast:
    """Made-up maps of 12 blocks: the name of position 9 moves to the last position in block 7; two rows are missing."""

    def row(layer: int, scale: float = 1.0) -> tuple[float | None, ...]:
        there = min(1.0, max(0.0, (layer - 5) / 4)) * scale
        own = [0.0] * 14
        own[9], own[13], own[10] = scale * (1.03 - there), there, -0.15 * scale * (layer == 6)
        return tuple(own)

    residual = tuple(row(layer) if layer not in (9, 11) else (0.0,) * 9 + (None,) * 5 for layer in range(12))
    heads = tuple(tuple(0.9 if (n, head) == (7, 3) else (head - n) / 40 for head in range(6)) for n in range(12))
    estimated = Maps(tuple(row(layer, 0.8) for layer in range(12)), residual, residual, heads)
    pieces = tuple(word.encode() for word in WORDS)
    measured = Measured(Target(7, 8), b" Mary", b" John", 6.1234)
    return Contrast(
        residual, residual, residual, heads, measured, 6.1234, -5.4821, pieces,
        (*pieces[:9], b" Mary", *pieces[10:]), tuple(range(14)), 9, estimated, (Agreement("heads", 0.98, 0.94),),
    )  # fmt: skip


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("keys", [(), ("4", "down")], ids=["residual", "heads"])
def test_a_picture(
    snap_compare: Compare, scripted: Make, scenes: Any, until: Any, keys: tuple[str, ...], size: tuple[int, int]
) -> None:
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    made = answer()

    async def go(pilot: Any) -> None:
        await until(lambda: app.frame.snapshot is not None)
        app.do("lens.look", "contrast")
        await until(lambda: app.lens.NAME == "contrast" and app.lens.size and app.focused is app.lens)
        for key in ("", *keys):
            if key:
                await pilot.press(key)
            app.runner.show(replace(app.runner.frame, answer=made))
            await until(lambda: app.lens.answer is made and app.frame is app.runner.frame)
            for _ in range(3):
                await pilot.pause()

    assert snap_compare(app, run_before=go, terminal_size=size)


async def test_both_maps_have_their_numbers_where_they_stand_side_by_side(
    scripted: Make, scenes: Any, panel_lines: Any, until: Any
) -> None:
    app, made = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n"), answer()
    async with app.run_test(size=(80, 24)) as pilot:
        await until(lambda: app.frame.snapshot is not None)
        app.do("lens.look", "contrast")
        await pilot.press("4")
        app.runner.show(replace(app.runner.frame, answer=made))
        await until(lambda: app.lens.answer is made)
        lines = panel_lines(app.lens)
        assert [line.count(".90") for line in lines if ".90" in line] == [2]
