"""Every panel can be reached in every size of terminal, and none is cut off."""

from collections.abc import Callable
from typing import Any

import pytest
from textual.widgets._toast import Toast

from core.loading.choice import ModelChoice
from tui.app import TokenwalkApp
from tui.drawing.scroll_bar import ThinScrollBar
from tui.panels.footer import FooterKey, KeyFooter

Make = Callable[..., TokenwalkApp]

ALL_AT_ONCE = [(80, 24), (120, 36), (200, 60)]
BY_TABS = [(60, 18), (60, 40), (100, 16)]
ORDER = ["prompt", "tokens", "candidates", "generation"]


def visible(app: TokenwalkApp) -> set[str]:
    """The panels that have a place on the screen, wholly inside it."""
    panels = (app.prompt, app.tokens, app.candidates, app.generation)
    return {p.id for p in panels if p.size and p.region in app.screen.region}


@pytest.mark.parametrize("size", ALL_AT_ONCE)
async def test_four_panels_stand_side_by_side(scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=size) as pilot:
        await pilot.pause()
        app = pilot.app
        assert visible(app) == set(ORDER)
        assert not app.tabs.display
        regions = [panel.region for panel in (app.prompt, app.tokens, app.candidates, app.generation, app.status)]
        for number, one in enumerate(regions):
            assert not any(one.overlaps(other) for other in regions[number + 1 :])


@pytest.mark.parametrize("size", BY_TABS)
async def test_panels_that_do_not_fit_are_behind_tabs(scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=size) as pilot:
        await pilot.pause()
        app = pilot.app
        assert visible(app) == {"prompt", "candidates"}
        assert app.tabs.display
        assert app.tabs.region in app.screen.region


@pytest.mark.parametrize("size", [(60, 18), (80, 24), (120, 36)])
async def test_tab_goes_round_all_panels_and_shift_tab_back(scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=size) as pilot:
        await pilot.pause()
        for key, order in (("tab", ORDER), ("shift+tab", ORDER[::-1])):
            seen = []
            for _ in ORDER:
                await pilot.press(key)
                seen.append(pilot.app.focused.id)
                assert seen[-1] in visible(pilot.app)
            start = order.index(seen[0])
            assert seen == order[start:] + order[:start]


async def test_a_tab_is_chosen_by_a_click(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        text = pilot.app.tabs.render().plain
        for name, panel in (("generation", "generation"), ("token ids", "tokens"), ("next token", "candidates")):
            await pilot.click(pilot.app.tabs, offset=(text.index(name) + 3, 0))
            await pilot.pause()
            assert pilot.app.focused.id == panel
            assert panel in visible(pilot.app)


async def test_a_panel_behind_a_tab_asks_for_nothing(scripted: Make, scenes: Any) -> None:
    """A hidden panel that tries again and again to scroll takes a whole core."""
    pieces = [f" word{n}" for n in range(500)]
    async with scripted(text="a").run_test(size=(60, 18)) as pilot:
        calls = []
        for panel in (pilot.app.tokens, pilot.app.generation):
            follow = panel.follow
            panel.follow = lambda follow=follow: (calls.append(1), follow())[1]
        pilot.app.runner.show(scenes.frame(scenes.tokens(pieces), scenes.chart(["a", "b"])))
        await pilot.pause()
        calls.clear()
        await pilot.pause(0.1)
        assert len(calls) < 10


async def test_a_panel_shows_its_cursor_once_its_tab_is_chosen(
    scripted: Make, scenes: Any, marked: Callable[..., str]
) -> None:
    pieces = [f" word{n}" for n in range(500)]
    frame = scenes.frame(scenes.tokens(pieces), scenes.chart(["a", "b"]), prompt_length=1)
    async with scripted(frame, text="a").run_test(size=(60, 18)) as pilot:
        await pilot.pause()
        await pilot.press("tab")
        await pilot.pause()
        assert marked(pilot.app.generation, "generation--cursor").strip() == "word499"
        await pilot.press("tab", "tab")
        await pilot.pause()
        assert marked(pilot.app.tokens, "tokens--cursor").strip() == "·word499"


async def test_the_layout_follows_the_terminal(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(120, 36)) as pilot:
        for size, panels in (((60, 18), 2), ((80, 24), 4), ((200, 60), 4), ((40, 10), 2), ((120, 36), 4)):
            await pilot.resize_terminal(*size)
            await pilot.pause()
            assert len(visible(pilot.app)) == panels


async def test_the_app_runs_in_any_size_of_terminal(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(120, 36)) as pilot:
        for size in ((20, 6), (10, 4), (5, 2), (1, 1), (300, 100)):
            await pilot.resize_terminal(*size)
            pilot.app.runner.show(scenes.oat_milk())
            await pilot.press("down")
        assert pilot.app.is_running


async def test_the_prompt_has_the_focus_where_it_is_empty_and_the_chart_where_it_is_not(scripted: Make) -> None:
    async with scripted().run_test(size=(80, 24)) as pilot:
        assert pilot.app.focused is pilot.app.prompt
    async with scripted(text="a").run_test(size=(80, 24)) as pilot:
        assert pilot.app.focused is pilot.app.candidates


async def test_the_footer_changes_only_if_other_keys_act(real: Make, settle: Any, press: Any) -> None:
    """A step leaves it as it is; the prompt has keys of its own, and then it is as it was."""
    async with real("oat", ModelChoice(name="model5", tokenizer="bytes", device="cpu")).run_test(
        size=(80, 24)
    ) as pilot:

        def keys() -> tuple[FooterKey, ...]:
            return pilot.app.screen.query_one(KeyFooter).keys

        await settle(pilot)
        before = keys()
        assert "step" in [each.words for each in before]
        await press(pilot, "space", "left")
        assert keys() is before
        await press(pilot, "i")
        assert [each.words for each in keys()] == ["new line", "walk"]
        await press(pilot, "escape")
        assert keys() == before


async def test_a_footer_scheduled_to_be_drawn_again_may_go_with_its_screen(scripted: Make, scenes: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        await pilot.press("t", "escape")
        await pilot.pause()
        screen = pilot.app.screen
        footer = screen.query_one(KeyFooter)
        await pilot.press("escape")
        await pilot.pause()
        assert screen not in pilot.app.screen_stack
        footer.renew()
        assert pilot.app.is_running


async def test_a_prompt_is_wrapped_anew_where_its_panel_narrows(real: Make, press: Any, screen_lines: Any) -> None:
    """It had two lines before, and has two afterwards."""
    async with real("When Mary and John went to the store, John gave a drink to").run_test(size=(110, 30)) as pilot:
        await pilot.pause()
        assert [line[2:53].rstrip() for line in screen_lines(pilot.app)[1:3]] == [
            "When Mary and John went to the store, John gave a",
            "drink to",
        ]
        await press(pilot, "full_stop")
        assert [line[2:42].rstrip() for line in screen_lines(pilot.app)[1:3]] == [
            "When Mary and John went to the store,",
            "John gave a drink to",
        ]


def test_the_thumb_of_a_scroll_bar_is_a_line_and_can_be_dragged() -> None:
    drawn = ThinScrollBar.render_bar(10, 100, 30, 35).segments
    grabbed = [each for each in drawn if each.style and each.style.meta.get("@mouse.down") == "grab"]
    assert {each.text for each in grabbed} == {"┃"}
    assert 3 <= len(grabbed) <= 4
    assert len(drawn) == 10
    assert not any(each.text.strip() for each in drawn if each not in grabbed)


async def test_help_is_named_in_the_footer_also_beside_the_keys_of_a_lens(
    scripted: Make, scenes: Any, screen_lines: Any
) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        pilot.app.do("lens.look", "branches")
        await pilot.pause()
        footer = screen_lines(pilot.app)[-1]
        assert "fold" in footer
        assert footer.rstrip().endswith("? help")


@pytest.mark.parametrize("lens", ["candidates", "logit"])
@pytest.mark.parametrize("size", [(60, 18), (80, 24), (110, 30), (160, 45)], ids=str)
async def test_a_message_covers_lower_borders_only(
    scripted: Make, scenes: Any, size: tuple[int, int], lens: str
) -> None:
    """Neither the prompt, which may be written, nor what a panel shows, nor status and footer."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        app = pilot.app
        app.turn_to(lens)
        app.notices.inform("the tokens that stood there stay as a branch")
        await pilot.pause()
        (toast,) = app.screen.query(Toast)
        assert toast.region.height == 1
        assert toast.region.bottom == app.status.region.y
        for panel in (app.prompt, app.tokens, app.candidates, app.lens, app.generation):
            assert not toast.region.overlaps(panel.content_region), panel


async def test_several_messages_stand_one_over_the_other(scripted: Make, scenes: Any, screen_lines: Any) -> None:
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24), notifications=True) as pilot:
        await pilot.pause()
        for message in ("one", "two", "three"):
            pilot.app.notices.warn(message)
        await pilot.pause()
        assert [line.strip(" ▌") for line in screen_lines(pilot.app)[-5:-2]] == ["one", "two", "three"]


@pytest.mark.parametrize("size", [(80, 24), (120, 36)], ids=str)
async def test_a_message_leaves_a_dialog_free(scripted: Make, scenes: Any, size: tuple[int, int]) -> None:
    """Only the newest message is shown under a dialog, in two lines at most."""
    app = scripted(scenes.oat_milk(), text="a")
    async with app.run_test(size=size, notifications=True) as pilot:
        await pilot.pause()
        app.notices.inform("one")
        app.notices.inform("word " * 25)
        for key in ("m", "P", "x", "V", "question_mark", "I", "p", "w"):
            await pilot.press(key)
            await pilot.pause()
            (dialog,) = app.screen.query(".dialog")
            (toast,) = (each for each in app.screen.query(Toast) if each.region)
            assert not toast.region.overlaps(dialog.region), key
            assert toast.region.height == 2
            while len(app.screen_stack) > 1:
                app.pop_screen()


async def test_a_message_that_comes_again_is_counted(scripted: Make, scenes: Any) -> None:
    """Else nobody could tell that a walk was saved a second time."""
    async with scripted(scenes.oat_milk(), text="a").run_test(size=(80, 24), notifications=True) as pilot:
        notices, shown = pilot.app.notices, pilot.app._notifications
        for message in ("saved", "another", "saved", "saved"):
            await pilot.pause()
            notices.inform(message)
        await pilot.pause()
        assert [each.message for each in shown] == ["another", "saved × 3"]
        pilot.app.clear_notifications()
        notices.inform("saved")
        await pilot.pause()
        assert [each.message for each in shown] == ["saved"]
