"""What happened in one round of speculative decoding, and what rounds gain over steps of the target. Needs no torch."""

import statistics
from dataclasses import dataclass
from typing import Literal

from core.generation.token import Token

How = Literal["accepted", "resampled", "bonus"]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A token that the draft proposed."""

    id: int
    piece: bytes
    p: float
    """Its probability in the target after the stages."""
    q: float
    """Its probability in the draft after the stages."""
    accepted: bool | None
    """None for one after a rejected one, which is not looked at; its `p` is 0 then."""


@dataclass(frozen=True, slots=True)
class Round:
    """One round: proposals, and the tokens that the text got."""

    position: int
    """Of the first token."""
    proposals: tuple[Proposal, ...]
    tokens: tuple[Token, ...]
    """The accepted ones, then at most one more."""
    how: tuple[How, ...]
    """How each token came: the last one is drawn from norm(max(0, p - q)) after a rejection, else from p as a bonus."""
    seconds: float | None = None
    """To propose and to verify; None for the first round, which reads the prompt too."""
    step_seconds: float | None = None
    """Of one step of the target alone at the end of this round; None where none was timed."""

    @property
    def accepted(self) -> int:
        """How many proposals were accepted."""
        return sum(proposal.accepted is True for proposal in self.proposals)

    @property
    def judged(self) -> int:
        """How many proposals were accepted or rejected."""
        return sum(proposal.accepted is not None for proposal in self.proposals)


@dataclass(frozen=True, slots=True)
class Timing:
    """The time of the rounds against that of steps of the target alone, both of one run."""

    tokens: int = 0
    """Of the rounds that were timed."""
    seconds: float = 0.0
    """Of the same rounds."""
    steps: tuple[float, ...] = ()
    """Seconds of each step of the target alone that was timed, a token each."""

    def with_round(self, found: Round) -> "Timing":
        """The same run after one more round."""
        steps = self.steps if found.step_seconds is None else (*self.steps, found.step_seconds)
        if found.seconds is None:
            return Timing(self.tokens, self.seconds, steps)
        return Timing(self.tokens + len(found.tokens), self.seconds + found.seconds, steps)

    @property
    def round_seconds(self) -> float | None:
        """Seconds a token of the rounds; None if none was timed."""
        return self.seconds / self.tokens if self.tokens else None

    @property
    def step_seconds(self) -> float | None:
        """Seconds a token of the target alone, the median; None if no step was timed."""
        return statistics.median(self.steps) if self.steps else None

    @property
    def speedup(self) -> float | None:
        """How many times as fast the rounds are as steps of the target; None where one of them was not timed."""
        rounds, step = self.round_seconds, self.step_seconds
        return step / rounds if rounds and step else None
