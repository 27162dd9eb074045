"""Speculative decoding: each round of a draft's proposals, accepted or rejected, with p and q of the chosen round."""

from collections.abc import Iterator

from rich.style import Style
from rich.text import Text

from core.generation.rounds import Proposal, Round
from core.language import N_, _
from core.walk.values import DraftView
from tui.drawing.bars import bars
from tui.drawing.text import fit, label, percent, within
from tui.lenses.base import KeyWords, LensPage
from tui.reports.drafting import drawn_from_rest, drawn_from_target
from tui.runner import Question

BELOW = 6
"""Lines below the rounds besides a line per proposal."""

HOW = N_(
    "A proposal is accepted with probability min(1, p / q): p is its probability in this model, q in the draft. "
    "Instead of a rejected one a token is drawn from max(0, p − q), so the text has this model's distribution."
)


class DraftLens(LensPage[DraftView]):
    """The newest round is on top; the cursor chooses the round whose proposals are listed below."""

    NAME = "draft"
    TITLE = N_("draft")
    DESCRIPTION = N_("Speculative decoding: proposals accepted or rejected, p and q")
    ORDER = 7
    GROUP = N_("Next token")
    ALSO = N_("speculative decoding assistant")
    KEYS = KeyWords(move=N_("round"))

    def new_question(self) -> Question:
        return Question(lambda session: session.drafts.view, live=True)

    def waiting_text(self) -> str:
        return _("D generates with a draft model, whose proposals this model accepts or rejects")

    def choice_count(self) -> int:
        return len(self.answer.rounds) if self.answer else 0

    def title_detail(self) -> str:
        return self.answer.draft or "" if self.answer else ""

    def draw(self) -> None:
        self.cursor = max(0, min(self.cursor, self.choice_count() - 1))
        super().draw()
        self.hint(_("↑↓ round · D generate · ✓ accepted · ✗ rejected → from p − q · + bonus"))

    def lines(self, answer: DraftView, width: int, height: int) -> Iterator[Text]:
        if not answer.rounds:
            yield from self.paragraph(self.waiting_text(), "faint", width)
            yield Text()
            yield from self.paragraph(_(HOW), "faint", width)
            return
        share = percent(answer.accepted / answer.judged, 1) if answer.judged else "–"
        yield self.text(
            (_("{accepted:,} of {judged:,} accepted ").format(accepted=answer.accepted, judged=answer.judged), "text"),
            (f"{share} ", "bar"),
            (
                _("· {tokens:.2f} tokens a round · {count:,} rounds").format(
                    tokens=answer.tokens / answer.count, count=answer.count
                ),
                "text",
            ),
        )
        timing = answer.timing
        if timing.speedup and timing.round_seconds and timing.step_seconds:
            yield self.text(
                (f"{timing.speedup:.2f}× ", "bar"),
                (_("as fast as the model alone: "), "text"),
                (
                    _("{token:,.1f} ms a token, {step:,.1f} ms a step").format(
                        token=1e3 * timing.round_seconds, step=1e3 * timing.step_seconds
                    ),
                    "muted",
                ),
            )
        yield self.text((f"{_('at'):>6}  {_('proposals')}", "head"))
        rounds = answer.rounds[::-1]
        for row in self.visible_rows(len(rounds), self.cursor, height - BELOW - answer.proposals):
            yield self.target(row, self._round(rounds[row], row == self.cursor, width))
        yield Text()
        yield from self._proposals(rounds[self.cursor], width)

    def _round(self, found: Round, chosen: bool, width: int) -> Text:
        parts: list[tuple[str, str | Style]] = [(f"{found.position:>6}  ", "muted")]
        for proposal in found.proposals:
            parts += [self._proposal(proposal), (" ", "text")]
        last = found.tokens[-1] if found.how[-1] != "accepted" else None
        if last:
            mark = "+" if found.how[-1] == "bonus" else "→"
            parts.append((f"{mark} {within(label(last.piece), 14)}", "bar"))
        line = self.row(chosen, width, *parts)
        line.truncate(width, overflow="ellipsis")
        return line

    def _proposal(self, proposal: Proposal) -> tuple[str, str | Style]:
        """A proposal in the line of its round: a rejected one is struck through, one that was not judged is faint."""
        words = within(label(proposal.piece), 14)
        if proposal.accepted is None:
            return f"  {words}", "faint"
        if proposal.accepted:
            return f"✓ {words}", "text"
        return f"✗ {words}", self.style_of("lens--hot") + Style(strike=True)

    def _proposals(self, found: Round, width: int) -> Iterator[Text]:
        """p and q of each proposal of a round, and the token that came last."""
        room = max(4, (width - 40) // 2)
        yield self.text(
            (f"  {fit(_('token'), 16)}{'p':>9} {fit(_('target'), room)}{'q':>9} {fit(_('draft'), room)}", "head")
        )
        for proposal in found.proposals:
            judged = proposal.accepted is not None
            mark = "✓" if proposal.accepted else "✗" if judged else " "
            style = "text" if proposal.accepted else "hot" if judged else "faint"
            p_bar, q_bar = bars([proposal.p], [0.0], room, 1.0)[0], bars([proposal.q], [0.0], room, 1.0)[0]
            yield self.text(
                (f"{mark} {fit(label(proposal.piece), 16)}", style),
                (f"{percent(proposal.p, 2) if judged else '–':>9} ", style),
                (fit(p_bar if judged else "", room), "bar"),
                (f"{percent(proposal.q, 2):>9} ", style),
                (fit(q_bar, room), "ghost"),
            )
        if found.how[-1] != "accepted":
            token, bonus = found.tokens[-1], found.how[-1] == "bonus"
            words = drawn_from_target() if bonus else drawn_from_rest()
            sampled = percent(token.sampled_probability, 2) if token.sampled_probability is not None else ""
            yield self.text(
                (f"{'+' if bonus else '→'} {fit(label(token.piece), 16)}", "bar"), (f"{sampled:>9} {words}", "muted")
            )
