"""What the next-token chart shows of a fixed walk, and how its cursor moves."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from textual.widget import Widget

from tui.app import TokenwalkApp

Make = Callable[..., TokenwalkApp]
Lines = Callable[[Widget], list[str]]

WIDE = (140, 40)


def title(panel: Widget) -> str:
    return str(panel.border_title)


def subtitle(panel: Widget) -> str:
    return str(panel.border_subtitle)


async def test_the_chart_lists_candidates_with_probability_and_logit(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    frame = scenes.frame(scenes.tokens(["I"]), scenes.chart([" the", " my", "\n"], [0.5, 0.25, 0.125]))
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        panel = pilot.app.candidates
        head, *rows = panel_lines(panel)
        assert [word for word in head.split() if word.isalpha()] == ["token", "p", "logit"]
        shown = [row.translate(str.maketrans("█▌›", "   ")).split() for row in rows[:4]]
        assert shown[0] == ["1", "·the", "50.00%", "9.25"]
        assert shown[1] == ["2", "·my", "25.00%", "9.00"]
        assert shown[2] == ["3", "↵", "12.50%", "8.75"]
        assert shown[3] == ["others", "100,274", "12.50%"]
        lengths = [row.count("█") + row.count("▌") / 2 for row in rows[:4]]
        assert lengths[0] == pytest.approx(2 * lengths[1], abs=0.5)
        assert lengths[1] == pytest.approx(2 * lengths[2], abs=0.5)
        assert "H 6.25 bits" in title(panel)
        assert "76" in title(panel)


@pytest.mark.parametrize(
    ("width", "drawn", "said"),
    [
        (80, None, "next token · H 6.25 bits · ≈ 76.1"),
        (80, 6.2499, "next token · H 6.25 bits · ≈ 76.1"),
        (80, 4.5, "next · H 6.25 → 4.50 bits"),
        (140, None, "next token · H 6.25 bits · ≈ 76.1 candidates"),
        (140, 4.5, "next token · H 6.25 → 4.50 bits · ≈ 76.1 → 22.6"),
    ],
)
async def test_the_title_has_the_entropy_of_the_model_and_of_the_draw(
    scripted: Make, scenes: Any, width: int, drawn: float | None, said: str
) -> None:
    """Else the number would stay as it is while the temperature is turned, and seem to be that of the bars."""
    chart = replace(scenes.chart([" the", " my"]), sampled_entropy_bits=drawn)
    async with scripted(scenes.frame(scenes.tokens(["I"]), chart), text="a").run_test(size=(width, 24)) as pilot:
        await pilot.pause()
        assert title(pilot.app.candidates) == said


async def test_rows_after_the_bulk_of_the_probability_are_fainter_and_readable(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    shares = [0.9, 0.0995, 0.0004, 0.000046, 0.0000004]
    frame = scenes.frame(scenes.tokens(["I"]), scenes.chart([f" w{n}" for n in range(5)], shares))
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        panel = pilot.app.candidates
        shown = [row.split()[-2:][0] for row in panel_lines(panel)[1:6]]
        assert shown == ["90.00%", "9.95%", "0.04%", "0.0046%", "4e-5%"]
        others = next(row for row in panel_lines(panel) if "others" in row)
        assert others.split() == ["others", "100,272", "0.01%"]
        faint = panel.style_of("candidates--beyond").color
        rows = [panel.render_line(y) for y in range(1, 6)]
        at = [any(piece.style and piece.style.color == faint and "w" in piece.text for piece in row) for row in rows]
        assert at == [False, False, True, True, True]


async def test_bars_are_logarithmic_on_a_key_and_linear_on_it_again(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    frame = scenes.frame(scenes.tokens(["I"]), scenes.chart(["a", "b", "c"], [0.9, 0.09, 0.009]))
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        panel = pilot.app.candidates
        linear = panel_lines(panel)
        assert "0%" in linear[0] and "100%" in linear[0]
        await pilot.press("escape", "o")
        head, *rows = panel_lines(panel)
        assert "0.1%" in head and "log" in head and "100%" in head
        lengths = [row.count("█") + row.count("▌") / 2 for row in rows[:3]]
        assert lengths[0] - lengths[1] == pytest.approx(lengths[1] - lengths[2], abs=0.6)
        assert lengths[2] > 0
        await pilot.press("o")
        assert panel_lines(panel)[0] == linear[0]


async def test_the_shown_probabilities_sum_to_one(scripted: Make, scenes: Any, panel_lines: Lines) -> None:
    frame = scenes.frame(scenes.tokens(["I"]), scenes.chart([f" w{n}" for n in range(50)], [0.015] * 50))
    for size in ((80, 24), WIDE):
        async with scripted(frame, text="a").run_test(size=size) as pilot:
            await pilot.pause()
            rows = [row for row in panel_lines(pilot.app.candidates)[1:] if "%" in row]
            shares = [float(word[:-1]) for row in rows for word in row.split() if word.endswith("%")]
            others = next(row for row in rows if "others" in row)
            assert sum(shares) == pytest.approx(100, abs=0.01)
            assert int(others.split("others")[1].split()[0].replace(",", "")) == 100_277 - (len(rows) - 1)


async def test_a_cut_candidate_is_marked_and_its_own_probability_is_hatched(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    frame = scenes.frame(scenes.tokens(["I"]), scenes.chart(["a", "b", "c"], [0.4, 0.3, 0.2], kept=1))
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        rows = panel_lines(pilot.app.candidates)[1:5]
        own = ["(40.00%)", "(30.00%)", "(20.00%)", "(10.00%)"]
        assert [share in row for share, row in zip(own, rows, strict=True)] == [False, True, True, True]
        assert "p (cut)" in panel_lines(pilot.app.candidates)[0]
        assert ["░" in row for row in rows] == [False, True, True, True]
        assert "40.00% ✓" in rows[0]  # what the model says, and that it is taken
        assert "1 kept" in subtitle(pilot.app.candidates)


async def test_the_cursor_and_the_token_that_came_have_different_marks(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    chart = scenes.chart(["aa", "bb", "cc", "dd"], taken=2)
    frame = scenes.frame(scenes.tokens(["x", "cc"]), chart, cursor=1)
    async with scripted(frame, text="a").run_test(size=WIDE) as pilot:
        await pilot.pause()
        await pilot.press("down")
        rows = panel_lines(pilot.app.candidates)
        assert ["›" in row for row in rows[1:5]] == [False, True, False, False]
        assert ["▸" in row for row in rows[1:5]] == [False, False, True, False]


async def test_the_token_that_came_is_listed_however_unlikely_it_was(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    chart = scenes.chart([f" w{n}" for n in range(50)], taken=49)
    frame = scenes.frame(scenes.tokens(["x", " w49"]), chart, cursor=1)
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        rows = [row for row in panel_lines(pilot.app.candidates) if "▸" in row]
        assert len(rows) == 1
        assert "·w49" in rows[0]


async def test_the_cursor_scrolls_through_all_candidates(scripted: Make, scenes: Any, panel_lines: Lines) -> None:
    frame = scenes.frame(scenes.tokens(["x"]), scenes.chart([f" w{n}" for n in range(50)]))
    async with scripted(frame, text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        pilot.app.candidates.move(30)
        row = next(row for row in panel_lines(pilot.app.candidates) if "›" in row)
        assert "·w30" in row
        pilot.app.candidates.move(100)
        row = next(row for row in panel_lines(pilot.app.candidates) if "›" in row)
        assert "·w49" in row
        pilot.app.candidates.move(-100)
        assert "·w0" in panel_lines(pilot.app.candidates)[1]
        assert "›" in panel_lines(pilot.app.candidates)[1]


async def test_a_new_distribution_puts_the_cursor_on_the_likeliest_token(
    scripted: Make, scenes: Any, panel_lines: Lines
) -> None:
    async with scripted(text="a").run_test(size=WIDE) as pilot:
        first = scenes.chart(["a", "b", "c", "d", "e", "f"])
        second = scenes.chart(["g", "h", "i", "j", "k", "l"])
        other = tuple(
            c.__class__(c.id + 900, c.piece, c.rank, c.logit, c.probability, c.probability) for c in second.candidates
        )
        pilot.app.runner.show(scenes.frame(scenes.tokens(["x"]), first))
        await pilot.press("down", "down")
        second = second.__class__(other, second.others_count, 0.1, 0.1, 2.0, second.stages, second.kept)
        pilot.app.runner.show(scenes.frame(scenes.tokens(["x", "y"]), second))
        await pilot.pause()
        assert "›" in panel_lines(pilot.app.candidates)[1]
