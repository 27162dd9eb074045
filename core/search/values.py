"""What a search found, and how far it is; no tensors."""

from dataclasses import dataclass
from typing import Literal

from core.sampling.values import Score

EarlyStopping = Literal["no", "yes", "never"]
Reason = Literal["", "finished", "proved", "no room", "nodes", "cancelled"]


@dataclass(frozen=True, slots=True)
class Answer:
    """A continuation that a search found."""

    ids: tuple[int, ...]
    scores: tuple[Score, ...]
    """Of each token."""
    logprob: float
    """Σ ln p of its tokens, in nats."""
    score: float
    """What it is ranked by: the log-probability, in a beam search divided by a power of the length."""
    ended: bool
    """Whether its last token is a stop token; else it has the most tokens that were asked for, or goes on."""


@dataclass(frozen=True, slots=True)
class BeamState:
    """A beam search after one step."""

    step: int
    """Tokens that the running hypotheses have."""
    most: int
    """Tokens that a hypothesis may have."""
    running: tuple[Answer, ...]
    """The hypotheses that go on, best first; their `score` is the log-probability."""
    finished: tuple[Answer, ...]
    """The best complete ones so far, best first."""
    expanded: int
    """Distributions that were computed."""
    reason: Reason = ""
    """Why the search ended; empty while it runs."""

    @property
    def answers(self) -> tuple[Answer, ...]:
        """The complete hypotheses, best first, followed by the running ones of a search that was cancelled."""
        return self.finished + (self.running if self.reason == "cancelled" else ())

    @property
    def proved(self) -> int:
        """A beam search proves nothing."""
        return 0

    @property
    def progress(self) -> tuple[int, int]:
        """How much is done, of how much at most."""
        return self.step, self.most


@dataclass(frozen=True, slots=True)
class BestState:
    """A search for the N likeliest answers. Another answer is at most as likely as `bound` or the N-th answer."""

    answers: tuple[Answer, ...]
    """The N likeliest answers found so far, likeliest first."""
    wanted: int
    """N."""
    bound: float | None
    """The largest log-probability of what waits, nats, which no answer below it exceeds; None where nothing waits."""
    expanded: int
    """Distributions that were computed."""
    budget: int
    """Distributions that may be computed."""
    open: int
    """Beginnings of answers that wait."""
    longest: int
    """Tokens of the longest beginning that was read."""
    reason: Reason = ""
    """Why the search ended; empty while it runs."""

    @property
    def progress(self) -> tuple[int, int]:
        """How much is done, of how much at most."""
        return self.expanded, self.budget

    @property
    def proved(self) -> int:
        """How many of the first answers are proved: no other answer can be likelier."""
        if self.bound is None:
            return len(self.answers)
        return sum(answer.logprob >= self.bound for answer in self.answers)

    @property
    def gap(self) -> float | None:
        """The bound minus the log-probability of the N-th answer, nats; 0 or less is a proof, None before N answers."""
        if len(self.answers) < self.wanted:
            return None
        return 0.0 if self.bound is None else self.bound - self.answers[-1].logprob


State = BeamState | BestState
