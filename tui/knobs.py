"""Owns the steps in which keys turn the sampler's knobs."""

from dataclasses import replace

from core.config import Sampler

TOP_K = (1, 2, 3, 5, 10, 20, 40, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 0)
"""From one token to all of them (0: off)."""


def temperature(sampler: Sampler, by: int) -> Sampler:
    """One tenth up or down, from 0 (greedy) to 5."""
    return replace(sampler, temperature=min(5.0, max(0.0, round(sampler.temperature + by / 10, 1))))


def top_k(sampler: Sampler, by: int) -> Sampler:
    """The next larger or smaller k; beyond the largest it is off."""
    place = min(
        (i for i, k in enumerate(TOP_K) if k == sampler.top_k or 0 < sampler.top_k < k or k == 0),
        key=lambda i: (TOP_K[i] != sampler.top_k, i),
    )
    return replace(sampler, top_k=TOP_K[min(len(TOP_K) - 1, max(0, place + by))])


def top_p(sampler: Sampler, by: int) -> Sampler:
    """One twentieth up or down, from 0.05 to 1 (off)."""
    return replace(sampler, top_p=min(1.0, max(0.05, round(sampler.top_p + by / 20, 2))))
