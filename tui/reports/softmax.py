"""The lens of softmax in lines: the plain formula and the one that subtracts the maximum, repetition, temperature."""

from collections.abc import Iterator, Sequence

from core.language import _
from core.sampling.values import SoftmaxLab
from tui.drawing.text import percent


def formula_lines(answer: SoftmaxLab, names: Sequence[str], score: str = "logit") -> Iterator[str]:
    """Both formulas, token by token; `score` says what stands in the place of logits."""
    naive, stable = answer.naive, answer.stable
    for at, name in enumerate(names):
        yield " · ".join((
            name,
            f"{score} {answer.logits[at]:.2f}",
            f"exp(x) {naive.powers[at]:.3g}",
            f"{_('share')} {naive.shares[at]:.4f}",
            f"exp(x-max) {stable.powers[at]:.3g}",
            f"{_('share')} {stable.shares[at]:.4f}",
        ))  # fmt: skip
    yield " · ".join((
        _("sum"),
        f"exp(x) {naive.total:.3g}",
        f"{_('share')} {sum(naive.shares):.4f}",
        f"exp(x-max) {stable.total:.3g}",
        f"{_('share')} {sum(stable.shares):.4f}",
    ))  # fmt: skip
    yield outcome(answer)


def outcome(answer: SoftmaxLab) -> str:
    """Whether the plain formula works."""
    return (
        _("Both work. ⇧→ scales the logits up until the plain formula fails.")
        if answer.naive.works
        else _("exp overflows float32 above x = 88.7, and ∞ / ∞ is NaN; the second way avoids it.")
    )


def repeated_title(answer: SoftmaxLab) -> str:
    """What the rows of repeated softmax show."""
    return _("softmax n times, over {count:,} tokens: each time closer to uniform").format(count=answer.count)


def heated_title() -> str:
    """What the rows of temperatures show."""
    return _("softmax(x / T): a low T sharpens, a high T flattens")


def shares_lines(answer: SoftmaxLab, names: Sequence[str]) -> Iterator[str]:
    """The shares of the two likeliest tokens when softmax is repeated, and at other temperatures."""
    for title, rows, form in (
        (repeated_title(answer), answer.repeated, "{:g}×"),
        (heated_title(), answer.temperatures, "T {:g}"),
    ):
        yield title
        for row in rows:
            shares = [f"{name} {percent(share, 2)}" for name, share in zip(names[:2], row.shares, strict=False)]
            yield " · ".join((form.format(row.setting), *shares, _("H {bits:.3f} bits").format(bits=row.entropy_bits)))
