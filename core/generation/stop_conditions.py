"""Conditions that end a generation before its count, such as `entropy > 3`. Needs no torch."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.errors import UserError
from core.generation.token import Token
from core.language import N_, _
from core.sampling.bounds import Bounded, high, low
from core.sampling.next_distribution import NeedsMore

Measure = Literal["entropy", "margin", "rank", "surprisal"]
FORMS = N_("entropy > 3, margin < 0.1, rank > 10, surprisal > 8, text '.', token 13 or 100 tokens")
_THRESHOLD = re.compile(r"(entropy|margin|rank|surprisal)\s*([<>])\s*(-?[\d.]+(?:e-?\d+)?)", re.IGNORECASE)
_TEXT = re.compile(r"text\s+(?:'(.+)'|\"(.+)\"|(?!''$|\"\"$)(.+))", re.IGNORECASE | re.DOTALL)
_COUNT = re.compile(r"([1-9]\d{0,5})\s+tokens?", re.IGNORECASE)
_TOKEN = re.compile(r"token\s+(\d{1,9})", re.IGNORECASE)
_PART = re.compile(r"""(?:'[^']*'|"[^"]*"|[^;])+""")


@dataclass(frozen=True, slots=True)
class Threshold:
    """Holds if a measure is above or below a bound.

    `entropy` (bits) and `margin` (probability of the likeliest token minus that of the second) belong to the next-token
    distribution and stop before a token is drawn. `rank` and `surprisal` (bits) belong to the token that was drawn.
    `rank` counts from 1, as a person does: 1 is the likeliest token.
    """

    measure: Measure
    above: bool
    bound: float

    def holds(self, value: Bounded, more: int = 0) -> bool:
        """Whether `value` is beyond the bound.

        Raises `NeedsMore` if that cannot be told of what is known of a distribution; with `more` tokens it may be.
        """
        ends = [end > self.bound if self.above else end < self.bound for end in (low(value), high(value))]
        if ends[0] != ends[1]:
            raise NeedsMore(
                more,
                _("the known probabilities do not decide whether {condition} holds: {measure} is {value:.3g}"),
                condition=self,
                measure=self.measure,
                value=value,
            )
        return ends[0]

    def __str__(self) -> str:
        return f"{self.measure} {'>' if self.above else '<'} {self.bound:g}"


@dataclass(frozen=True, slots=True)
class StopConditions:
    """Conditions of which the first that holds ends a generation."""

    thresholds: tuple[Threshold, ...] = ()
    texts: tuple[str, ...] = ()
    """Each holds as soon as the generated text contains it; it may span tokens."""
    tokens: tuple[int, ...] = ()
    """Each holds when the token with this id was drawn."""
    limit: int | None = None
    """Tokens at most; None leaves the count to the caller."""

    def __bool__(self) -> bool:
        return bool(self.thresholds or self.texts or self.tokens)

    def __str__(self) -> str:
        texts, tokens = (f"text {text!r}" for text in self.texts), (f"token {id}" for id in self.tokens)
        return " or ".join([*map(str, self.thresholds), *texts, *tokens])

    def before(self, entropy_bits: Bounded, margin: Bounded, more: int = 0) -> str:
        """Why no token should be drawn from a distribution with these measures; empty if one should.

        Raises `NeedsMore` where they do not decide it; with `more` tokens known they may.
        """
        values = {"entropy": entropy_bits, "margin": margin}
        for each in self.thresholds:
            if each.measure in values and each.holds(values[each.measure], more):
                return f"{each} ({values[each.measure]:.3g})"
        return ""

    def after(self, token: Token, text: str) -> str:
        """Why to stop after `token`, which ends the generated `text`; empty if there is no reason."""
        if token.score:
            values = {"rank": token.score.rank + 1, "surprisal": token.score.surprisal_bits}
            for each in self.thresholds:
                if each.measure in values and each.holds(value := values[each.measure]):
                    return f"{each} ({value:,})" if each.measure == "rank" else f"{each} ({value:.3g})"
        if token.id in self.tokens:
            return f"token {token.id}"
        return next((f"text {wanted!r}" for wanted in self.texts if wanted in text), "")


def parts(line: str) -> list[str]:
    """The conditions of a line, separated by `;` outside quotes; a blank one if there are none."""
    return [part for part in _PART.findall(line) if part.strip()] or [""]


def parse(conditions: Sequence[str]) -> StopConditions:
    """The conditions in the forms of `FORMS`. Raises `UserError` for any other form."""
    thresholds, texts, tokens, limit = list[Threshold](), list[str](), list[int](), None
    for condition in conditions:
        words = condition.strip()
        if match := _THRESHOLD.fullmatch(words):
            measure: Measure = match[1].lower()  # type: ignore[assignment]  # the pattern allows only these
            try:
                thresholds.append(Threshold(measure, match[2] == ">", float(match[3])))
            except ValueError as error:
                raise UserError(
                    _("{text!r} is not a number; write a condition such as {forms}"), text=match[3], forms=_(FORMS)
                ) from error
        elif match := _COUNT.fullmatch(words):
            limit = min(int(match[1]), limit or int(match[1]))
        elif match := _TOKEN.fullmatch(words):
            tokens.append(int(match[1]))
        elif match := _TEXT.fullmatch(words):
            texts.append(match[1] or match[2] or match[3])
        else:
            raise UserError(
                _("{words!r} is not a stop condition; write one such as {forms}"), words=words, forms=_(FORMS)
            )
    return StopConditions(tuple(thresholds), tuple(texts), tuple(tokens), limit)
