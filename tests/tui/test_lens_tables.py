"""What the tables of the logit lens, context, last token, weights and ladder show, and what their keys change."""

import pytest
from lens_pages import BYTES, DEEP, PROMPT, SIZES, Go, Lines, Make, answered, turn_to

from core.loading.models import load_model
from tui.drawing.text import label
from tui.lenses.ladder import in_cell
from tui.lenses.logit import axis


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


def test_the_ends_of_an_axis_are_two_numbers() -> None:
    assert axis(0.1, 6) == "0  0.1"
    assert axis(2e-05, 6) == " 2e-05"
    assert axis(2e-05, 8) == "0  2e-05"


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


@pytest.mark.parametrize("value", [None, 0.0, 3e-7, 0.00049, 0.0312, 9.9996, 16.53, 123.456, 99999.0])
def test_divergences_never_touch_the_column_before(value: float | None) -> None:
    for width in (6, 8, 10):
        cell = in_cell(value, width)
        assert len(cell) == width
        assert cell[0] == " "
        if value:
            assert float(cell) == pytest.approx(value, rel=0.5)
