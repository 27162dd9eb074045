"""The patchscope: what another prompt says when the stream of each layer is put into it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.text import Text

from core.causal.target_prompts import PROMPTS
from core.errors import UserError
from core.language import N_, _
from tui.dialogs.line import LineScreen
from tui.drawing.parts import part_name
from tui.drawing.text import fit, label, one_line, percent, run_text, within
from tui.lenses.base import ExperimentPage, KeyWords

if TYPE_CHECKING:
    from core.lenses.patchscope import Patchscope

NAME, SHARE, NUMBER = 10, 8, 8
TOKEN = 12
"""Cells of a token of the second view."""
WIDEST = 40
"""Cells of what is written on at most."""


class PatchscopePage(ExperimentPage["Patchscope"]):
    """One row for each layer of this position: what the target prompt goes on with, or its likeliest next tokens."""

    NAME = "patchscope"
    TITLE = N_("patchscope")
    DESCRIPTION = N_("Put each layer's stream into another prompt, and read that")
    GROUP = N_("Why")
    ORDER = 48
    ALSO = N_("patch stream read another prompt")
    KEYS = KeyWords(move=N_("layer"), choose=N_("prompt"), view=N_("text"), down=N_("into layer"))

    def __init__(self) -> None:
        super().__init__()
        self.prompt: str | None = None
        """The target prompt; None is the default one."""
        self.into: int | None = None
        """After how many blocks of the target prompt the stream is put; None is as many as it comes from."""
        self.listed = False
        """Whether the likeliest tokens are shown in place of what is written on."""

    def options(self) -> dict[str, Any]:
        given = {"prompt": self.prompt, "into": self.into}
        return {name: value for name, value in given.items() if value is not None}

    # Keys ------------------------------------------------------------------------------------------------------------

    def choice_count(self) -> int:
        return self.answer.total if self.answer else 0

    def choose(self, number: int | None = None) -> None:
        """`⏎` asks for a target prompt; digits choose one that is ready."""
        if number is None:
            hint = _("The target prompt; the stream takes the place of the token with a ?, or of the last one.")
            present = PROMPTS[0] if self.prompt is None else self.prompt
            self.app.push_screen(LineScreen(_("target prompt"), hint, present, check=_check), self._take)
        elif number <= len(PROMPTS):
            self._take(PROMPTS[number - 1])

    def _take(self, prompt: str | None) -> None:
        if prompt is not None:
            self.prompt = prompt
            self._ask()

    def adjust(self, down: int, across: int) -> None:
        """Up and down: after how many blocks of the target prompt; below the embedding is the same as the source."""
        if not self.answer:
            return
        at = (-1 if self.into is None else self.into) + (down or across)
        chosen = None if at < 0 else min(at, self.answer.total - 1)
        if chosen != self.into:
            self.into = chosen
            self._ask()

    def _ask(self) -> None:
        self.ask_again()
        self.draw()

    def switch_view(self) -> None:
        self.listed = not self.listed
        self.draw()

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        other = _("text") if self.listed else _("tokens")
        self.hint(
            _("⏎ 1–3 prompt · ⇧↑↓ into layer · o {other}").format(other=other) if self.answer else _("⏎ 1–3 prompt")
        )
        super().draw()

    def lines(self, answer: "Patchscope", width: int, height: int) -> Iterator[Text]:
        yield self.why(answer, width)
        yield self._prompt(answer, width)
        where = _("the same layer") if self.into is None else _short(answer.rows[0].into)
        words = _("{token} after each layer, put in after {where}; unpatched: ").format(
            token=within(label(answer.piece), 14), where=where
        )
        above = self.folded(width, (words + run_text(answer.unpatched).strip(), "muted"))
        above += self.folded(width, (answer.note, "faint")) if answer.note else []
        yield from above
        yield from (self._tokens if self.listed else self._written)(answer, width, height - 2 - len(above))

    def _prompt(self, answer: "Patchscope", width: int) -> Text:
        """The target prompt; the token that is patched is marked. Of a long one the end."""
        before, after = (
            run_text(part) for part in (answer.prompt[: answer.position], answer.prompt[answer.position + 1 :])
        )
        place = within(run_text(answer.prompt[answer.position : answer.position + 1]), 12)
        room = max(4, width - len(_("into ")) - len(place) - 12)
        before = before if len(before) <= room else "…" + before[1 - room :]
        line = self.text((_("into "), "muted"), (before, "text"), (place, "hot"), (within(after, 12), "text"))
        line.truncate(width)
        return line

    def _written(self, answer: "Patchscope", width: int, height: int) -> Iterator[Text]:
        across = max(8, min(WIDEST, width - NAME - 2 - SHARE - 2 * NUMBER - 2))
        head = (
            f" {fit(_('stream'), NAME - 1)} {fit(_('writes'), across)} "
            f"{_('p first'):>{SHARE}}{_('rank A'):>{NUMBER}}{'KL':>{NUMBER}}"
        )
        yield self.text((head, "head"))
        for number in self.visible_rows(answer.total, min(self.cursor, answer.total - 1), max(3, height - 1)):
            if number >= len(answer.rows):
                yield self.target(number, self.row(number == self.cursor, width, (" …", "faint")))
                continue
            row, here = answer.rows[number], number == self.cursor
            yield self.target(
                number,
                self.row(
                    here,
                    width,
                    (f" {fit(_short(row.name), NAME - 1)} ", "text" if here else "muted"),
                    (fit(run_text(row.generated), across), "hot" if not row.target_rank else "text"),
                    (f" {percent(row.top[0].probability, 2):>{SHARE}}", "text" if here else "muted"),
                    (f"{row.target_rank + 1:>{NUMBER},}{row.kl_bits:>{NUMBER}.2f}", "text" if here else "muted"),
                ),
            )

    def _tokens(self, answer: "Patchscope", width: int, height: int) -> Iterator[Text]:
        count = max(1, (width - NAME) // (TOKEN + SHARE + 1))
        yield self.text((f" {fit(_('stream'), NAME - 1)} {_('likeliest next tokens')}", "head"))
        for number in self.visible_rows(answer.total, min(self.cursor, answer.total - 1), max(3, height - 1)):
            if number >= len(answer.rows):
                yield self.target(number, self.row(number == self.cursor, width, (" …", "faint")))
                continue
            row, here = answer.rows[number], number == self.cursor
            parts = [(f" {fit(_short(row.name), NAME - 1)} ", "text" if here else "muted")]
            for rank, each in enumerate(row.top[:count]):
                same = each.id == answer.asked.target.id
                parts.append((fit(label(each.piece), TOKEN), "hot" if same else "muted" if rank else "text"))
                parts.append((f"{percent(each.probability, 2):>{SHARE}} ", "muted"))
            yield self.target(number, self.row(here, width, *parts))


def _check(prompt: str) -> None:
    if not one_line(prompt).strip():
        raise UserError(_("the target prompt is empty; write one with a ? at the token that receives the stream"))


def _short(name: str) -> str:
    return part_name(name.removeprefix("block "))
