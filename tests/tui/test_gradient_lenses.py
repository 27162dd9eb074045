"""Input attributions and circuits by keys: other baselines, tinted token ids, more edges, a reduced walk."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from core.activations.patch import Patch
from core.causal.question import CausalQuestion, Measured
from core.causal.target import Target
from core.lenses.circuit import Circuit, Edge, Faithfulness, LikelyToken
from core.lenses.gradients import InputAttributions, TokenAttribution
from core.loading.choice import Hyperparameters, ModelChoice
from tui.app import TokenwalkApp
from tui.drawing.edges import by_receiver, grid, node_order
from tui.drawing.heat_map import glyph

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Any], list[str]]
DEEP = ModelChoice(
    name="model5", tokenizer="bytes", device="cpu", changes=Hyperparameters(context=32, blocks=2, heads=4)
)
PROMPT, CORRUPT = "oat milk", "oat silk"


async def asked(pilot: Any, settle: Go, name: str) -> Any:
    """Turn to a lens, with a question that has a corrupt prompt."""
    question = CausalQuestion(101, 97, corrupt=tuple(CORRUPT.encode()))
    pilot.app.runner.submit(lambda session: session.ask(question))
    pilot.app.do("lens.look", name)
    await settle(pilot)
    return pilot.app.lens


# Keys ----------------------------------------------------------------------------------------------------------------


async def test_the_token_ids_are_tinted_by_the_attributions(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    """Each with the glyph of its share in the place of its surprisal, by the method that is shown."""
    async with real(PROMPT, DEEP).run_test(size=(100, 40)) as pilot:
        await settle(pilot)
        lens = await asked(pilot, settle, "gradients")
        for method in ("integrated", "input_x_gradient"):
            values = [getattr(token, method) for token in lens.answer.tokens]
            assert pilot.app.walk.tokens._values == tuple(values)
            numbers = " ".join(panel_lines(pilot.app.walk.tokens)[1::2])
            for byte, value in zip(PROMPT.encode(), values, strict=True):
                assert f"{byte} {glyph(value / max(map(abs, values)))}" in numbers
            await press(pilot, "o")
        pilot.app.do("lens.look", "candidates")
        await settle(pilot)
        assert pilot.app.walk.tokens._values == ()


async def test_another_baseline_and_fewer_steps_are_asked_for(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        lens = await asked(pilot, settle, "gradients")
        shown = panel_lines(lens)
        assert shown[0].startswith("why e, not a: ")
        assert shown[1].startswith("integrated gradients from the corrupt prompt (")
        assert ", complete, " in shown[2]
        await press(pilot, "shift+left")
        assert "from the token that ends a text (" in panel_lines(lens)[1]
        await press(pilot, "shift+up")
        assert lens.answer.steps == 8


async def test_the_walk_is_reduced_to_a_circuit_and_whole_again(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    """The answer stays that of the whole model; the chart shows the unpatched distribution."""
    async with real(PROMPT, DEEP).run_test(size=(100, 30)) as pilot:
        await settle(pilot)
        lens = await asked(pilot, settle, "circuit")
        own = Patch(kind="zero", part="head", layer=0, index=1)
        pilot.app.runner.submit(lambda session: session.patch((own,)))
        await settle(pilot)
        before = lens.answer
        await press(pilot, "shift+left", "enter")
        await settle(pilot)
        assert lens.count == 3
        point = before.curve[1]
        first, *patches = pilot.app.frame.snapshot.patches
        assert first == own
        assert len(patches) == len(before.parts) - len(point.nodes)
        assert {patch.kind for patch in patches} == {"mean"}
        assert lens.answer == before
        shown = panel_lines(lens)
        assert shown[0].rstrip().endswith(f"· patched {pilot.app.frame.snapshot.measured.value:+.2f}")
        assert shown[2].startswith(f"the walk keeps {len(point.nodes)} heads and MLPs; the other {len(patches)} give")
        await press(pilot, "enter")
        await settle(pilot)
        assert pilot.app.frame.snapshot.patches == (own,)
        assert lens.answer == before


async def test_a_circuit_without_a_corrupt_prompt_says_which_key_asks_for_it(
    real: Make, settle: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        pilot.app.do("lens.look", "circuit")
        await settle(pilot)
        assert "needs a second prompt, the corrupt one: z gives it" in " ".join(panel_lines(pilot.app.lens))


# Drawing -------------------------------------------------------------------------------------------------------------

EDGES = (
    Edge("embedding", "0.mlp", 10.7),
    Edge("1.h3", "logits", 6.14),
    Edge("0.mlp", "1.v1", 3.59),
    Edge("1.h0", "logits", -2.33),
    Edge("0.h2", "1.q3", -0.25),
)


def test_each_receiver_lists_what_it_reads_the_last_receiver_first() -> None:
    """A line that is full goes on below."""
    assert [head.strip() for head, _ in by_receiver(EDGES, 80)] == ["logits", "1.q3", "1.v1", "0.mlp"]
    rows = list(by_receiver(EDGES, 26))
    assert rows[:2] == [("logits    ", "← 1.h3 +6.14"), ("          ", "  1.h0 -2.33")]
    assert sorted(["logits", "0.mlp", "1.h3", "embedding", "0.h10", "0.h2"], key=node_order) == [
        "embedding", "0.h2", "0.h10", "0.mlp", "1.h3", "logits",
    ]  # fmt: skip


def test_the_grid_marks_the_parts_that_write_an_edge() -> None:
    parts = [f"{block}.{part}" for block in (0, 1) for part in ("h0", "h1", "h2", "h3", "mlp")]
    assert list(grid(parts, EDGES)) == [
        "block   h0  h1  h2  h3 mlp",
        "    1    ●   ·   ·   ●   ·",
        "    0    ·   ·   ●   ·   ●",
    ]


# Pictures ------------------------------------------------------------------------------------------------------------

MEASURED = Measured(Target(7, 8), b" Mary", b" John", 6.1234)
WORDS = ("When", " Mary", " and", " John", " went", " to", " the", " store", ",", " John", " gave", " a", " drink")


def attributions() -> InputAttributions:
    tokens = tuple(
        TokenAttribution(at, word.encode(), ((at * 7) % 5 - 1.6) / 2, ((at * 3) % 7 - 3) / 5)
        for at, word in enumerate(WORDS)
    )
    return InputAttributions(MEASURED, tokens, "corrupt", -5.4821, 11.5612, -0.0443, 0.0038, 36)


def circuit() -> Circuit:
    parts = tuple(f"{block}.{part}" for block in range(12) for part in (*(f"h{n}" for n in range(9)), "mlp"))
    edges = tuple(
        Edge(*pair, score)
        for pair, score in (
            (("embedding", "0.mlp"), 10.708), (("9.h3", "logits"), 6.136), (("0.mlp", "9.v1"), 3.594),
            (("11.h1", "logits"), 2.998), (("11.h0", "logits"), -2.329), (("10.h4", "logits"), -2.036),
            (("9.h0", "logits"), 1.798), (("7.h0", "8.mlp"), -1.578), (("8.mlp", "9.v1"), 1.331),
            (("9.h3", "10.q4"), -1.202),
        )
    )  # fmt: skip
    likely = LikelyToken(b" Mary", 0.41, 0.92), LikelyToken(b" John", 0.2, 0.001), LikelyToken(b" the", 0.1, 0.02)
    curve = tuple(
        Faithfulness(edges, max(1, edges // 2), share * 11.6 - 5.48, share, likely, parts[:9], (3, 4, 6, 7))
        for edges, share in ((1, -0.02), (3, 0.271), (10, 0.512), (30, 0.74), (100, 0.93), (300, 1.02))
    )
    return Circuit(MEASURED, 6.1234, -5.4821, "eap-ig", edges, 11_210, curve, parts)


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=str)
async def test_attributions_that_do_not_complete_say_so_first_and_have_faint_bars_and_no_tints(
    scripted: Make, scenes: Any, until: Any, panel_lines: Any, size: tuple[int, int]
) -> None:
    frame = scenes.frame(scenes.tokens(WORDS), scenes.chart(["a"], [1.0]), context=32)
    app = scripted(frame, text="".join(WORDS))
    made = replace(attributions(), error_share=0.27)
    async with app.run_test(size=size) as pilot:
        await until(lambda: app.frame.snapshot is not None)
        app.do("lens.look", "gradients")
        await until(lambda: app.lens.NAME == "gradients" and app.lens.size and app.focused is app.lens)
        app.runner.show(replace(app.runner.frame, answer=made))
        await until(lambda: app.lens.answer is made)
        await pilot.pause()
        shown = panel_lines(app.lens)
        assert any(line.startswith("error 27 %: not complete; bars are") for line in shown)
        assert any("░" in row for row in shown) and not any("█" in row for row in shown)
        assert set(app.tokens._values) == {0.0}
        await pilot.press("o")  # input × gradient needs no integral
        assert any("█" in row for row in panel_lines(app.lens))
        assert any(app.tokens._values)


@pytest.mark.parametrize("size", [(80, 24), (200, 60)], ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("view", ["attributions", "list", "graph"])
def test_a_picture(
    snap_compare: Callable[..., bool], scripted: Make, scenes: Any, until: Any, view: str, size: tuple[int, int]
) -> None:
    app = scripted(scenes.oat_milk(), text="I prefer oat milk in my\n")
    made: Any = attributions() if view == "attributions" else circuit()
    name = "gradients" if view == "attributions" else "circuit"

    async def go(pilot: Any) -> None:
        await until(lambda: app.frame.snapshot is not None)
        app.do("lens.look", name)
        await until(lambda: name == app.lens.NAME and app.lens.size and app.focused is app.lens)
        if view == "graph":
            await pilot.press("o")
        app.runner.show(replace(app.runner.frame, answer=made))
        await until(lambda: app.lens.answer is made and app.frame is app.runner.frame)
        for _ in range(3):
            await pilot.pause()

    assert snap_compare(app, run_before=go, terminal_size=size)
