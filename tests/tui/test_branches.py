"""A person walks the tree of branches by keys: every panel follows, branches are named, folded and deleted."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot

from core.walk.session import Session
from tui.app import TokenwalkApp
from tui.dialogs.line import LineScreen
from tui.drawing.text import label
from tui.lenses.branches import BranchesLens
from tui.lenses.chart import ChartLens

Make = Callable[..., TokenwalkApp]
Go = Callable[..., Awaitable[None]]
Lines = Callable[[Any], list[str]]

PROMPT = "oat milk"
SIZE = (120, 36)
SIZES = [(60, 18), (80, 24), SIZE]


def ids(app: TokenwalkApp) -> list[int]:
    return [token.id for token in app.frame.snapshot.tokens]


def rows(app: TokenwalkApp) -> list[str]:
    """The text of each branch."""
    return [b"".join(row.pieces).decode("latin-1") for row in app.frame.answer.rows]


async def three_branches(pilot: Pilot[None], press: Go) -> None:
    """Three branches from one position: `x`, `y` and `z` are their first tokens, then two steps follow."""
    for number, key in enumerate("123"):
        if number:
            await press(pilot, "left", "left", "left")
        await press(pilot, key, "space", "space")


# The tree -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", SIZES, ids=str)
async def test_three_branches_are_walked_by_arrows_and_every_panel_follows(
    real: Make, settle: Go, press: Go, panel_lines: Lines, marked: Any, size: tuple[int, int]
) -> None:
    async with real(PROMPT).run_test(size=size) as pilot:
        app = pilot.app
        await settle(pilot)
        await three_branches(pilot, press)
        await press(pilot, "b")
        assert isinstance(app.lens, BranchesLens)
        assert app.focused is app.lens
        forest = app.frame.answer
        assert [row.depth for row in forest.rows] == [0, 0, 0, 0] or [row.depth for row in forest.rows] == [0, 1, 1, 1]
        assert forest.current == 3
        seen = []
        for key in ("up", "k", "down", "j", "up", "up", "up", "up"):
            await press(pilot, key)
            row = app.frame.answer.rows[app.frame.answer.current]
            seen.append(app.frame.answer.current)
            spelled = b"".join(row.pieces)
            snapshot = app.frame.snapshot
            tail = b"".join(token.piece for token in snapshot.tokens[: snapshot.cursor])
            assert tail.endswith(spelled)
            (chosen,) = [line for line in panel_lines(app.lens) if line.startswith("●")]
            assert label(row.pieces[0]).replace("·", " ")[:1] in chosen
            assert snapshot.chart == app.frame.snapshot.chart
            if app.tokens.size:
                place = f"{snapshot.cursor}/{len(snapshot.tokens)}"
                assert str(app.tokens.border_title).split()[-1] in (place, str(snapshot.cursor))
                assert marked(app.tokens, "tokens--cursor").strip() == label(snapshot.tokens[snapshot.cursor - 1].piece)
            assert "ctx 8/8" in app.status.render().plain or size[0] < 80
        assert seen == [2, 1, 2, 3, 2, 1, 0, 0]
        assert app.prompt.text == PROMPT
        await press(pilot, "b")
        assert isinstance(app.lens, ChartLens)


async def test_keys_typed_ahead_act_in_their_order(real: Make, settle: Go, press: Go) -> None:
    """Two arrows sent at once move two rows, and a deletion right after them deletes the branch there."""
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await three_branches(pilot, press)
        await press(pilot, "b")
        first, second, _ = app.frame.answer.rows[1:]
        for key in ("up", "up", "delete"):
            app.post_message(events.Key(key, None))
        await settle(pilot)
        assert [row.serial for row in app.frame.answer.rows[1:]] == [second.serial, app.frame.answer.rows[2].serial]
        assert first.serial not in [row.serial for row in app.frame.answer.rows]
        await press(pilot, "u")
        assert first.serial in [row.serial for row in app.frame.answer.rows]


async def test_a_branch_is_named_folded_deleted_and_brought_back(
    real: Make, settle: Go, press: Go, write: Go, panel_lines: Lines
) -> None:
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await three_branches(pilot, press)
        await press(pilot, "b", "N")
        assert isinstance(app.screen, LineScreen)
        await write(pilot, "the third")
        await press(pilot, "enter")
        assert app.frame.answer.rows[3].name == "the third"
        assert "the third" in panel_lines(app.lens)[4]
        await press(pilot, "N", "escape")
        assert app.frame.answer.rows[3].name == "the third"
        before = ids(app)
        await press(pilot, "delete")
        assert len(app.frame.answer.rows) == 3
        assert ids(app) == list(PROMPT.encode())
        await press(pilot, "u")
        assert ids(app) == before
        assert len(app.frame.answer.rows) == 4
        await press(pilot, "up", "up", "up", "f")
        assert [(row.folded, row.parts) for row in app.frame.answer.rows] == [(True, 3)]
        assert "3 folded" in panel_lines(app.lens)[1]
        await press(pilot, "f")
        assert len(app.frame.answer.rows) == 4
        await press(pilot, "delete")
        note = list(app._notifications)[-1].message
        assert note.startswith("this is the only branch, so it cannot be deleted")
        assert len(note.splitlines()) == 1
        assert len(app.frame.answer.rows) == 4


async def test_hostile_tokens_and_names_are_inert(
    real: Make, settle: Go, press: Go, screen_lines: Lines, panel_lines: Lines
) -> None:
    """Markup, escapes and control characters are drawn, in the tree, the dialog and the continuations."""
    hostile = "[/b]\x1b[2J[red]\x07"
    async with real(PROMPT).run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)

        def spell(session: Session) -> None:
            for byte in hostile.encode():
                session.take(byte)
            session.tree.rename(session.tree.segment(session.history.path[-1])[0].serial, hostile)

        app.act(spell)
        await press(pilot, "b")
        shown = "\n".join(panel_lines(app.lens))
        assert "[/b]\\x1b[2J[red]" in shown
        await press(pilot, "e")
        assert not any(c in "".join(screen_lines(app)) for c in "\x1b\x07")
        await press(pilot, "escape", "n", "o")
        assert not any(c in "".join(screen_lines(app)) for c in "\x1b\x07")


async def test_the_prompt_panel_shows_the_prompt_of_the_branch_and_typing_goes_on_there(
    real: Make, settle: Go, press: Go, write: Go, panel_lines: Lines
) -> None:
    async with real("oats").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "space", "i")
        await write(pilot, " and")
        await press(pilot, "escape", "space", "b")
        assert app.prompt.text == "oats and"
        first = ids(app)
        await press(pilot, *["up"] * 9, "down")
        assert app.prompt.text == "oats"
        assert ids(app)[:4] == list(b"oats")
        assert ids(app) != first
        assert app.frame.snapshot.prompt_length == 4
        await press(pilot, "i")
        await write(pilot, "!")
        await press(pilot, "escape")
        assert app.prompt.text == "oats!"
        assert ids(app) == list(b"oats!")
        await press(pilot, *["down"] * 9)
        assert not app._notifications


async def test_a_prompt_written_and_left_at_once_is_still_followed(real: Make, settle: Go, press: Go) -> None:
    """Text, `escape`, the tree and an arrow are sent at once; then the panel shows the prompt of the walk."""
    async with real("oats").run_test(size=SIZE) as pilot:
        app = pilot.app
        await settle(pilot)
        await press(pilot, "space", "b", "i")
        for key, character in (("x", "x"), ("escape", None), ("down", None), ("up", None), ("up", None)):
            app.post_message(events.Key(key, character))
        await settle(pilot)
        assert app.prompt.text == app.frame.snapshot.prompt
        await press(pilot, "up", "up", "up", "down", "i")
        assert app.prompt.text == app.frame.snapshot.prompt


async def test_an_empty_prompt_stays_empty(real: Make, settle: Go, press: Go) -> None:
    """The token that stands for an empty prompt in the model does not appear in the editor."""
    async with real().run_test(size=SIZE) as pilot:
        await settle(pilot)
        await press(pilot, "escape", "space", "b", "up", "down")
        assert pilot.app.prompt.text == ""
        assert len(ids(pilot.app)) == 2
