"""Values that describe a next-token distribution and one draw from it; no tensors."""

import math
from dataclasses import dataclass

from core.sampling.stages.stage import Stage


@dataclass(frozen=True, slots=True)
class Score:
    """How likely the model found one token, before temperature and cuts."""

    logit: float
    logprob: float
    """ln p, in nats."""
    entropy_bits: float
    """Entropy of the distribution the token came from."""
    rank: int
    """How many tokens have a higher logit; 0 is the likeliest token."""

    @property
    def probability(self) -> float:
        """p."""
        return math.exp(self.logprob)

    @property
    def surprisal_bits(self) -> float:
        """-log2 p."""
        return -self.logprob / math.log(2)


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: the first token, likeliest first, at which the cumulative probability exceeds u."""

    id: int
    u: float | None
    """The uniform number in [0, 1); None for greedy sampling."""
    sampled_probability: float
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
    probability: float
    """softmax(logits), before temperature and cuts."""
    sampled_probability: float
    """After temperature and cuts, renormalized; 0 if a stage removed it."""
    unpatched: float | None = None
    """The probability without patches; None if there are none."""
    true: float | None = None
    """The true probability, which is known in the tiny world; else None."""

    @property
    def bits(self) -> float:
        """Its surprisal, -log2 p; ∞ for p = 0."""
        return 0.0 - math.log2(self.probability) if self.probability > 0 else math.inf


@dataclass(frozen=True, slots=True)
class StageEffect:
    """What one stage of a sampler did."""

    stage: Stage
    kept: int
    """How many tokens it left."""
    removed: int
    """How many it removed."""
    removed_mass: float
    """Their probability among the tokens that reached it."""
    moved: float
    """The total variation distance between the distributions before and after it, 0 to 1; `removed_mass` for a cut."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A next-token distribution for a picture: the likeliest tokens one by one, all others summed."""

    candidates: tuple[Candidate, ...]
    """Likeliest first; equally likely ones by id."""
    others_count: int
    others_probability: float
    others_sampled: float
    """The summed probability of the others after temperature and cuts, renormalized."""
    entropy_bits: float
    stages: tuple[StageEffect, ...]
    """The stages of the sampler, in the order applied."""
    kept: int
    """How many tokens can be drawn."""
    problem: str = ""
    """Why no token can be drawn; empty if one can."""
    taken: Candidate | None = None
    """The next token of the walk; None at its end."""
    divergence_bits: float | None = None
    """KL(true ‖ model); None if the true distribution is not known."""

    @property
    def effective(self) -> float:
        """2^H: how many equally likely tokens have the same entropy."""
        return math.exp2(self.entropy_bits)

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
