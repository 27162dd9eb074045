"""Text can be read in 16 million, 256 and 16 colors: the contrast of every component style of the walk screen."""

from collections.abc import Callable
from typing import Any

import pytest
from rich.color import Color as RichColor
from rich.color import ColorSystem
from rich.terminal_theme import DEFAULT_TERMINAL_THEME
from textual.color import Color
from textual.theme import Theme

from tui.app import TokenwalkApp
from tui.lenses.base import HeatMapPage
from tui.lenses.base.page import TINTS
from tui.settings import Settings
from tui.themes import DARK, LIGHT, PROJECTOR, contrast

Make = Callable[..., TokenwalkApp]
MARKS = ("ghost", "rule", "above", "below", "even", "odd", "matching-bracket", "separator", "gutter", "suggestion")
"""Bars, lines and grounds: no letters, or letters of Textual's own."""
SYSTEMS = {"truecolor": None, "256": ColorSystem.EIGHT_BIT, "16": ColorSystem.STANDARD}

INKS = (
    *("foreground", "secondary", "accent", "warning", "error", "success", "text-muted", "text-disabled"),
    *("footer-key-foreground", "footer-description-foreground"),
)


@pytest.mark.parametrize("theme", [DARK, LIGHT, PROJECTOR], ids=lambda theme: theme.name)
def test_every_color_of_text_stands_out_from_every_ground(theme: Theme) -> None:
    """By 4.5:1 (WCAG 2.2, level AA). Faint text is a gray of 256 colors, 4:1 on the brightest ground, a cursor's."""
    colors = theme.to_color_system().generate()
    pairs = [(ink, ground) for ink in INKS for ground in ("background", "surface", "panel")]
    for ink, ground in (*pairs, ("block-cursor-foreground", "block-cursor-background")):
        least = 3.9 if ink == "text-disabled" else 4.5
        assert contrast(Color.parse(colors[ink]), Color.parse(colors[ground])) >= least, (ink, ground)


def shown(color: RichColor, system: ColorSystem | None) -> Color:
    """A color as a terminal with fewer colors shows it."""
    return Color(*(color.downgrade(system) if system else color).get_truecolor(DEFAULT_TERMINAL_THEME))


@pytest.mark.parametrize("theme", ["tokenwalk-dark", "tokenwalk-light"])
async def test_letters_stand_out_from_their_ground(scripted: Make, scenes: Any, theme: str) -> None:
    app = scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme))
    async with app.run_test(size=(160, 45)) as pilot:
        for lens in ("attention", "sampler", "softmax"):
            app.turn_to(lens)
            await pilot.pause()
        weak, checked = [], 0
        for widget in app.screen.walk_children():
            for name in ["", *widget.COMPONENT_CLASSES]:
                style = widget.get_component_rich_style(name) if name else widget.rich_style
                if style.color is None or style.bgcolor is None or any(mark in name for mark in MARKS):
                    continue
                assert not style.dim, name
                for title, system in SYSTEMS.items():
                    ratio = contrast(shown(style.color, system), shown(style.bgcolor, system))
                    checked += 1
                    if ratio < (3.9 if title != "16" else 3.0):
                        weak.append((type(widget).__name__, name, title, round(ratio, 2)))
        assert checked > 300
        assert not weak


@pytest.mark.parametrize("theme", ["tokenwalk-dark", "tokenwalk-light", "tokenwalk-projector"])
async def test_numbers_stand_out_from_every_tint_of_a_heat_map(scripted: Make, scenes: Any, theme: str) -> None:
    app = scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme))
    async with app.run_test(size=(120, 36)) as pilot:
        page = app.turn_to("heads")
        assert isinstance(page, HeatMapPage)
        await pilot.pause()
        shares = [level / TINTS for level in range(1, TINTS + 1)]
        styles = [style for share in shares for style in (page.signed_tint(share), page.signed_tint(-share))]
        styles += [page.tint(share) for share in shares]
        grounds = {style.bgcolor for style in styles}
        assert len(grounds) > TINTS
        assert min(contrast(shown(style.color, None), shown(style.bgcolor, None)) for style in styles) > 3.5


@pytest.mark.parametrize("theme", ["tokenwalk-dark", "tokenwalk-light", "tokenwalk-projector"])
async def test_tints_are_in_order_in_256_colors(
    scripted: Make, scenes: Any, monkeypatch: pytest.MonkeyPatch, theme: str
) -> None:
    """As the terminal shows them: brighter or darker with each step, and of one hue."""
    app = scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme))
    async with app.run_test(size=(120, 36)) as pilot:
        monkeypatch.setattr(app.console, "_color_system", ColorSystem.EIGHT_BIT)
        page = app.turn_to("heads")
        await pilot.pause()
        tokens = app.tokens
        levels = [level / TINTS for level in range(TINTS + 1)]
        for tints in (
            [page.signed_tint(level) for level in levels],
            [page.signed_tint(-level) for level in levels],
            [page.tint(level) for level in levels],
            tokens._styles(),
        ):
            seen = [shown(style.bgcolor, ColorSystem.EIGHT_BIT) for style in tints]
            light = [contrast(color, Color.parse("black")) for color in seen]
            assert light == sorted(light, reverse=theme != "tokenwalk-dark")
            assert len(set(seen)) >= 3
            inks = [shown(style.color, ColorSystem.EIGHT_BIT) for style in tints]
            ratios = list(map(contrast, inks, seen))
            assert theme != "tokenwalk-projector" or min(ratios[1:]) > 7
            hues = {round(color.hsl.h * 12) % 12 for color in seen[1:] if color.hsl.s > 0.15 and color != seen[0]}
            assert max((min(abs(a - b), 12 - abs(a - b)) for a in hues for b in hues), default=0) <= 2


async def test_there_are_no_tints_in_the_colors_of_the_terminal(scripted: Make, scenes: Any) -> None:
    """They cannot be blended: a tint would hide the numbers, or have one strength for all of them."""
    app = scripted(scenes.oat_milk(), text="a", settings=Settings(theme="ansi-dark"))
    async with app.run_test(size=(120, 36)) as pilot:
        page = app.turn_to("heads")
        await pilot.pause()
        styles = [page.tint(1.0), page.tint(0.3), page.signed_tint(1.0), page.signed_tint(-0.3)]
        assert {style.bgcolor for style in styles} == {page.rich_style.bgcolor}
        assert {style.color for style in styles} == {page.rich_style.color}


async def test_a_lens_takes_the_colors_of_another_theme(real: Make, settle: Callable[..., Any]) -> None:
    app = real("oat milk")
    async with app.run_test(size=(120, 36)) as pilot:
        app.turn_to("context")
        await settle(pilot)
        app.theme = "tokenwalk-light"
        await settle(pilot)
        segments = [each for y in range(app.lens.size.height) for each in app.lens.render_line(y)]
        assert sum(bool(each.text.strip()) for each in segments) > 9
        assert Color.parse(DARK.panel or "").rich_color not in {each.style.bgcolor for each in segments}
        assert min(contrast(shown(each.style.color, None), Color.parse(LIGHT.panel or "")) for each in segments) > 3.9
