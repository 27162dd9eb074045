"""What a person asks of an experiment: why this next token and not that one, and what a second prompt changes.

A question is data. It is answered at a position: there `measured` finds the two tokens, and the value of the measure.
Imports no torch.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from core.causal.target import Target
from core.errors import Option, UserError
from core.language import _
from core.tokenizers.tokenizer import Tokenizer, piece_text

if TYPE_CHECKING:
    from torch import Tensor

Measure = Literal["difference", "logit", "logprob"]
"""The difference of the logits of two tokens, the logit of one token, or its log-probability in nats."""
End = Literal["left", "right"]
"""The end from which the tokens of two prompts are counted."""
MEASURES: tuple[Measure, ...] = get_args(Measure)
ENDS: tuple[End, ...] = get_args(End)
OPTION = Option("corrupt", action="question.corrupt")
"""What gives the corrupt prompt."""


@dataclass(frozen=True, slots=True)
class CausalQuestion:
    """Why A comes next and not B. By default A and B are the two likeliest tokens of the position that is looked at."""

    target: int | None = None
    """The id A; None is the likeliest token other than B."""
    against: int | None = None
    """The id B; None is the likeliest token other than A. Only the measure `difference` has one."""
    measure: Measure = "difference"
    corrupt: tuple[int, ...] = ()
    """The ids of the corrupt prompt, which an experiment compares with the clean one; empty where there is none."""
    align: End = "left"
    """The end from which clean and corrupt tokens are paired where the two prompts differ in length."""

    def __post_init__(self) -> None:
        if self.measure not in MEASURES:
            raise UserError(
                _("{measure!r} is not a measure; choose one of {choices}"),
                measure=self.measure,
                choices=", ".join(MEASURES),
            )
        if self.align not in ENDS:
            raise UserError(_("tokens are aligned from the left or the right, not from {align!r}"), align=self.align)
        if self.target is not None and self.target == self.against:
            raise UserError(_("the two tokens of a question must differ; choose another one to compare with"))

    def with_next_measure(self) -> "CausalQuestion":
        """The same question with the next of the three measures; only a difference has a token to compare with."""
        measure = MEASURES[(MEASURES.index(self.measure) + 1) % len(MEASURES)]
        return replace(self, measure=measure)

    def check(self, vocab_size: int) -> None:
        """Raise `UserError` for an id that a model of `vocab_size` ids does not have."""
        for id in (self.target, self.against, *self.corrupt):
            if id is not None and not 0 <= id < vocab_size:
                raise UserError(
                    _("{id} is not a token id of this model; choose one from 0 to {last}"), id=id, last=vocab_size - 1
                )

    def target_at(self, logits: "Tensor") -> Target:
        """The measure at a position whose next token has `logits` [V]; what is not chosen is the likeliest there.

        Raises `UserError` for an id outside V.
        """
        self.check(len(logits))
        paired = self.measure == "difference"
        likeliest = logits.topk(min(2, len(logits))).indices.tolist()
        target = self.target
        if target is None:
            target = next(id for id in likeliest if not paired or id != self.against)
        if not paired:
            return Target(target, scale="logit" if self.measure == "logit" else "logprob")
        against = self.against
        if against is None:
            against = next((id for id in likeliest if id != target), None)
        return Target(target, against)

    def measured(self, logits: "Tensor", piece: Callable[[int], bytes]) -> "Measured":
        """The question at a position with `logits` [V], and its value; `piece` gives the bytes of an id."""
        target = self.target_at(logits)
        against = b"" if target.against is None else piece(target.against)
        ranks = tuple(int((logits > logits[id]).sum()) for id in (target.id, target.against) if id is not None)
        return Measured(target, piece(target.id), against, target.measure(logits.float()).item(), ranks)

    def continued(self, prompt_length: int, ids: Sequence[int]) -> "CausalQuestion":
        """The question after `ids`, which begin with a prompt of `prompt_length` tokens or are the start of it.

        The tokens after the clean prompt also follow the corrupt one. A start of the clean prompt is compared with as
        much of the corrupt one, counted from the end at which the two are aligned.
        """
        if not self.corrupt:
            return self
        if len(ids) >= prompt_length:
            return replace(self, corrupt=(*self.corrupt, *ids[prompt_length:]))
        kept = len(ids) if self.align == "left" else max(0, len(self.corrupt) - prompt_length + len(ids))
        return replace(self, corrupt=self.corrupt[:kept])

    def corrupt_ids(self, clean: Sequence[int], context: int | None = None) -> tuple[int, ...]:
        """The ids of the corrupt prompt beside those of the clean one; the last `context` of them, which a model sees.

        Raises `UserError` where there is no corrupt prompt, where both are equal, and where no token that is paired is
        the same, so that there is nothing to hold fixed.
        """
        if not self.corrupt:
            raise UserError(
                _("this experiment needs a second prompt, the corrupt one: {option} gives it"),
                option=OPTION,
            )
        seen = self.corrupt[-context:] if context else self.corrupt
        if tuple(clean) == seen:
            if seen == self.corrupt:
                raise UserError(
                    _("the corrupt prompt has the same tokens as the prompt; change one word of it with {option}"),
                    option=OPTION,
                )
            text = _(
                "the last {context} tokens, which the model sees, are the same in both prompts; change one of them"
            )
            raise UserError(text, context=context)
        pairs = alignment(clean, seen, self.align)
        if not any(i is not None and j is not None and clean[i] == seen[j] for i, j in pairs):
            raise UserError(
                _(
                    "the corrupt prompt has no token in the same place as the prompt; {option} gives one of which only "
                    "a word differs"
                ),
                option=OPTION,
            )
        return seen

    def aligned_ids(self, clean: Sequence[int], context: int | None = None) -> tuple[int, ...]:
        """`corrupt_ids` of an experiment that needs as many of them as clean ones; raises `UserError` as `aligned`."""
        corrupt = self.corrupt_ids(clean, context)
        aligned(clean, corrupt)
        return corrupt


@dataclass(frozen=True, slots=True)
class Measured:
    """A question at one position: its two tokens, and the value of its measure there."""

    target: Target
    piece: bytes
    """Of A."""
    against: bytes
    """Of B; empty where only A is measured."""
    value: float
    """m at that position, in nats."""
    ranks: tuple[int, ...] = ()
    """Of A and of B, 0 for the likeliest token."""


def alignment(
    clean: Sequence[object], corrupt: Sequence[object], align: End
) -> tuple[tuple[int | None, int | None], ...]:
    """The positions of two prompts that are paired, from the first to the last; None where one is shorter."""
    length = max(len(clean), len(corrupt))
    columns = []
    for ids in (clean, corrupt):
        missing: list[int | None] = [None] * (length - len(ids))
        positions: list[int | None] = list(range(len(ids)))
        columns.append(positions + missing if align == "left" else missing + positions)
    return tuple(zip(*columns, strict=True))


def aligned(clean: Sequence[int], corrupt: Sequence[int]) -> None:
    """Raise `UserError` unless both prompts have the same number of tokens, as comparing each position needs."""
    if len(clean) != len(corrupt):
        raise UserError(
            _(
                "the corrupt prompt has {corrupt} tokens, but the prompt has {clean}; this experiment compares them "
                "position by position, so choose words with the same number of tokens"
            ),
            corrupt=len(corrupt),
            clean=len(clean),
        )


def one_token(tokenizer: Tokenizer, text: str, option: str) -> int:
    """The id of the only token of `text`, which `option` gave.

    Raises `UserError` where it is empty or several tokens; the error shows their pieces.
    """
    ids = tokenizer.continuation(text)
    if not ids:
        raise UserError(_("{option} is empty; give the text of a token, such as ' my'"), option=Option(option))
    if len(ids) > 1:
        pieces = " + ".join(repr(piece_text(tokenizer.piece(id))) for id in ids[:8]) + (" + …" if len(ids) > 8 else "")
        raise UserError(
            _("{option} must be one token; {text!r} is {count}: {pieces}; give one of these pieces"),
            option=Option(option),
            text=text[:80],
            count=len(ids),
            pieces=pieces,
        )
    return ids[0]


def question_of(
    tokenizer: Tokenizer,
    target: str | None = None,
    against: str | None = None,
    measure: str = "difference",
    corrupt: str = "",
    align: str = "left",
) -> CausalQuestion:
    """The question that these texts ask; each of `target` and `against` must be one token.

    Raises `UserError` where one is not, or where they cannot be asked together.
    """
    if against is not None and measure != "difference":
        raise UserError(
            _("{against} belongs to the measure difference, not to {measure}; leave one of the two out"),
            against=Option("against"),
            measure=measure,
        )
    return CausalQuestion(
        None if target is None else one_token(tokenizer, target, "target"),
        None if against is None else one_token(tokenizer, against, "against"),
        measure,  # type: ignore[arg-type]  # it is checked there
        tuple(tokenizer.encode(corrupt)) if corrupt else (),
        align,  # type: ignore[arg-type]
    )
