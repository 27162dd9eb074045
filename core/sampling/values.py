"""Values that describe a next-token distribution and one draw from it; no tensors."""

import math
from dataclasses import dataclass

from core.sampling.bounds import Bounded, Bounds, between, through
from core.sampling.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class Score:
    """How likely the model found one token, before temperature and cuts.

    Its numbers are bounds where they are not known: of a token beyond the likeliest ones that an engine tells all of
    them, of one among these the entropy.
    """

    logit: Bounded
    """The log-probability where logits are not known."""
    logprob: Bounded
    """ln p, in nats."""
    entropy_bits: Bounded
    """Entropy of the distribution the token came from."""
    rank: Bounded
    """How many tokens have a higher logit; 0 is the likeliest token."""
    known: int | None = None
    """How many tokens of that distribution were known, the likeliest ones; None for all."""

    @property
    def probability(self) -> Bounded:
        """p."""
        return through(math.exp, self.logprob)

    @property
    def surprisal_bits(self) -> Bounded:
        """-log2 p."""
        return through(lambda nats: -nats / math.log(2), self.logprob)


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: the first token, likeliest first, at which the cumulative probability exceeds u."""

    id: int
    u: float | None
    """The uniform number in [0, 1); None for greedy sampling."""
    sampled_probability: Bounded
    """Its probability after temperature and cuts, renormalized."""
    score: Score


@dataclass(frozen=True, slots=True)
class Candidate:
    """One possible next token."""

    id: int
    piece: bytes
    rank: int
    """0 is the likeliest token."""
    logit: float
    """The log-probability where logits are not known."""
    probability: float
    """softmax(logits), before temperature and cuts."""
    sampled_probability: Bounded
    """After temperature and cuts, renormalized; 0 if a stage removed it."""
    unpatched: float | None = None
    """The probability without patches; None if there are none."""
    true: float | None = None
    """The true probability, which is known in the tiny world; else None."""
    known: bool = True
    """False for a token beyond those that an engine tells: then `probability` and `logit` are the most that they can
    be, and `rank` is the least."""

    @property
    def share(self) -> Bounded:
        """`probability`, as bounds where it is not known."""
        return self.probability if self.known else between(0.0, self.probability)

    @property
    def place(self) -> Bounded:
        """`rank`, as bounds where it is not known."""
        return self.rank if self.known else Bounds(self.rank, math.inf)

    @property
    def bits(self) -> Bounded:
        """Its surprisal, -log2 p; ∞ for p = 0."""
        return through(lambda share: 0.0 - math.log2(share) if share > 0 else math.inf, self.share)


@dataclass(frozen=True, slots=True)
class StageEffect:
    """What one stage of a sampler did."""

    stage: Stage
    kept: Bounded
    """How many tokens it left."""
    removed: Bounded
    """How many it removed."""
    removed_mass: Bounded
    """Their probability among the tokens that reached it."""
    moved: Bounded
    """The total variation distance between the distributions before and after it, 0 to 1; `removed_mass` for a cut."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A next-token distribution for a picture: the likeliest tokens one by one, all others summed."""

    candidates: tuple[Candidate, ...]
    """Likeliest first; equally likely ones by id."""
    others_count: int
    others_probability: float
    others_sampled: Bounded
    """The summed probability of the others after temperature and cuts, renormalized."""
    entropy_bits: Bounded
    stages: tuple[StageEffect, ...]
    """The stages of the sampler, in the order applied."""
    kept: Bounded
    """How many tokens can be drawn."""
    problem: str = ""
    """Why no token can be drawn; empty if one can."""
    taken: Candidate | None = None
    """The next token of the walk; None at its end."""
    divergence_bits: float | None = None
    """KL(true ‖ model); None if the true distribution is not known."""
    known: int | None = None
    """How many tokens have a known probability, the likeliest ones; None for all."""
    unknown_probability: float = 0.0
    """The summed probability of the tokens that are not known."""
    from_logprobs: bool = False
    """Whether the model's logits are not known: log-probabilities stand in their place."""
    sampled_entropy_bits: Bounded | None = None
    """Entropy of what is drawn from; None where the stages change nothing, or leave no token to draw."""

    @property
    def effective(self) -> Bounded:
        """2^H: how many equally likely tokens have the same entropy."""
        return through(math.exp2, self.entropy_bits)

    @property
    def vocab_size(self) -> int:
        """V."""
        return len(self.candidates) + self.others_count


@dataclass(frozen=True, slots=True)
class Softmax:
    """The intermediate results of one way to compute a softmax in float32."""

    powers: tuple[float, ...]
    """exp of each logit, or of its difference to the highest: inf on overflow, 0 on underflow."""
    total: float
    """Their sum."""
    shares: tuple[float, ...]
    """Each power divided by the sum; NaN for ∞ / ∞ and 0 / 0."""

    @property
    def works(self) -> bool:
        """Whether every share is finite."""
        return all(math.isfinite(share) for share in self.shares)


@dataclass(frozen=True, slots=True)
class Shares:
    """The result of a softmax at one setting."""

    setting: float
    """The temperature, or how often the softmax was applied."""
    shares: tuple[float, ...]
    """Of the tokens that are shown."""
    entropy_bits: float
    """Over all tokens."""


@dataclass(frozen=True, slots=True)
class SoftmaxLab:
    """The softmax of some logits, computed in several ways."""

    logits: tuple[float, ...]
    naive: Softmax
    """exp(x) / Σ exp(x), literally."""
    stable: Softmax
    """exp(x - max) / Σ exp(x - max): mathematically equal, and no power exceeds 1."""
    repeated: tuple[Shares, ...]
    """Softmax over all tokens, repeated: shares differ by at most 1, so each time brings them nearer to uniform."""
    temperatures: tuple[Shares, ...]
    """softmax(x / T) over all tokens, lowest T first."""
    count: int
    """How many tokens that is."""
