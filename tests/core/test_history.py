"""The history of a walk without any model: moves report what changed, and changes can be undone."""

from collections.abc import Sequence

import pytest

from core.errors import Action, UserError
from core.generation.token import Token
from core.walk.history import History
from core.walk.tree import Tree


class Moves:
    """Follows the reports of a history, as the reading half of a walk does."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.kept: list[int] = []

    def __call__(self, kept: int, ids: Sequence[int]) -> None:
        self.ids = [*self.ids[:kept], *ids]
        self.kept.append(kept)


def typed(text: bytes) -> list[Token]:
    return [Token(id, bytes([id])) for id in text]


def started(text: bytes = b"oat") -> tuple[History, Moves]:
    moves = Moves()
    history = History(Tree(), moves)
    history.write_prompt(0, typed(text), text.decode())
    return history, moves


def test_each_move_reports_the_kept_ids_and_the_new_ones() -> None:
    history, moves = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    history.extend(2, Token(8, b"\x08", "sampled"))
    history.take_back()
    assert moves.kept == [0, 3, 2, 2]
    assert moves.ids == history.ids == [*b"oat", 7]


def test_an_edited_prompt_keeps_the_common_ids_and_leaves_no_drafts() -> None:
    history, moves = started(b"oatX")
    history.write_prompt(3, typed(b"Y"), "oatY")
    assert moves.kept[-1] == 3
    assert moves.ids == list(b"oatY")
    assert len(history.tree.nodes) == 4
    assert not history.done


def test_a_message_is_one_change_while_it_is_written() -> None:
    """Each draft replaces the one before and leaves no node; take back removes the message, redo brings it back."""
    history, moves = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    for draft in (b"u", b"us", b"v"):
        history.write_turn(4, typed(draft), draft.decode())
    assert moves.ids == history.ids == [*b"oat", 7, *b"v"]
    assert (len(history.tree.nodes), len(history.done), history.cursor) == (5, 2, 5)
    history.take_back()
    assert history.ids == [*b"oat", 7]
    history.redo()
    assert history.ids == [*b"oat", 7, *b"v"]


def test_a_message_that_is_emptied_leaves_nothing() -> None:
    history, _ = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    history.write_turn(4, typed(b"u"), "u")
    history.write_turn(4, [], "")
    assert history.ids == [*b"oat", 7]
    assert (len(history.tree.nodes), len(history.done)) == (4, 1)


def test_a_message_with_an_answer_stays_a_branch_when_it_is_written_anew() -> None:
    history, _ = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    history.write_turn(4, typed(b"u"), "u")
    history.extend(5, Token(8, b"\x08", "sampled"))
    history.write_turn(4, typed(b"v"), "v")
    assert history.ids == [*b"oat", 7, *b"v"]
    assert len(history.tree.nodes) == 7
    history.take_back()
    assert history.ids == [*b"oat", 7, *b"u", 8]


def test_several_visits_are_undone_together() -> None:
    history, _ = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    history.extend(3, Token(8, b"\x08", "sampled"))
    before = history.position
    for row in history.forest().rows:
        history.visit(row.serial)
    history.take_back()
    assert history.position == before


def test_a_deleted_branch_returns_with_take_back_and_goes_with_redo() -> None:
    history, moves = started()
    history.extend(3, Token(7, b"\x07", "sampled"))
    history.delete(history.branch())
    assert moves.ids == list(b"oat")
    history.take_back()
    assert moves.ids == [*b"oat", 7]
    history.redo()
    assert moves.ids == list(b"oat")


def test_without_changes_the_error_names_the_action_that_helps() -> None:
    history, _ = started()
    with pytest.raises(UserError) as error:
        history.take_back()
    assert Action("walk.write") in error.value.parts
    with pytest.raises(UserError, match="nothing to redo"):
        history.redo()
