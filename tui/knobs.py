"""The steps in which keys change the settings of the sampler. `by` is 1 for up and -1 for down."""

import math
from dataclasses import replace

from core.sampling.sampler import Sampler

TOP_K = (1, 2, 3, 5, 10, 20, 40, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
"""The values that keys reach; above the last, top-k is off (0)."""


def temperature(sampler: Sampler, by: int) -> Sampler:
    """One tenth up or down, from 0 (greedy) to 5."""
    highest = max(5.0, sampler.temperature)
    return replace(sampler, temperature=min(highest, max(0.0, round(sampler.temperature + by / 10, 1))))


def top_k(sampler: Sampler, by: int) -> Sampler:
    """The next larger or smaller value of `TOP_K`; above the largest, top-k is off."""
    present = sampler.top_k or math.inf
    beyond = [k for k in TOP_K if (k - present) * by > 0]
    if not beyond:
        return replace(sampler, top_k=0) if by > 0 else sampler
    return replace(sampler, top_k=min(beyond) if by > 0 else max(beyond))


def top_p(sampler: Sampler, by: int) -> Sampler:
    """One twentieth up or down, from 0.05 to 1 (off)."""
    lowest = min(0.05, sampler.top_p)
    return replace(sampler, top_p=min(1.0, max(lowest, round(sampler.top_p + by / 20, 2))))


def min_p(sampler: Sampler, by: int) -> Sampler:
    """One twentieth up or down, from 0 (off) to 1."""
    return replace(sampler, min_p=min(1.0, max(0.0, round(sampler.min_p + by / 20, 2))))
