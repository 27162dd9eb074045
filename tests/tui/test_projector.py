"""The theme for a projector: contrast, big bars, and nothing that is told by a faint color alone."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from rich.segment import Segment
from rich.style import Style
from textual.color import Color

from core.loading.choice import ModelChoice
from tui import themes
from tui.app import TokenwalkApp
from tui.settings import Settings

Make = Callable[..., TokenwalkApp]
THEME = Settings(theme="tokenwalk-projector")
TRAINED = ModelChoice(name="model5-trained", device="cpu")


@pytest.mark.parametrize(
    ("one", "other", "ratio"),
    [("#ffffff", "#000000", 21.0), ("#767676", "#ffffff", 4.54), ("#595959", "#ffffff", 7.0), ("#00f", "#fff", 8.59)],
)
def test_contrast_is_that_of_wcag(one: str, other: str, ratio: float) -> None:
    """Values of the W3C's own examples and of WebAIM's checker."""
    assert themes.contrast(Color.parse(one), Color.parse(other)) == pytest.approx(ratio, abs=0.01)
    assert themes.contrast(Color.parse(other), Color.parse(one)) == themes.contrast(
        Color.parse(one), Color.parse(other)
    )


def weakest(app: TokenwalkApp) -> tuple[float, str]:
    """The smallest contrast of letters and digits on the screen, or in its dialog, and the text that has it."""
    found, region = [], next((each.region for each in app.screen.query(".dialog")), app.screen.region)
    for strip in app.screen._compositor.render_strips()[region.y : region.bottom]:
        for text, style, _ in strip.crop(region.x, region.right):
            if any(map(str.isalnum, text)):
                assert style is not None and style.color is not None and style.bgcolor is not None
                assert not style.dim
                front, ground = Color.from_rich_color(style.color), Color.from_rich_color(style.bgcolor)
                if style.reverse:
                    front, ground = ground, front
                found.append((themes.contrast(front, ground), text))
    return min(found)


async def test_all_text_has_the_contrast_of_level_aaa(real: Make, settle: Callable[..., Awaitable[None]]) -> None:
    app = real("I prefer oat milk in my", TRAINED, settings=THEME)
    async with app.run_test(size=(120, 36)) as pilot:
        await settle(pilot)
        for name in ("candidates", "attention", "logit", "sampler"):
            app.turn_to(name)
            await settle(pilot)
            ratio, text = weakest(app)
            assert ratio >= 7, (name, text)
        await pilot.press("question_mark")
        await settle(pilot)
        assert weakest(app)[0] >= 7


async def test_bars_are_two_lines_high_and_leave_a_gap(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="oat", settings=THEME).run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        chart = pilot.app.walk.candidates
        lines = [chart.render_line(y).text for y in range(chart.size.height)]
        first = next(n for n, line in enumerate(lines) if "█" in line)
        above, below = lines[first : first + 2]
        assert above.count("█") == below.count("▀") > 5
        assert above.index("█") == below.index("▀")
        assert "█" not in below
        pilot.app.theme = "tokenwalk-dark"
        await pilot.pause()
        assert not any("▀" in chart.render_line(y).text for y in range(chart.size.height))


async def test_a_click_on_either_line_of_a_bar_means_its_candidate(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="oat", settings=THEME).run_test(size=(120, 36)) as pilot:
        await pilot.pause()
        chart = pilot.app.walk.candidates
        for line, rank in ((3, 1), (6, 2), (5, 2), (1, 0)):
            await pilot.click(chart, offset=(6, line + 1))
            await pilot.pause()
            assert chart.candidate is not None
            assert chart.candidate.rank == rank


def test_what_is_dim_elsewhere_is_in_italics() -> None:
    segments = [Segment("gone", Style(dim=True, color="red")), Segment("here", Style()), Segment("", None)]
    shown = themes.Undimmed().apply(segments, Color.parse("#fff"))
    assert shown == [Segment("gone", Style(dim=False, italic=True, color="red")), *segments[1:]]


def test_a_tint_stays_readable() -> None:
    ground, ink = Color.parse("#ffffff"), Color.parse("#000000")
    for hue in map(Color.parse, (themes.PROJECTOR.accent, themes.PROJECTOR.warning)):
        share = themes.strongest_tint(ground, hue, ink)
        assert 0.3 < share < 1
        assert themes.contrast(ground.blend(hue, share), ink) >= 7
        assert themes.contrast(ground.blend(hue, share + 0.02), ink) < 7


def test_picture(snap_compare: Callable[..., bool], scripted: Make, scenes: Any) -> None:
    assert snap_compare(scripted(scenes.oat_milk(), text="I prefer oat milk in my\n", settings=THEME))
