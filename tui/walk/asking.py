"""Actions that set the question of causal experiments: its two tokens, its measure and the corrupt prompt."""

from dataclasses import replace
from typing import TYPE_CHECKING

from core.causal.question import CausalQuestion, End
from core.errors import Action, UserError
from core.language import _
from tui.dialogs.corrupt import CorruptScreen, Piece
from tui.lenses.base import ExportedPage
from tui.lenses.chart import ChartLens
from tui.walk.group import ActionGroup

if TYPE_CHECKING:
    from core.walk.session import Session


class Asking(ActionGroup):
    """The question belongs to the session, where it is changed in the order of the keys."""

    def target(self) -> None:
        """Ask about the candidate under the cursor; asked again, or in an experiment's lens, take the next measure."""
        if self._answered():
            id = self._candidate()
            self.submit(lambda session: session.ask(_next_target(session, id)), interrupts=False)

    def against(self) -> None:
        """Compare with the candidate under the cursor; in an experiment's lens, exchange the two tokens."""
        if self._answered():
            id = self._candidate()
            self.submit(lambda session: session.ask(_next_against(session, id)), interrupts=False)

    def _answered(self) -> bool:
        """Whether there is a distribution to choose from; before that a key would ask about another token.

        A lens that hides the next token hides the question too, which names likely ones.
        """
        if not self.screen.lens.BESIDE:
            self.notices.warn(UserError(_("the next token is hidden; {key} shows the chart"), key=Action("lens.guess")))
            return False
        known = self.state.frame.snapshot is not None and self.state.frame.snapshot.chart is not None
        if not known:
            self.notices.inform(_("there is no candidate yet to ask about"))
        elif self._candidate() is None and not self._answers():
            wrong = _("this lens answers no question; choose a candidate on the chart ({key}) to ask about it")
            self.notices.warn(UserError(wrong, key=Action("walk.stop")))
            return False
        return known

    def _answers(self) -> bool:
        """Whether the lens is that of an experiment."""
        lens = self.screen.lens
        return isinstance(lens, ExportedPage) and lens.asked(CausalQuestion()) is not None

    def _candidate(self) -> int | None:
        """The id under the cursor of the chart; None where another lens has the keys."""
        lens = self.screen.picking
        chosen = lens.candidate if isinstance(lens, ChartLens) else None
        return chosen.id if chosen else None

    def corrupt(self) -> None:
        """Ask for the corrupt prompt."""
        snapshot, tokenizer, form = self.state.frame.snapshot, self.state.frame.tokenizer, self.state.form
        if snapshot is None or tokenizer is None:
            self.notices.warn(UserError(_("there is no model yet; {key} chooses one"), key=Action("choose.model")))
            return

        def tokens(text: str) -> list[Piece]:
            """In a conversation those of the message alone: a chat template is too slow for each key."""
            ids = tokenizer.inner_ids(text) if form.chat else tokenizer.encode(text, special=form.special)
            return [(id, tokenizer.piece(id)) for id in ids]

        clean = [(token.id, token.piece) for token in snapshot.tokens[: snapshot.prompt_length]]
        clean, asked = tokens(snapshot.prompt) if form.chat else clean, snapshot.question
        text = self._text or snapshot.prompt
        if asked.corrupt and not form.chat and [id for id, _ in tokens(text)] != list(asked.corrupt):
            text = tokenizer.written(asked.corrupt)
        self.open_dialog(CorruptScreen(clean, text, asked.align, tokens), self._compare)

    _text = ""
    """The corrupt prompt that was typed last."""

    def _compare(self, answer: tuple[str, End] | None) -> None:
        if answer is not None:
            (self._text, align), form = answer, self.state.form
            text = self._text
            self.submit(lambda session: session.compare_with(text, form, align), interrupts=False)
            self.notices.inform(
                _("experiments compare with {text!r}").format(text=text) if text else _("there is no corrupt prompt")
            )


def _next_target(session: "Session", id: int | None) -> CausalQuestion:
    """The question about `id`; about the same id, or about none, with the next measure, after the last the default."""
    asked = session.question
    if id is not None and asked.target != id:
        against = None if asked.against == id else asked.against
        return replace(asked, target=id, against=against)
    if asked.measure == "logprob" and id is not None:
        return replace(asked, target=None, against=None, measure="difference")
    return asked.with_next_measure()


def _next_against(session: "Session", id: int | None) -> CausalQuestion:
    """The question that compares with `id`, or no longer with it; without an id, the two tokens exchanged."""
    asked = replace(session.question, measure="difference")
    if id is None:
        now = session.measured()
        return replace(asked, target=now.target.against, against=now.target.id) if now else asked
    if asked.against == id:
        return replace(asked, against=None)
    return replace(asked, target=None if asked.target == id else asked.target, against=id)
