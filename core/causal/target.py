"""What a causal experiment measures: how much a model prefers one next token to another."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

TargetScale = Literal["logit", "logprob"]


@dataclass(frozen=True, slots=True)
class Target:
    """A measure m of the logits at one position, in nats.

    `logit[id] - logit[against]`, the logit difference (Wang et al. 2022, section 3), or without `against` the logit or
    the log-probability of one token. The difference of two log-probabilities equals that of the two logits.
    """

    id: int
    against: int | None = None
    scale: TargetScale = "logit"

    def measure(self, logits: "Tensor") -> "Tensor":
        """m of `logits` [..., V], as [...] in their dtype; it can be differentiated."""
        if self.against is not None:
            return logits[..., self.id] - logits[..., self.against]
        own = logits[..., self.id]
        return own if self.scale == "logit" else own - logits.logsumexp(dim=-1)
