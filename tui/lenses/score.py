"""The score of the text: perplexity, bits per token and byte, and the tokens with the largest surprisal."""

from collections.abc import Iterator

from rich.cells import cell_len
from rich.text import Text

from core.generation.token import Token
from core.language import N_, _
from core.sampling.bounds import low
from core.walk.values import Summary
from tui.drawing.text import compact, decimals_for, fit, label, percent, run_text
from tui.lenses.base import KeyWords, LensPage
from tui.runner import Question

BEFORE = 8
"""Tokens of context shown before each listed one."""


class ScoreLens(LensPage[Summary]):
    """Choosing a row moves the walk there; the chart then shows what the model predicted."""

    NAME = "score"
    TITLE = N_("score")
    DESCRIPTION = N_("How well the model predicts this text: perplexity, bits")
    ORDER = 4
    GROUP = N_("Compare")
    ALSO = N_("perplexity bits per byte surprisal loss text")
    KEYS = KeyWords(move=N_("token"), choose=N_("go there"))

    def new_question(self) -> Question:
        return Question(lambda session: session.summary(), live=True)

    def choice_count(self) -> int:
        return len(self.answer.worst) if self.answer else 0

    def current_lines(self) -> tuple[int, int]:
        return (0, 4) if not self.cursor else (self.cursor + 4, self.cursor + 4)

    def choose(self, number: int | None = None) -> None:
        at = self.cursor if number is None else number - 1
        if self.answer and at < len(self.answer.worst):
            position = self.answer.worst[at]
            self.host.act(lambda session: session.travel(position))

    # Painting --------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        self.cursor = max(0, min(self.cursor, self.choice_count() - 1))
        super().draw()
        self.hint(_("↑↓ token · ⏎ go there · T opens a text"))

    def lines(self, answer: Summary, width: int, height: int) -> Iterator[Text]:
        if not answer.measured:
            yield self.text((_("nothing to score yet: the first token has no prediction"), "muted"))
            return
        perplexity = f"{answer.perplexity:,.2f}" if low(answer.perplexity) < 1e6 else f"{answer.perplexity:.2e}"
        yield from self.folded(
            width,
            (_("perplexity "), "muted"),
            (perplexity, "text"),
            (" · ", "faint"),
            (f"{answer.bits_per_token:.3f}", "text"),
            (_(" bits per token · "), "muted"),
            (f"{answer.bits_per_byte:.3f}", "text"),
            (_(" bits per byte"), "muted"),
        )
        left = answer.tokens - answer.measured
        yield self.text(
            (
                _("{measured:,} tokens, {size} bytes, {bits:,.1f} bits").format(
                    measured=answer.measured, size=compact(answer.byte_count), bits=answer.bits
                ),
                "muted",
            ),
            (_(" · {left:,} not scored yet").format(left=left) if left else "", "hot"),
        )
        yield Text()
        yield self.text(
            (
                f"{_('pos'):>6} {fit(_('the most surprising tokens'), width - 34)}"
                f"{'p':>10}{_('rank'):>9}{_('bits'):>8}",
                "head",
            )
        )
        tokens = self.frame.snapshot.tokens if self.frame.snapshot else ()
        for number, position in enumerate(answer.worst):
            if position < len(tokens):
                yield self.target(number, self._row(tokens, position, number == self.cursor, width))

    def _row(self, tokens: tuple[Token, ...], position: int, chosen: bool, width: int) -> Text:
        token = tokens[position]
        score = token.score
        if score is None:
            return Text()
        word = label(token.piece)
        room = width - 34
        before = run_text(each.piece for each in tokens[max(0, position - BEFORE) : position])
        word = fit(word, min(cell_len(word), room // 2))
        shown = _last_cells(before, room - cell_len(word) - 1)
        p = score.probability
        return self.row(
            chosen,
            width,
            (f"{position:>6} ", "faint"),
            (shown, "muted"),
            (fit(word, room - cell_len(shown)), "hot"),
            (f"{percent(p, min(4, decimals_for(p))):>10}", "text"),
            (f"{score.rank + 1:>9,}", "muted"),
            (f"{score.surprisal_bits:>8.2f}", "text"),
        )


def _last_cells(text: str, width: int) -> str:
    """The end of `text` in at most `width` cells."""
    if cell_len(text) <= width:
        return text
    first = len(text)
    while first and cell_len(text[first - 1 :]) < width:
        first -= 1
    return "…" + text[first:]
