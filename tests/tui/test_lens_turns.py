"""Keys turn from lens to lens, and the lens has the focus at once."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest
from lens_pages import DEEP
from textual import events
from textual.actions import parse

from core import language
from core.walk.values import PromptForm
from tui import lenses
from tui.app import TokenwalkApp
from tui.keys import LEAVE, WALK
from tui.lenses.branches import BranchesLens
from tui.lenses.continuations import ContinuationsLens
from tui.lenses.sampler import SamplerLensPage

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Any], list[str]]

PROMPT = "oat milk"
SIZE = (120, 36)
SIZES = [(60, 18), (80, 24), SIZE]


# Turning from lens to lens ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_every_lens_is_reached_by_keys_and_by_name(
    real: Make, settle: Go, press: Go, until: Go, size: tuple[int, int]
) -> None:
    """`.` goes round all lenses and `,` back; each lens draws for one token and for a short walk."""
    async with real("o", DEEP).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        kinds = list(lenses.found())
        for kind in [*kinds[1:], kinds[0]]:
            await press(pilot, "full_stop")
            assert type(app.lens) is kind
            await until(lambda: app.focused is app.lens)
        await press(pilot, "space", "space", "left")
        for kind in reversed(kinds):
            await press(pilot, "comma")
            assert type(app.lens) is kind
        commands = {command.title: command.run for command in app.commands()}
        for kind in (BranchesLens, SamplerLensPage):
            commands[f"{kind.TITLE} · {kind.DESCRIPTION}"]()
            await settle(pilot)
            assert type(app.lens) is kind
        assert not app._notifications


@pytest.mark.parametrize("spoken", language.languages())
async def test_a_key_has_one_name_in_the_border_and_the_footer(real: Make, settle: Go, press: Go, spoken: str) -> None:
    language.speak(spoken)
    named = {"walk.take": set[str](), "walk.pick_up": set[str]()}
    async with real("o", DEEP).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        for kind in lenses.found()[1:]:
            app.turn_to(kind.NAME)
            await settle(pilot)
            for _view in range(2):
                for id, key in (("walk.take", "⏎"), ("walk.pick_up", "↑↓")):
                    if found := re.search(rf"(?<!⇧){key} ([^·–\d⇧⏎]+)", str(app.lens.border_subtitle)):
                        named[id].add(kind.NAME)
                        assert found[1].strip() == app.walk.footer_words()[id], kind.NAME
                await press(pilot, "o")
    assert {"attention", "flow", "weights", "continuations"} <= named["walk.take"]
    assert {"branches", "score", "sampler", "context"} <= named["walk.pick_up"]


@pytest.mark.parametrize("size", [(80, 24), (110, 30)], ids=str)
async def test_the_row_under_the_cursor_has_a_mark(
    real: Make, settle: Go, press: Go, panel_lines: Lines, size: tuple[int, int]
) -> None:
    """A background alone is hard to see, or not there: one line of the rows begins with a sign."""
    marked = set()
    async with real("oat milk", DEEP).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        for kind in lenses.found()[1:]:
            if kind.NAME in ("device", "ladder"):  # they measure for seconds
                continue
            app.turn_to(kind.NAME)
            await press(pilot, *(["n"] if kind.NAME == "continuations" else []))
            for _view in range(2):
                await press(pilot, "down")
                rows = {
                    segment.style.meta.get("row")
                    for y in range(app.lens.scrollable_content_region.height)
                    for segment in app.lens.render_line(y)
                    if segment.style
                } - {None}
                if app.lens.choice_count() > 1 and len(rows) > 1:
                    signs = "›●▸" if kind.NAME == "attribution" else "›●"  # ▸ is a part that can be divided
                    found = [line for line in panel_lines(app.lens) if line[:1] in signs]
                    assert len(found) == 1, (kind.NAME, panel_lines(app.lens))
                    marked.add(kind.NAME)
                await press(pilot, "o")
    wanted = {"score", "gradients", "last_token", "patchscope", "jacobian", "continuations", "flow", "attribution"}
    assert wanted <= marked


async def test_a_lens_without_its_corrupt_prompt_names_the_key_that_gives_it(real: Make, settle: Go, press: Go) -> None:
    """And none of its own keys, which would do nothing."""
    async with real("oat milk", DEEP).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        await settle(pilot)
        for name in ("contrast", "paths", "circuit"):
            app.turn_to(name)
            await settle(pilot)
            named = {key.label: key.words.strip() for key in app.walk.footer.keys}
            assert named["z"] == "corrupt prompt"
            assert not {"↑↓", "⏎", "o", "⇧↑↓", "⇧←→"} & named.keys(), name
        app.runner.submit(lambda session: session.compare_with("oat silk", PromptForm(), "left"))
        await settle(pilot)
        named = {key.label: key.words.strip() for key in app.walk.footer.keys}
        assert named["⏎"] == "keep only" and "z" not in named


async def test_the_cursor_of_the_logit_lens_stays_where_a_person_has_put_it(real: Make, settle: Go, press: Go) -> None:
    async with real("oat", DEEP).run_test(size=SIZE) as pilot:
        await settle(pilot)
        lens = pilot.app.turn_to("logit")
        await settle(pilot)
        answer = lens.answer
        assert lens.cursor == len(answer.layers) - 1
        for layers, locks_in in ((3, None), (4, None), (len(answer.layers), answer.locks_in)):  # as they are computed
            lens.cursor = 10**6 if layers == 3 else lens.cursor
            frame = pilot.app.frame
            lens.show(replace(frame, answer=replace(answer, layers=answer.layers[:layers], locks_in=locks_in)))
            if layers == 3:
                lens.move(-1)
            assert lens.cursor == 1
        await press(pilot, "o", "o")
        await press(pilot, "shift+left", "space")
        assert lens.column == 1


async def test_a_lens_has_the_keys_wherever_the_focus_was(real: Make, settle: Go, press: Go) -> None:
    """In a small terminal a tab hides the panel that had the focus."""
    async with real(PROMPT).run_test(size=(60, 18)) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "left", "3", "tab", "b", "up", "up", "f")
        assert app.focused is app.lens
        assert [row.folded for row in app.frame.answer.rows] == [True]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("panel", [0, 1, 3], ids=["lens", "generation", "tokens"])
async def test_keys_right_after_a_lens_are_keys_of_the_walk(
    real: Make, settle: Go, press: Go, size: tuple[int, int], panel: int
) -> None:
    """No key reaches the prompt while the lens is being shown."""
    async with real(PROMPT).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, *["tab", "tab", "escape", "tab"][:panel])
        for key, character in (("full_stop", "."), ("space", " "), ("b", "b"), ("g", "g"), ("r", "r"), ("n", "n")):
            app.post_message(events.Key(key, character))
        await settle(pilot)
        assert app.prompt.text == PROMPT
        assert isinstance(app.lens, ContinuationsLens)
        assert app.focused is app.lens


def test_every_key_of_the_walk_has_its_action(scripted: Make) -> None:
    app = scripted()
    for binding in (*WALK, LEAVE):
        action, arguments = parse(binding.action)[1:]
        assert callable(getattr(app.walk, f"action_{action}")), binding.id
        assert action == "leave" or callable(app.walk.command(arguments[0])), binding.id
        assert binding.tooltip


async def test_every_lens_draws_without_color(
    real: Make, settle: Go, press: Go, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR lets Textual read the style of each segment, also of plain lines."""
    monkeypatch.setenv("NO_COLOR", "1")
    async with real("oat", DEEP).run_test(size=(80, 24)) as pilot:
        app = pilot.app
        assert app.no_color
        await settle(pilot)
        await press(pilot, "space")
        for kind in [*list(lenses.found())[1:], lenses.found()[0]]:
            await press(pilot, "full_stop")
            assert type(app.lens) is kind
