"""Experiments with the softmax of a few logits: overflow, repeated application, temperature."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from core.errors import UserError
from core.language import _
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NextDistribution
from core.sampling.values import Shares, Softmax, SoftmaxLab

REPETITIONS = (1, 2, 3, 5, 10)
TEMPERATURES = (0.1, 0.5, 1.0, 2.0, 10.0)
MOST = 32
"""Logits at most, since they are shown one by one."""


def other_logits(distribution: NextDistribution, ids: Sequence[int]) -> Tensor:
    """The logits of all tokens but `ids`, [V - n]; of those that are known where not all are."""
    if isinstance(distribution, Distribution):
        return distribution.others(ids)
    shown = set(ids)
    others = [id for id in distribution.first(distribution.known).tolist() if id not in shown]
    return torch.tensor(distribution.logits_of(others))


def softmax_lab(
    logits: Sequence[float],
    repetitions: Sequence[int] = REPETITIONS,
    temperatures: Sequence[float] = TEMPERATURES,
    others: Tensor | None = None,
) -> SoftmaxLab:
    """Softmax of `logits` in float32 with and without subtracting the highest, repeated, and at some temperatures.

    `others`, [n], are the logits of all other tokens, which take part in repetitions and temperatures. Raises
    `UserError` for no logits, too many, one that float32 cannot hold, and a temperature of 0 or below.
    """
    if not 1 <= len(logits) <= MOST:
        raise UserError(_("give 1 to {limit} logits, not {count}"), limit=MOST, count=len(logits))
    x = torch.tensor(list(logits), dtype=torch.float32)
    if not x.isfinite().all():
        raise UserError(_("a logit must be within the range of float32, ±3.4e38"))
    if too_low := [t for t in temperatures if not t > 0]:
        raise UserError(_("a temperature must be above 0 here, not {value:g}"), value=too_low[0])
    whole = x if others is None else torch.cat((x, others.float()))
    return SoftmaxLab(
        logits=tuple(x.tolist()),
        naive=_softmax(x),
        stable=_softmax(x - x.max()),
        repeated=tuple(_shares(count, _repeated(whole, count), len(x)) for count in sorted(repetitions)),
        temperatures=tuple(
            _shares(t, torch.softmax((whole - whole.max()) / t, dim=0), len(x)) for t in sorted(temperatures)
        ),
        count=len(whole),
    )


def _softmax(x: Tensor) -> Softmax:
    powers = x.exp()
    total = powers.sum()
    return Softmax(tuple(powers.tolist()), total.item(), tuple((powers / total).tolist()))


def _repeated(x: Tensor, count: int) -> Tensor:
    for _unused in range(count):
        x = torch.softmax(x, dim=0)
    return x


def _shares(setting: float, p: Tensor, shown: int) -> Shares:
    """The first `shown` shares, and the entropy of all."""
    return Shares(setting, tuple(p[:shown].tolist()), max(0.0, -torch.special.xlogy(p, p).sum().item() / math.log(2)))
