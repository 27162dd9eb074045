"""The stylesheet is parsed once for a theme."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from textual.css import stylesheet as textual_stylesheet
from textual.css.stylesheet import Stylesheet
from textual.dom import DOMNode

from tui.app import TokenwalkApp
from tui.settings import Settings
from tui.stylesheet import parsed_rules

Make = Callable[..., TokenwalkApp]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[tuple[Any, ...]]:
    """How often the styles of each place were parsed with a precedence."""
    counts, parse = Counter[tuple[Any, ...]](), textual_stylesheet.parse

    def counted(scope: str, css: str, read_from: tuple[str, str], *, tie_breaker: int, **options: Any) -> Any:
        counts[read_from, tie_breaker] += 1
        return parse(scope, css, read_from, tie_breaker=tie_breaker, **options)

    monkeypatch.setattr(textual_stylesheet, "parse", counted)
    parsed_rules.cache_clear()
    return counts


@pytest.mark.parametrize("theme", ["tokenwalk-dark", "nord"])
async def test_an_app_parses_each_source_once_and_the_next_app_none(
    scripted: Make, scenes: Any, parsed: Counter[tuple[Any, ...]], theme: str
) -> None:
    async with scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme)).run_test() as pilot:
        await pilot.press("question_mark")
    assert set(parsed.values()) == {1}
    before = parsed.total()
    async with scripted(scenes.oat_milk(), text="a", settings=Settings(theme=theme)).run_test() as pilot:
        await pilot.press("question_mark")
    assert parsed.total() == before


async def test_another_theme_parses_each_source_again_and_the_first_one_does_not(
    scripted: Make, scenes: Any, parsed: Counter[tuple[Any, ...]]
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test() as pilot:
        dark = pilot.app.screen.styles.background
        pilot.app.theme = "tokenwalk-light"
        await pilot.pause()
        light = pilot.app.screen.styles.background
        pilot.app.theme = "tokenwalk-dark"
        await pilot.pause()
        assert pilot.app.screen.styles.background == dark != light
    assert max(parsed.values()) == 2


@pytest.mark.parametrize("size", [(60, 18), (160, 45)], ids=str)
async def test_every_node_has_the_styles_that_textual_finds(
    real: Make, settle: Callable[..., Any], press: Callable[..., Any], size: tuple[int, int]
) -> None:
    """After a change of the focus, of the lens, of the screen and of the layout."""
    async with real("oat").run_test(size=size) as pilot:
        await settle(pilot)
        for keys in (("full_stop",), ("i",), ("escape", "b"), ("space", "left"), ("question_mark",), ("escape", "m")):
            await press(pilot, *keys)
            check_styles(pilot.app)


async def test_styles_stay_where_no_rule_has_changed(
    scripted: Make, scenes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those of component classes, which Textual makes anew."""
    async with scripted(scenes.oat_milk(), text="a").run_test() as pilot:
        await pilot.pause()
        pilot.app.screen.update_node_styles()  # of scroll bars too, which have come last
        chart = pilot.app.candidates
        before, replaced = dict(chart._component_styles), []
        monkeypatch.setattr(pilot.app.stylesheet, "replace_rules", lambda node, *_, **__: replaced.append(node))
        pilot.app.screen.update_node_styles()
        assert not replaced
        assert before and all(chart._component_styles[name] is styles for name, styles in before.items())


def check_styles(app: TokenwalkApp) -> None:
    sheet = app.stylesheet
    for node in app.screen.walk_children(with_self=True):
        kept = dict(node.styles.base.get_rules())
        Stylesheet.apply(sheet, node)
        assert node.styles.base.get_rules() == kept, node
        for component in node._get_component_classes():
            part = DOMNode(classes=component)
            part._attach(node)
            Stylesheet.apply(sheet, part)
            assert part.styles.get_rules() == node._component_styles[component].get_rules(), (node, component)
