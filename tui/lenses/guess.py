"""Owns the guessing game: what comes next is hidden until a person has said what they expect."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import ClassVar

from rich.text import Text
from textual.content import Content

from core.sampling.values import Candidate
from core.walk.values import Guess
from tui.dialogs.line import LineScreen
from tui.drawing.text import decimals_for, fit, label, percent
from tui.lenses.base import LensPage
from tui.runner import Frame, Question


class GuessLens(LensPage[tuple[Guess, ...]]):
    """`⏎` asks for a guess, then shows the model's own and what came, and goes on."""

    NAME = "guess"
    TITLE = "guess"
    DESCRIPTION = "Guess what comes next before you see it"
    ORDER = 5
    ALLOW_SELECT: ClassVar[bool] = False

    def new_question(self) -> Question:
        return Question(lambda session: tuple(session.guesses), live=True)

    def choose(self, number: int | None = None) -> None:
        words = "What comes next? Its first token counts, with or without a space before it."

        def take(guess: str | None) -> None:
            if guess:
                self.host.act(lambda session: session.guess(guess))

        self.app.push_screen(LineScreen("your guess", words), take)

    def frame_for_panels(self, frame: Frame) -> Frame:
        snapshot = frame.snapshot
        if snapshot is None or snapshot.cursor >= len(snapshot.tokens):
            return frame
        return replace(frame, snapshot=replace(snapshot, tokens=snapshot.tokens[: snapshot.cursor]))

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        super().draw()
        self.border_subtitle = Content("⏎ guess · v shows the chart")

    def lines(self, answer: tuple[Guess, ...], width: int, height: int) -> Iterator[Text]:
        if not answer:
            yield self.text(("What comes next is hidden.", "text"))
            yield Text()
            yield from self._wrapped(
                "⏎ lets you say what you expect. Then you see what the model thought of it, its own favourite, "
                "and what came. A guess costs its surprisal: -log2 of the probability the model gave it.",
                width,
            )
            return
        you, model = (sum(side.bits for side in each) for each in self._sides(answer))
        hits = sum(guess.hit for guess in answer)
        own = sum(guess.likeliest.id == guess.came.id for guess in answer)
        count = len(answer)
        for words, bits, right in (("you", you, hits), ("the model", model, own)):
            yield self.text(
                (f"{words:<10}", "muted"),
                (_bits(bits, 8, 1), "text"),
                (f" bits · {right} of {count} came", "muted"),
            )
        yield Text()
        each = max(8, (width - 7 - 9 - 9) // 3)
        yield self.text(
            (
                f"{'place':>6} {fit('you', each)}{'bits':>8} {fit('the model', each)}{'bits':>8} {fit('came', each)}",
                "head",
            )
        )
        for guess in reversed(answer):
            yield self._row(guess, each)

    def _sides(self, answer: tuple[Guess, ...]) -> tuple[list[Candidate], list[Candidate]]:
        return [guess.guessed for guess in answer], [guess.likeliest for guess in answer]

    def _row(self, guess: Guess, each: int) -> Text:
        def shown(candidate: Candidate) -> str:
            share = percent(candidate.probability, min(4, decimals_for(candidate.probability)))
            return fit(f"{label(candidate.piece)} {share}", each)

        return self.text(
            (f"{guess.position + 1:>6} ", "faint"),
            (shown(guess.guessed), "bar" if guess.hit else "text"),
            (_bits(guess.guessed.bits, 8, 2) + " ", "text"),
            (shown(guess.likeliest), "muted"),
            (_bits(guess.likeliest.bits, 8, 2) + " ", "muted"),
            (("✓ " if guess.hit else "  ") + label(guess.came.piece), "bar" if guess.hit else "text"),
        )

    def _wrapped(self, words: str, width: int) -> Iterator[Text]:
        yield from Text(words, self.style_of("lens--muted")).wrap(self.app.console, max(10, min(width, 72)))


def _bits(value: float, width: int, decimals: int) -> str:
    return ("∞" if math.isinf(value) else f"{value:.{decimals}f}").rjust(width)
