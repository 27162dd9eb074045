"""Sampler settings: temperature, top-k, top-p, min-p, their order and the seed."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from core.errors import UserError

Order = Literal["temperature first", "temperature last"]

ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """The settings of one draw: temperature and cuts in their order, then one uniform number.

    Raises `UserError` for a value outside its range.
    """

    temperature: float = 1.0
    """Logits are divided by it; 0 means greedy sampling."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the fewest tokens that hold this share of the mass after top-k (Holtzman et al. 2020); 1 keeps all."""
    min_p: float = 0.0
    """Keep the tokens at least this many times as likely as the likeliest (Nguyen et al. 2024); 0 keeps all."""
    order: Order = "temperature first"
    """Whether the cuts apply to softmax(logits / T), or to softmax(logits)."""
    seed: int = 0
    """Determines the uniform numbers."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UserError(f"the temperature must be 0 or more, not {self.temperature:g}")
        if self.top_k < 0:
            raise UserError(f"top-k must be 0 (off) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise UserError(f"top-p must be above 0 and at most 1 (off), not {self.top_p:g}")
        if not 0 <= self.min_p <= 1:
            raise UserError(f"min-p must be between 0 (off) and 1, not {self.min_p:g}")
        if self.order not in ORDERS:
            raise UserError(f"no order {self.order!r}; choose {' or '.join(ORDERS)}")

    @property
    def greedy(self) -> bool:
        """Whether the argmax is always taken."""
        return self.temperature == 0
