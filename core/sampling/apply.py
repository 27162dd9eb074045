"""Runs the stages of a sampler over a distribution, and describes what each of them did."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from core.errors import Part, UserError
from core.sampling.context import DrawContext
from core.sampling.distribution import Distribution
from core.sampling.sampler import Sampler
from core.sampling.selection import Selection
from core.sampling.stages.stage import Stage
from core.sampling.values import StageEffect


@dataclass(frozen=True, slots=True, eq=False)
class Applied:
    """A distribution after the stages of a sampler."""

    distribution: Distribution
    stages: tuple[Stage, ...]
    after: tuple[Selection, ...]
    """What each stage left; the one before it where a stage is not active. After a stage that failed, what it got."""
    problem: tuple[Part, ...] = ()
    """The parts of a `UserError` that says why no token can be drawn; empty if one can."""

    @property
    def selection(self) -> Selection:
        """What is drawn from."""
        return self.after[-1] if self.after else Selection.of(self.distribution)

    def checked(self) -> Selection:
        """What is drawn from. Raises `UserError` if no token can be drawn."""
        if self.problem:
            raise UserError(*self.problem)
        return self.selection

    def effects(self) -> tuple[StageEffect, ...]:
        """What each stage did."""
        before, found = Selection.of(self.distribution), []
        for stage, after in zip(self.stages, self.after, strict=True):
            found.append(_effect(stage, before, after))
            before = after
        return tuple(found)


def apply_stages(distribution: Distribution, sampler: Sampler, context: DrawContext = DrawContext()) -> Applied:
    """Apply the active stages in their order.

    A stage that cannot be computed, or leaves no token, ends the row: then no token can be drawn, and `problem` says
    why.
    """
    selection, after = Selection.of(distribution), list[Selection]()
    problem: tuple[Part, ...] = ()
    for stage in sampler.stages:
        if stage.active and not problem:
            try:
                selection = stage.apply(selection, context)
            except UserError as error:
                problem = (f"{stage.TITLE}: ", *error.parts)
            else:
                if not selection.drawable:
                    problem = (f"{stage.TITLE} leaves no token to draw; change it or switch it off",)
        after.append(selection)
    return Applied(distribution, sampler.stages, tuple(after), problem)


def _effect(stage: Stage, before: Selection, after: Selection) -> StageEffect:
    if after is before or not after.drawable:
        gone = 0 if after is before else len(before) - len(after)
        return StageEffect(stage, len(after), gone, float(gone > 0), float(gone > 0))
    same = len(after) == len(before)
    kept = before.probabilities if same else before.probabilities[np.searchsorted(before.ids, after.ids)]
    left = 1.0 if same else float(kept.sum(dtype=np.float64))
    removed = max(0.0, 1.0 - left)
    return StageEffect(stage, len(after), len(before) - len(after), removed, _distance(kept, after, removed))


def _distance(kept: Any, after: Selection, removed: float) -> float:
    """The total variation distance between the probabilities before a stage and after it."""
    return 0.5 * (removed + float(np.abs(after.probabilities - kept).sum(dtype=np.float64)))
