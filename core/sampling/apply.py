"""Runs the stages of a sampler over a distribution, and describes what each of them did."""

from dataclasses import dataclass

from core.errors import UserError
from core.language import _
from core.sampling.context import DrawContext
from core.sampling.next_distribution import NeedsMore, NextDistribution
from core.sampling.partial_selection import Selected
from core.sampling.sampler import Sampler
from core.sampling.stages.stage import Stage
from core.sampling.values import StageEffect


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """A distribution after the stages of a sampler."""

    distribution: NextDistribution
    stages: tuple[Stage, ...]
    before: Selected
    """What reached the first stage: all tokens."""
    after: tuple[Selected, ...]
    """What each stage left; the one before it where a stage is not active. After a stage that failed, what it got."""
    error: UserError | None = None
    """Why no token can be drawn; None if one can. `NeedsMore` where that depends on tokens that are not known."""

    @property
    def selection(self) -> Selected:
        """What is drawn from."""
        return self.after[-1] if self.after else self.before

    @property
    def problem(self) -> str:
        """Why no token can be drawn; empty if one can."""
        return str(self.error) if self.error else ""

    def checked(self) -> Selected:
        """What is drawn from. Raises `UserError` if no token can be drawn."""
        if self.error:
            raise self.error
        return self.selection

    def effects(self) -> tuple[StageEffect, ...]:
        """What each stage did."""
        before, found = self.before, []
        for stage, after in zip(self.stages, self.after, strict=True):
            found.append(StageEffect(stage, after.count, *before.change(after)))
            before = after
        return tuple(found)


def apply_stages(distribution: NextDistribution, sampler: Sampler, context: DrawContext = DrawContext()) -> Applied:
    """Apply the active stages in their order.

    A stage that cannot be computed, or leaves no token, ends the row: then no token can be drawn, and `error` says
    why.
    """
    all_tokens = selection = distribution.selected()
    after = list[Selected]()
    error: UserError | None = None
    for stage in sampler.stages:
        if stage.active and not error:
            try:
                _check(stage, distribution)
                selection = selection.through(stage, context)
            except NeedsMore as more:
                error = NeedsMore(more.count, f"{_(stage.TITLE)}: ", *more.parts)
            except UserError as failed:
                error = UserError(f"{_(stage.TITLE)}: ", *failed.parts)
            else:
                if not selection.drawable:
                    error = UserError(
                        _("{title} leaves no token to draw; change this stage or switch it off"), title=_(stage.TITLE)
                    )
        after.append(selection)
    return Applied(distribution, sampler.stages, all_tokens, tuple(after), error)


def _check(stage: Stage, distribution: NextDistribution) -> None:
    if stage.NEEDS_LOGITS and distribution.from_logprobs:
        raise UserError(
            _(
                "it needs logits, and the engine gives log-probabilities, which differ from them by an unknown "
                "constant; switch it off"
            )
        )
