"""Each lens in the app: it answers for the step on the screen, and its keys change the question."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from textual.widget import Widget

from core.lenses import lens
from core.loading.choice import Hyperparameters, ModelChoice
from core.loading.models import load_model
from core.walk.session import Session
from core.walk.values import PromptForm
from tui import lenses
from tui.app import TokenwalkApp
from tui.dialogs.source import SourceScreen
from tui.drawing.text import label
from tui.drawing.thumbnails import shape_for, thumbnail
from tui.lenses.base import ExperimentPage, Lens, LensPage
from tui.lenses.ladder import in_cell
from tui.runner import Refusal

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Widget], list[str]]

PROMPT = "oat milk"
BYTES = ModelChoice(tokenizer="bytes", device="cpu")
DEEP = replace(BYTES, name="model5", changes=Hyperparameters(context=32, blocks=3, heads=4))
PAGES = [kind for kind in lenses.found() if kind.NAME not in ("candidates", "branches", "continuations", "guess")]
"""Lenses with an answer from the model; the others show what a person did."""
SIZES = [(80, 24), (120, 36)]


def page(app: TokenwalkApp) -> LensPage[Any]:
    assert isinstance(app.lens, LensPage)
    return app.lens


def inert(lines: list[str]) -> bool:
    return all(character.isprintable() for line in lines for character in line)


CORRUPT = "oat silk"
"""Differs from the prompt by one token, for the lenses that compare two prompts."""


async def turn_to(pilot: Any, settle: Go, name: str) -> LensPage[Any]:
    pilot.app.do("lens.look", name)
    for _ in range(1000):
        await settle(pilot)
        if page(pilot.app)._drawn:  # laid out
            break
    return page(pilot.app)


def compare(session: Session) -> None:
    session.compare_with(CORRUPT, PromptForm(), "left")


def session(choice: ModelChoice, text: str = PROMPT) -> Session:
    found = Session(load_model(choice))
    list(found.prefill(list(text.encode())))
    return found


def answered(choice: ModelChoice, name: str, text: str = PROMPT, **options: Any) -> Any:
    return list(lens(name)(session(choice, text).current_step(), **options))[-1]


def test_every_file_of_the_folder_is_a_lens_and_the_chart_is_the_first() -> None:
    kinds = lenses.found()
    assert kinds[0].NAME == "candidates"
    assert len({kind.NAME for kind in kinds}) == len({kind.ORDER for kind in kinds}) == len(kinds)
    assert all(kind.TITLE and kind.DESCRIPTION for kind in kinds)
    assert {kind.__module__ for kind in kinds} == {
        f"tui.lenses.{path.stem}" for path in Path(lenses.__path__[0]).glob("*.py") if path.stem != "__init__"
    }


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.NAME)
async def test_every_lens_answers_at_every_size(
    real: Make, settle: Go, press: Go, panel_lines: Lines, kind: type[Lens]
) -> None:
    """Also where the size changes while it is shown."""
    async with real(PROMPT, DEEP).run_test(size=SIZES[0]) as pilot:
        await settle(pilot)
        pilot.app.act(compare)
        await settle(pilot)
        found = await turn_to(pilot, settle, kind.NAME)
        for size in SIZES:
            await pilot.resize_terminal(*size)
            await settle(pilot)
            assert found.answer is not None
            for _ in range(3):  # each side, with the cursor moved
                lines = panel_lines(found)
                assert sum(bool(line.strip()) for line in lines) >= 3
                assert {cell_len(line) for line in lines} == {found.columns}
                assert inert(lines)
                await press(pilot, "o", "down", "up", "shift+down", "shift+right", "shift+up", "shift+left")
            assert found.answer is not None


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.NAME)
async def test_a_lens_answers_or_says_why_not_for_model_1(
    real: Make, settle: Go, panel_lines: Lines, kind: type[Lens]
) -> None:
    async with real(PROMPT).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, kind.NAME)
        lines = [line.strip() for line in panel_lines(found) if line.strip()]
        if kind.NAME == "attention":
            assert lines == ["model1 has no attention; choose model3 or a later model"]
        elif kind.NAME == "heads":
            assert lines == ["model1 has no attention heads; choose model3 or a later model"]
        elif found.answer is None:
            assert issubclass(kind, ExperimentPage)
            assert isinstance(pilot.app.frame.answer, Refusal)
        else:
            assert lines


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.NAME)
async def test_hostile_text_is_inert_in_every_lens(
    real: Make, settle: Go, press: Go, panel_lines: Lines, kind: type[Lens]
) -> None:
    hostile = "\x1b[2J[/b]\t\x07\u202e字\n[@click=app.quit]"
    async with real(hostile, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, kind.NAME)
        for _ in range(3):
            assert inert(panel_lines(found))
            await press(pilot, "o", "up")


@pytest.mark.parametrize("kind", PAGES, ids=lambda kind: kind.NAME)
async def test_an_answer_is_replaced_when_the_walk_moves(real: Make, settle: Go, press: Go, kind: type[Lens]) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        pilot.app.act(compare)
        await settle(pilot)
        found = await turn_to(pilot, settle, kind.NAME)
        before = found.answer
        await press(pilot, "left")
        the_same_everywhere = kind.NAME in ("weights", "device", "draft", "heads")
        assert (found.answer is before) == the_same_everywhere
        assert found.answer is pilot.app.frame.answer


async def test_each_of_several_fast_keys_moves_on_by_one_lens(real: Make, settle: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        for _ in range(4):
            pilot.app.simulate_key("full_stop")
        await settle(pilot)
        assert pilot.app.lens.NAME == lenses.found()[4].NAME
        assert pilot.app.focused is pilot.app.lens


async def test_another_model_without_attention_refuses_and_comes_back(real: Make, settle: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        for choice, answers in ((BYTES, False), (DEEP, True)):
            pilot.app.do("choosing.load", choice)
            await settle(pilot)
            assert (found.answer is not None) == answers


# Attention -----------------------------------------------------------------------------------------------------------


async def test_shift_and_arrows_choose_layer_and_head(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        await press(pilot, "shift+down", "shift+right", "shift+right")
        assert (found.answer.layer, found.answer.head) == (1, 2)
        assert str(found.border_title) == f"attention · {found.place} · layer 1 · head 2"
        assert found.answer.pattern == answered(DEEP, "attention", layer=1, head=2).pattern
        first = next(n for n, line in enumerate(panel_lines(found)) if "1.0" in line)
        rows = panel_lines(found)[first : first + len(PROMPT)]
        for row, weights in zip(rows, found.answer.pattern, strict=True):
            shown = [cell for cell in row.split() if cell[0] in ".1" and cell[-1].isdigit()]
            assert shown == [f"{weight:.2f}"[1:] if weight < 0.995 else "1.0" for weight in weights]
        await press(pilot, *["shift+up"] * 5)
        assert found.answer.layer == 0


async def test_later_positions_are_masked(real: Make, settle: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        first = next(n for n, line in enumerate(panel_lines(found)) if "1.0" in line)
        rows = panel_lines(found)[first : first + len(PROMPT)]
        assert [row[11:].split().count("·") for row in rows] == [7, 6, 5, 4, 3, 2, 1, 0]


async def test_the_grid_has_a_picture_of_every_head_and_opens_one(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        await press(pilot, "o", "shift+right", "down")
        lines = panel_lines(found)
        answer = answered(DEEP, "attention", size=32)
        across, down = shape_for(len(answer.heads), len(answer.heads[0]), found.columns, len(lines) - 2)
        for layer, heads in enumerate(answer.pictures):
            at = next(n for n, line in enumerate(lines) if f"{layer}.0" in line)
            for number, pixels in enumerate(heads):
                drawn = [line[number * (across + 2) :][:across] for line in lines[at + 1 : at + 1 + down]]
                assert drawn == list(thumbnail(pixels, across, down))
        assert "›1.1" in "".join(lines)
        await press(pilot, "enter")
        assert (found.answer.layer, found.answer.head) == (1, 1)
        assert "attends to" in panel_lines(found)[0]


async def test_a_click_on_a_picture_opens_the_head(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        await press(pilot, "o")
        lines = panel_lines(found)
        y = next(n for n, line in enumerate(lines) if "1.2" in line)
        left, top = found.content_region.offset - found.region.offset
        await pilot.click(found, offset=(left + lines[y].index("1.2"), top + y + 1))
        await settle(pilot)
        assert not found.all_heads
        assert (found.answer.layer, found.answer.head) == (1, 2)


async def test_the_tokens_over_the_map_stand_over_their_columns(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    """Downwards where cells are narrow; a wide cell has its token in one line, ending where its number ends."""
    for text, width in (("oat", 8), ("the kettle was on", 4)):
        async with real(text, DEEP).run_test(size=(120, 36)) as pilot:
            await settle(pilot)
            found = await turn_to(pilot, settle, "attention")
            lines = panel_lines(found)
            first = next(n for n, line in enumerate(lines) if line[1:10].strip() == text[0])
            cell = max(2, min(8, (found.columns - 11) // len(found.answer.pieces)))
            assert cell >= width // 2
            for number, piece in enumerate(found.answer.pieces):
                columns = [line[11 + number * cell :][:cell] for line in lines[5:first]]
                assert "".join(column.strip() for column in columns) == piece.decode().replace(" ", "·")


async def test_a_long_context_keeps_the_row_of_the_cursor_in_sight(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    long = replace(DEEP, changes=replace(DEEP.changes, context=512))
    async with real("the kettle was on before " * 8, long).run_test(size=(80, 24)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "attention")
        lines = panel_lines(found)
        assert any("of 200" in line for line in lines)
        assert lines[-1].startswith("›")
        assert "·" not in lines[-1][11:], "the columns end at the position"
        await press(pilot, *["up"] * 50)
        (row,) = (line for line in panel_lines(found) if line.startswith("›"))
        assert 0 < row[11:].count("·") < 32, "later positions are masked, and its own column is seen"


# Flow ----------------------------------------------------------------------------------------------------------------


async def test_a_stage_unfolds_into_its_parts(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "flow")
        folded = found.choice_count()
        assert folded == sum(not stage.level for stage in found.answer.stages)
        await press(pilot, "down", "down", "down", "down", "o")
        inside = (
            "norm", "queries, keys, values", "queries", "keys", "values", "scores", "weights", "heads",
            "output projection",
        )  # fmt: skip
        assert found.choice_count() == folded + len(inside)
        assert "B=1 T=" in "\n".join(panel_lines(found))
        await press(pilot, "shift+right")
        assert "B=5 T=8" in "\n".join(panel_lines(found))
        await press(pilot, "down", "o")  # from a part of it
        assert (found.choice_count(), found.cursor) == (folded, 4)


async def test_enter_opens_the_source_beside_its_equation(
    real: Make, settle: Go, press: Go, screen_lines: Callable[[TokenwalkApp], list[str]]
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        await turn_to(pilot, settle, "flow")
        await press(pilot, "down", "down", "down", "down", "enter")
        assert isinstance(pilot.app.screen, SourceScreen)
        shown = "\n".join(screen_lines(pilot.app))
        assert "W_o concat(head" in shown
        assert "class Attention(nn.Module):" in shown
        await press(pilot, "j", "escape")
        assert len(pilot.app.screen_stack) == 1


# The others ----------------------------------------------------------------------------------------------------------


async def test_the_logit_lens_shows_the_rank_of_what_came(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "logit")
        await press(pilot, "left")
        assert found.answer.target_came
        lines = [line for line in panel_lines(found)[3:] if line.strip()]
        assert [int(line.split()[-1].replace(",", "")) - 1 for line in lines] == [
            layer.target.rank for layer in found.answer.layers
        ]
        assert "k came next" in panel_lines(found)[0]


async def test_the_context_table_has_a_row_for_each_prefix(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "context")
        lines = panel_lines(found)[3 : 3 + len(PROMPT)]
        want = answered(DEEP, "context")
        for line, row in zip(lines, want.rows, strict=True):
            assert line[2:].startswith(label(row.piece))
            assert f"{row.entropy_bits:.2f}" in line and f"{row.mass90:,}" in line
        await press(pilot, "o")
        assert "entropy, bits" in panel_lines(found)[2]


async def test_o_switches_between_replace_mask_and_shuffle(
    real: Make, settle: Go, press: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "last_token")
        for how in ("mask", "shuffle", "replace"):
            await press(pilot, "o")
            assert found.answer.how == how
            assert found.answer == answered(DEEP, "last_token", how=how)


async def test_without_attention_earlier_tokens_move_nothing(real: Make, settle: Go, panel_lines: Lines) -> None:
    async with real(PROMPT).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "last_token")
        lines = panel_lines(found)
        assert sum(line.rstrip().endswith("exactly 0") for line in lines) == len(
            PROMPT
        )  # seven tokens, and all of them together
        assert "no attention" in lines[0]


async def test_a_weight_is_chosen_and_measured(real: Make, settle: Go, press: Go, panel_lines: Lines) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "weights")
        assert f"{found.answer.total:,}" in "".join(panel_lines(found))
        await press(pilot, "o", "down", "down", "enter")
        name = found.answer.names[2].name
        assert found.answer.histogram.name == name
        tensor = load_model(DEEP).transformer.get_parameter(name)
        assert found.answer.histogram.mean == pytest.approx(tensor.mean().item(), abs=1e-6)
        assert any(f"mean {tensor.mean().item():+.4f}" in line for line in panel_lines(found))


async def test_a_weight_missing_in_another_model_is_replaced_by_the_first(real: Make, settle: Go, press: Go) -> None:
    async with real(PROMPT, DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "weights")
        await press(pilot, "o", "down", "down", "down", "enter")
        pilot.app.do("choosing.load", BYTES)
        await settle(pilot)
        assert found.answer.histogram.name == "embed.weight"


async def test_the_context_table_of_an_empty_prompt_uses_an_example(real: Make, settle: Go, panel_lines: Lines) -> None:
    """With an empty prompt the table shows the text of the article, then the text that is typed."""
    async with real("", DEEP).run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        found = await turn_to(pilot, settle, "context")
        assert found.answer.total == len("I prefer oat milk in")
        assert "example" in str(found.border_title)
        pilot.app.do("writing.write")
        await pilot.press("o", "a")
        await settle(pilot)
        assert found.answer.total == 2
        assert "example" not in str(found.border_title)


@pytest.mark.parametrize("size", [(60, 18), *SIZES, (200, 50)], ids=str)
async def test_the_context_table_keeps_its_last_column(
    real: Make, settle: Go, panel_lines: Lines, size: tuple[int, int]
) -> None:
    async with real(PROMPT, DEEP).run_test(size=size) as pilot:
        await settle(pilot)
        rows = [line for line in panel_lines(await turn_to(pilot, settle, "context"))[3:] if line.strip()]
        assert rows
        assert all(row.rstrip().endswith("%") for row in rows)


@pytest.mark.parametrize(("width", "placed"), [(120, True), (56, False)])
async def test_the_title_says_the_place_of_a_lens_where_there_is_room(
    scripted: Make, scenes: Any, width: int, placed: bool
) -> None:
    kinds = [kind.NAME for kind in lenses.found()]
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(width, 36)) as pilot:
        await pilot.pause()
        pilot.app.do("lens.look", "score")
        await pilot.pause()
        place = f" · {kinds.index('score') + 1}/{len(kinds)}" if placed else ""
        assert str(pilot.app.lens.border_title) == f"score{place}"


@pytest.mark.parametrize("value", [None, 0.0, 3e-7, 0.00049, 0.0312, 9.9996, 16.53, 123.456, 99999.0])
def test_divergences_never_touch_the_column_before(value: float | None) -> None:
    for width in (6, 8, 10):
        cell = in_cell(value, width)
        assert len(cell) == width
        assert cell[0] == " "
        if value:
            assert float(cell) == pytest.approx(value, rel=0.5)
