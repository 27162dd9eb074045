"""What a walk needs of a next-token distribution, whether it is known for all tokens or only for the likeliest ones."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from core.errors import Part, UserError
from core.sampling.bounds import Bounded

if TYPE_CHECKING:
    from core.sampling.partial_selection import Selected
    from core.sampling.values import Score


class NeedsMore(UserError):
    """What is known of a distribution does not decide something; with `count` tokens known, or V, it may."""

    def __init__(self, count: int, text: Part, /, *more: Part, **values: object) -> None:
        super().__init__(text, *more, **values)
        self.count = count


class NextDistribution(Protocol):
    """The next-token distribution of a model at one position.

    `distribution.Distribution` knows all V tokens, `partial.PartialDistribution` the likeliest ones. The order is
    likeliest first, and by id among equally likely tokens.
    """

    @property
    def vocab_size(self) -> int:
        """V."""

    @property
    def known(self) -> int:
        """How many tokens have a known probability, the likeliest ones; V where all have."""

    @property
    def rest(self) -> float:
        """The summed probability of the tokens that are not known."""

    @property
    def from_logprobs(self) -> bool:
        """Whether it was made of log-probabilities, so that logits are known up to a constant only."""

    @property
    def rounded(self) -> "NextDistribution | None":
        """The same distribution at the other end of what rounding may have done to it; None where that is nothing."""

    @property
    def entropy_bits(self) -> Bounded:
        """H = -Σ p log2 p, in bits."""

    @property
    def argmax(self) -> int:
        """The id of the likeliest token."""

    def first(self, count: int) -> Any:
        """The ids of the `count` likeliest tokens, in order, as far as they are known; NumPy."""

    def rank(self, id: int) -> Bounded:
        """The place of a token in the order, from 0."""

    def id_at(self, rank: int) -> int | None:
        """The token of a rank; None where it is not known."""

    def margin(self) -> Bounded:
        """The probability of the likeliest token minus that of the second."""

    def score(self, id: int) -> "Score":
        """Logit, log-probability, entropy and rank for `id` as the next token."""

    def logits_of(self, ids: Sequence[int]) -> list[float]:
        """The logits of known tokens, or their log-probabilities where `from_logprobs`."""

    def probabilities_of(self, ids: Sequence[int]) -> list[float]:
        """The probabilities of known tokens."""

    def mass_count(self, share: float) -> Bounded:
        """How many of the likeliest tokens together have at least the probability `share`."""

    def selected(self) -> "Selected":
        """All tokens, from which the stages of a sampler select."""
