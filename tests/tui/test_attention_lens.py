"""The attention lens in the app: the map of a head, and a picture of every head."""

from dataclasses import replace

from lens_pages import (
    DEEP,
    PROMPT,
    Go,
    Lines,
    Make,
    answered,
    turn_to,
)

from tui.drawing.thumbnails import shape_for, thumbnail


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
