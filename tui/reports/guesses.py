"""The guesses of a person in lines: what each side has paid in bits, and each guess."""

import math
from collections.abc import Iterator, Sequence

from core.language import _
from core.sampling.bounds import Bounded, low, total
from core.sampling.values import Candidate
from core.walk.values import Guess
from tui.drawing.text import decimals_for, label, percent


def guess_lines(guesses: Sequence[Guess]) -> Iterator[str]:
    """The sums of both sides, then the newest guess first."""
    for name, bits, right in sums(guesses):
        yield f"{name} · {bits_words(bits, 1)}" + _(" bits · {right} of {count} right").format(
            right=right, count=len(guesses)
        )
    for guess in reversed(guesses):
        yield _("position {position}: you {guessed} · the model {likeliest} · {token} came{hit}").format(
            position=guess.position,
            guessed=_side(guess.guessed),
            likeliest=_side(guess.likeliest),
            token=label(guess.came.piece),
            hit=_(", as you guessed") if guess.hit else "",
        )


def sums(guesses: Sequence[Guess]) -> tuple[tuple[str, Bounded, int], tuple[str, Bounded, int]]:
    """The name of each side, its bits, and how often it was right."""
    own = sum(guess.likeliest.id == guess.came.id for guess in guesses)
    return (
        (_("you"), total(guess.guessed.bits for guess in guesses), sum(guess.hit for guess in guesses)),
        (_("the model"), total(guess.likeliest.bits for guess in guesses), own),
    )


def bits_words(value: Bounded, decimals: int) -> str:
    """A number of bits, which may be infinite."""
    return "∞" if math.isinf(low(value)) else f"{value:.{decimals}f}"


def _side(each: Candidate) -> str:
    share = percent(each.share, min(4, decimals_for(each.probability)))
    return f"{label(each.piece)} {share} {bits_words(each.bits, 2)} " + _("bits")
