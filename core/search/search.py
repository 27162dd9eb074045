"""Runs a plan."""

from collections.abc import Collection, Iterator

from core.search import beam, best_first
from core.search.continuations import Reader
from core.search.settings import BestSettings, Plan
from core.search.values import State


def search(reader: Reader, plan: Plan, stops: Collection[int]) -> Iterator[State]:
    """The states of the search that `plan` describes, in which an answer ends at an id of `stops`."""
    if isinstance(plan.settings, BestSettings):
        return best_first.search(reader, plan.settings, stops)
    return beam.search(reader, plan.settings, stops)
