"""Values that describe a next-token distribution and one draw from it; no tensors."""

import math
from dataclasses import dataclass
from typing import Literal

StageName = Literal["raw", "temperature", "top-k", "top-p", "min-p", "renormalised"]


@dataclass(frozen=True, slots=True)
class Score:
    """What the model thought of one token before it came."""

    logit: float
    logprob: float
    """ln p under the model's own distribution, before temperature and cuts."""
    entropy_bits: float
    """Entropy of the distribution the token came from."""
    rank: int
    """How many tokens had a higher logit; 0 is the model's favourite."""

    @property
    def probability(self) -> float:
        return math.exp(self.logprob)

    @property
    def surprisal_bits(self) -> float:
        return -self.logprob / math.log(2)


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: the token at which the cumulative kept probability, likeliest first, passes u."""

    id: int
    u: float | None
    """The uniform number in [0, 1); None where nothing was left to chance (greedy)."""
    sampled_probability: float
    """After temperature, cuts and renormalising."""
    score: Score


@dataclass(frozen=True, slots=True)
class Candidate:
    """One token that could come next."""

    id: int
    piece: bytes
    rank: int
    logit: float
    probability: float
    """The model's own."""
    sampled_probability: float
    """After temperature, cuts and renormalising; 0 where a stage cut it."""
    unpatched: float | None = None
    """What the model's own would be without patches; None where there are none."""
    true: float | None = None
    """What it truly is, where that is known: in the tiny world."""

    @property
    def bits(self) -> float:
        """Its surprisal."""
        return 0.0 - math.log2(self.probability) if self.probability > 0 else math.inf


@dataclass(frozen=True, slots=True)
class SamplerStage:
    """One step from logits to the distribution that is drawn from."""

    name: StageName
    kept: int
    """Tokens left after it."""
    mass: float
    """Probability they hold: of softmax(logits) before temperature had its turn, of softmax(logits / T) from then on;
    1 again once renormalised."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A next-token distribution as a picture needs it: the head exact, the tail summed, nothing dropped."""

    candidates: tuple[Candidate, ...]
    """Likeliest first; equal ones by id."""
    others_count: int
    others_probability: float
    others_sampled: float
    """The tail's share after temperature, cuts and renormalising."""
    entropy_bits: float
    stages: tuple[SamplerStage, ...]
    taken: Candidate | None = None
    """The token that came next in the walk, where the position is not its end."""
    divergence_bits: float | None = None
    """KL(true ‖ model), where the true distribution is known."""

    @property
    def effective(self) -> float:
        """How many equally likely tokens would be as uncertain: 2^H (S12)."""
        return math.exp2(self.entropy_bits)

    @property
    def vocab_size(self) -> int:
        return len(self.candidates) + self.others_count


@dataclass(frozen=True, slots=True)
class Softmax:
    """One way to compute a softmax in float32, number by number."""

    powers: tuple[float, ...]
    """exp of each logit, or of its distance from the highest: inf where float32 ends, 0 where it vanishes."""
    total: float
    """Their sum."""
    shares: tuple[float, ...]
    """Each power over the sum; nan where that is ∞ / ∞ or 0 / 0."""

    @property
    def works(self) -> bool:
        """Whether every share is a number."""
        return all(math.isfinite(share) for share in self.shares)


@dataclass(frozen=True, slots=True)
class Shares:
    """What a softmax made of the same logits at one setting."""

    setting: float
    """The temperature, or how often the softmax was taken."""
    shares: tuple[float, ...]
    entropy_bits: float


@dataclass(frozen=True, slots=True)
class SoftmaxLab:
    """What becomes of some logits in a softmax (S7)."""

    logits: tuple[float, ...]
    naive: Softmax
    """exp(x) / Σ exp(x), as the formula stands."""
    stable: Softmax
    """exp(x - max) / Σ exp(x - max): the same number, but nothing is larger than 1."""
    repeated: tuple[Shares, ...]
    """The softmax of the softmax of …: shares differ by 1 at most, so each turn brings them nearer to uniform."""
    temperatures: tuple[Shares, ...]
    """softmax(x / T), coldest first."""
