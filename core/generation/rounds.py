"""What happened in one round of speculative decoding. Needs no torch."""

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

    @property
    def accepted(self) -> int:
        """How many proposals were accepted."""
        return sum(proposal.accepted is True for proposal in self.proposals)

    @property
    def judged(self) -> int:
        """How many proposals were accepted or rejected."""
        return sum(proposal.accepted is not None for proposal in self.proposals)
