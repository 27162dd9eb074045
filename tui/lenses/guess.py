"""A guessing game: the next token is hidden until a person has guessed it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from rich.text import Text

from core.language import N_, _
from core.sampling.bounds import Bounded
from core.sampling.values import Candidate
from core.walk.values import Guess
from tui.dialogs.line import LineScreen
from tui.drawing.text import decimals_for, fit, label, percent
from tui.lenses.base import KeyWords, LensPage
from tui.reports.guesses import bits_words, sums
from tui.runner import Frame, Question


class GuessLens(LensPage[tuple[Guess, ...]]):
    """`⏎` asks for a guess; then the lens shows the model's likeliest token and the token that came."""

    NAME = "guess"
    TITLE = N_("guess")
    DESCRIPTION = N_("Guess what comes next before you see it")
    ORDER = 5
    KEYS = KeyWords(choose=N_("guess"))
    BESIDE = False
    GROUP = N_("Next token")
    ALSO = N_("game quiz")
    ALLOW_SELECT: ClassVar[bool] = False

    def new_question(self) -> Question:
        return Question(lambda session: tuple(session.guesses.made), live=True)

    def choose(self, number: int | None = None) -> None:
        words = _("What comes next? Only the first token of your text counts, with or without a space before it.")

        def submit(guess: str | None) -> None:
            if guess:
                self.host.act(lambda session: session.guesses.guess(guess))

        self.app.push_screen(LineScreen(_("your guess"), words), submit)

    def frame_for_panels(self, frame: Frame) -> Frame:
        snapshot = frame.snapshot
        if snapshot is None or snapshot.cursor >= len(snapshot.tokens):
            return frame
        return replace(frame, snapshot=replace(snapshot, tokens=snapshot.tokens[: snapshot.cursor]))

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        super().draw()
        self.hint(_("⏎ guess · v shows the chart"))

    def lines(self, answer: tuple[Guess, ...], width: int, height: int) -> Iterator[Text]:
        if not answer:
            yield self.text((_("The next token is hidden."), "text"))
            yield Text()
            words = _(
                "⏎ asks for your guess. Then you see the probability that the model gave it, the model's likeliest "
                "token, and the token that came. A guess costs its surprisal in bits: -log2 of that probability."
            )
            yield from self.paragraph(words, "muted", width)
            return
        for words, bits, right in sums(answer):
            yield self.text(
                (f"{words:<10}", "muted"),
                (_bits(bits, 8, 1), "text"),
                (_(" bits · {right} of {count} right").format(right=right, count=len(answer)), "muted"),
            )
        yield Text()
        each = max(8, (width - 7 - 9 - 9) // 3)
        yield self.text(
            (
                f"{_('pos'):>6} {fit(_('you'), each)}{_('bits'):>8} {fit(_('the model'), each)}{_('bits'):>8} "
                f"{fit(_('came'), each)}",
                "head",
            )
        )
        for guess in reversed(answer):
            yield self._row(guess, each)

    def _row(self, guess: Guess, each: int) -> Text:
        def shown(candidate: Candidate) -> str:
            share = percent(candidate.share, min(4, decimals_for(candidate.probability)))
            return fit(f"{label(candidate.piece)} {share}", each)

        return self.text(
            (f"{guess.position:>6} ", "faint"),
            (shown(guess.guessed), "bar" if guess.hit else "text"),
            (_bits(guess.guessed.bits, 8, 2) + " ", "text"),
            (shown(guess.likeliest), "muted"),
            (_bits(guess.likeliest.bits, 8, 2) + " ", "muted"),
            (("✓ " if guess.hit else "  ") + label(guess.came.piece), "bar" if guess.hit else "text"),
        )


def _bits(value: Bounded, width: int, decimals: int) -> str:
    return bits_words(value, decimals).rjust(width)
