"""The steps in which keys change the settings of the sampler. `by` is 1 for up and -1 for down."""

from core.sampling.sampler import Sampler
from core.sampling.stages.min_p import MinP
from core.sampling.stages.stage import Stage
from core.sampling.stages.temp import Temperature
from core.sampling.stages.top_k import TopK
from core.sampling.stages.top_p import TopP


def _turned(sampler: Sampler, kind: type[Stage], by: int, vocab_size: int | None = None) -> Sampler:
    """The sampler with the first knob of a stage turned; the stage is added or switched on where it is not."""
    stage = sampler.stage(kind) or kind()
    if not stage.on:
        stage = kind()
    return sampler.with_stage(stage.turned(0, by, vocab_size))


def temperature(sampler: Sampler, by: int) -> Sampler:
    """One tenth up or down, from 0 (greedy) to 5."""
    return _turned(sampler, Temperature, by)


def top_k(sampler: Sampler, by: int, vocab_size: int | None = None) -> Sampler:
    """The next larger or smaller of some round numbers below `vocab_size`; above the largest, top-k is off."""
    return _turned(sampler, TopK, by, vocab_size)


def top_p(sampler: Sampler, by: int) -> Sampler:
    """One twentieth up or down, from 0.05 to 1 (off)."""
    return _turned(sampler, TopP, by)


def min_p(sampler: Sampler, by: int) -> Sampler:
    """One twentieth up or down, from 0 (off) to 1."""
    return _turned(sampler, MinP, by)
