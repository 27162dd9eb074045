"""The question of causal experiments by keys, and taking the answer of a lens away."""

import csv
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input, OptionList

from core.causal.question import CausalQuestion, Measured
from core.causal.target import Target
from core.lenses import table
from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.dialogs.corrupt import CorruptScreen
from tui.dialogs.notebook import Code, NotebookScreen
from tui.drawing.question import why_in
from tui.lenses.attribution import AttributionLens

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Any], list[str]]

TRAINED = ModelChoice(name="model5-trained", device="cpu")
PROMPT = "I prefer oat milk in"


def asked(app: Any) -> CausalQuestion:
    return app.frame.snapshot.question


async def open_lens(pilot: Any, settle: Go) -> Any:
    pilot.app.do("lens.look", "attribution")
    await settle(pilot)
    assert isinstance(pilot.app.lens, AttributionLens)
    return pilot.app.lens


async def test_tokens_are_chosen_on_the_chart_and_the_measure_goes_round(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, TRAINED).run_test(size=(120, 36)) as pilot:
        app = pilot.app
        await settle(pilot)
        first, second, third = (each.id for each in app.frame.snapshot.chart.candidates[:3])
        await press(pilot, "down", "e")
        assert asked(app) == CausalQuestion(second)
        measured = app.frame.snapshot.measured
        assert (measured.target.id, measured.target.against) == (second, first)
        rows = panel_lines(app.candidates)
        assert [row.lstrip()[1:3] for row in rows[1:4]] == [" B", "›A", "  "]  # cursor and letter
        words = f"logit difference {measured.value:+.2f} · I attribution"
        assert words in str(app.candidates.border_subtitle)
        await press(pilot, "down", "E")
        assert asked(app) == CausalQuestion(second, third)
        await press(pilot, "E")
        assert asked(app) == CausalQuestion(second)
        await press(pilot, "up", "e")
        assert asked(app) == CausalQuestion(second, measure="logit")
        assert "logit" in str(app.candidates.border_subtitle)
        await press(pilot, "e")
        assert asked(app) == CausalQuestion(second, measure="logprob")
        await press(pilot, "e")
        assert asked(app) == CausalQuestion()
        assert app.frame.snapshot.measured is None
        await press(pilot, "up", "E")
        assert app.frame.snapshot.measured.target.against == first
        await press(pilot, "space")
        assert asked(app) == CausalQuestion(against=first)


async def test_the_index_begins_at_the_lens_that_answers_a_question_of_the_chart(
    real: Make, settle: Go, press: Go
) -> None:
    """The border of the chart names both, so that `I` and `⏎` open it; from another lens it begins at that one."""
    async with real(PROMPT, TRAINED).run_test(size=(110, 30)) as pilot:
        app = pilot.app
        await settle(pilot)

        async def begins() -> str:
            await pilot.press("I")
            await pilot.pause()
            (options,) = app.screen.query(OptionList)
            return options.highlighted_option.id

        assert await begins() == "candidates"
        await pilot.press("escape")
        await press(pilot, "down", "e")
        assert str(app.candidates.border_subtitle).endswith("I attribution")
        assert await begins() == "attribution"
        await pilot.press("enter")
        await settle(pilot)
        assert isinstance(app.lens, AttributionLens)
        app.turn_to("circuit")
        assert await begins() == "circuit"


async def test_before_there_is_a_candidate_a_key_asks_nothing(scripted: Make) -> None:
    """Else a key that was typed while a model loads would ask about other tokens than those shown later."""
    async with scripted(text=PROMPT).run_test(size=(80, 24)) as pilot:
        before = list(pilot.app.runner.operations)
        pilot.app.do("asking.target")
        pilot.app.do("asking.against")
        assert pilot.app.runner.operations == before
        await pilot.pause()
        assert [notice.message for notice in pilot.app._notifications][-1] == "there is no candidate yet to ask about"


async def test_a_lens_without_a_question_says_where_one_is_asked(real: Make, settle: Go, press: Go) -> None:
    """Nothing changes there; `escape` is the way back to the chart, where the key then asks."""
    async with real(PROMPT, TRAINED).run_test(size=(110, 30)) as pilot:
        app = pilot.app
        await settle(pilot)
        app.turn_to("logit")
        for key in ("e", "E"):
            await press(pilot, key)
        (note,) = [note.message for note in app._notifications]
        assert note == "this lens answers no question; choose a candidate on the chart (escape) to ask about it × 2"
        assert asked(app) == CausalQuestion()
        await press(pilot, "escape")
        assert app.lens is app.candidates
        await press(pilot, "escape", "down", "e")
        assert asked(app) == CausalQuestion(app.frame.snapshot.chart.candidates[1].id)


async def test_under_an_experiment_the_measure_and_the_order_of_the_tokens_change(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, TRAINED).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await open_lens(pilot, settle)
        target = found.answer.asked.target
        await press(pilot, "E")
        assert (found.answer.asked.target.id, found.answer.asked.target.against) == (target.against, target.id)
        await press(pilot, "e")
        assert found.answer.asked.target.against is None
        assert "logit" in panel_lines(found)[0]


async def test_a_corrupt_prompt_is_written_with_its_tokens_under_those_of_the_prompt(
    real: Make, settle: Go, press: Go, screen_lines: Any
) -> None:
    async with real(PROMPT, TRAINED).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        await pilot.press("z")
        await settle(pilot)
        assert isinstance(app.screen, CorruptScreen)
        assert app.screen.query_one(Input).value == PROMPT
        app.screen.query_one(Input).value = "I prefer the oat milk"
        await settle(pilot)
        text = "\n".join(screen_lines(app))
        assert "aligned from the left" not in text
        assert "5 tokens each" in text
        app.screen.query_one(Input).value = "prefer oat milk in"
        await settle(pilot)
        await pilot.press("tab")
        await settle(pilot)
        text = "\n".join(screen_lines(app))
        assert "aligned from the right" in text
        assert "≠" in text
        await pilot.press("enter")
        await settle(pilot)
        tokenizer = app.frame.tokenizer
        assert asked(app) == CausalQuestion(corrupt=tuple(tokenizer.encode("prefer oat milk in")), align="right")
        await pilot.press("z")
        await settle(pilot)
        assert app.screen.query_one(Input).value == "prefer oat milk in"
        app.screen.query_one(Input).value = ""
        await settle(pilot)
        assert "no corrupt prompt" in "\n".join(screen_lines(app))
        await pilot.press("enter")
        await settle(pilot)
        assert asked(app).corrupt == ()


async def test_an_answer_is_written_as_json_csv_and_a_picture(
    real: Make, settle: Go, press: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with real(PROMPT, TRAINED).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        found = await open_lens(pilot, settle)
        for key in "jcs":
            await pilot.press("W")
            await settle(pilot)
            assert isinstance(app.screen, NotebookScreen)
            await pilot.press(key)
            await settle(pilot)
        await pilot.press("W", "y")
        await settle(pilot)
        assert app.clipboard == found.notebook()
        names = {path.suffix: path for path in tmp_path.iterdir()}
        assert sorted(names) == [".csv", ".json", ".svg"]
        assert all("attribution-i-prefer" in path.name for path in names.values())
        values = json.loads(names[".json"].read_text())
        assert (values["lens"], values["difference"]) == ("attribution", found.answer.asked.value)
        rows = list(csv.reader(names[".csv"].open(newline="")))
        assert rows[0] == list(table("attribution")(found.answer).columns)
        assert len(rows) == len(table("attribution")(found.answer).rows) + 1
        picture = names[".svg"].read_text()
        assert picture.startswith("<svg")
        assert "embedding" in picture


async def test_the_rest_of_a_long_line_of_python_is_indented(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 40)) as pilot:
        code = f"from core.lenses import lens\nids = [{', '.join(map(str, range(40)))}]\nprint(ids)\n"
        await pilot.app.push_screen(NotebookScreen("lens", code))
        await pilot.pause()
        lines = str(pilot.app.screen.query_one(Code).content).splitlines()
        assert "".join(line.strip() + " " for line in lines).split() == code.split()
        assert [line.startswith("  ") for line in lines] == [False, False, True, True, False]


async def test_other_lenses_are_not_taken_away(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, TRAINED).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        await press(pilot, "W")
        (notice,) = pilot.app._notifications
        assert notice.message.startswith("only lenses of experiments are exported: attribution")


async def test_parts_are_divided_and_joined_again(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, TRAINED).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        found = await open_lens(pilot, settle)
        at = next(n for n, part in enumerate(found.answer.parts) if part.path == "1")
        await press(pilot, *["down"] * at, "enter")
        assert found.answer.path == "1"
        await press(pilot, "enter")
        assert found.answer.path == "1.attention"
        await press(pilot, "3")
        assert found.answer.path == "1.attention.2"
        await press(pilot, "shift+down")
        assert found.answer.path == "1.attention.3"
        await press(pilot, "shift+left", "shift+up")
        assert found.answer.path == "0.attention"
        await press(pilot, "o")
        values = [part.value for part in found._parts()]
        assert values == sorted(values, key=abs, reverse=True)
        await press(pilot, "shift+left", "shift+left")
        assert found.answer.path == ""
        await press(pilot, "o")
        assert found.answer.path == "heads"
        strongest = next(part for part in found._parts() if part.path)
        await press(pilot, *["down"] * found._parts().index(strongest), "enter")
        assert found.answer.path == strongest.path
        await press(pilot, "shift+left")
        assert found.answer.path == "heads"
        await press(pilot, "o")
        assert (found.answer.path, found.by_size) == ("", False)
        assert "the parts sum to" in panel_lines(found)[1]


@pytest.mark.parametrize("width", [110, 120, 140])
async def test_a_long_name_leaves_room_for_the_columns_after_it(
    real: Make, settle: Go, press: Go, panel_lines: Lines, width: int
) -> None:
    """The log-probability has a part with a long name."""
    async with real(PROMPT, TRAINED).run_test(size=(width, 32)) as pilot:
        await settle(pilot)
        found = await open_lens(pilot, settle)
        await press(pilot, "e", "e")
        lines = [line.rstrip() for line in panel_lines(found)]
        head = next(line for line in lines if "value" in line)
        assert head.endswith("mlp") == ("attention" in head)
        rows = lines[lines.index(head) + 1 :]
        assert all(re.search(r"[+-]\d+\.\d\d\d?$", row) for row in rows if row)
        assert any("  −log Σ" in line for line in lines)


async def test_the_normalizer_of_a_log_probability_does_not_shrink_the_bars(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    """It is as large as all logits together; its bar ends in an arrow, and its value is said above."""
    async with real(PROMPT, TRAINED).run_test(size=(120, 40)) as pilot:
        await settle(pilot)
        found = await open_lens(pilot, settle)
        await press(pilot, "e", "e")
        lines = panel_lines(found)
        normalizer = next(line for line in lines if line.startswith("  −log Σ"))
        value = float(normalizer.split()[-1])
        assert "◀█" in normalizer and f"exp {value:+.2f}" in lines[1] + lines[2]
        bars = [line.count("█") for line in lines if "block" in line or "embedding" in line]
        assert max(bars) == normalizer.count("█") + 1


def test_the_question_is_as_long_as_the_border_and_a_token_far_down_has_its_rank() -> None:
    asked = Measured(Target(3, 7), b" coffee", b" breakfast", 0.314, (0, 5011))
    near = replace(asked, ranks=(0, 1))
    long = "why ·coffee, not ·breakfast: logit difference +0.31"
    assert why_in(near, 30, 80, "I attribution") == f"{long} · I attribution"
    assert why_in(near, 30, 54, "I attribution") == "A − B: logit difference +0.31 · I attribution"
    assert why_in(near, 30, 34, "I attribution") == "A − B: logit difference +0.31"
    assert why_in(asked, 30, 70, "I attribution") == long.replace("breakfast", "breakfast (rank 5,012)")
