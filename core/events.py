"""Owns what core says: frozen values of ints, floats, strings, bytes and tuples. No tensor passes through here.

Probabilities are shares of 1, log-probabilities nats, entropies bits, times seconds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.config import Sampler

Origin = Literal["prompt", "sampled", "chosen"]


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
class Token:
    """One token of the walk."""

    id: int
    piece: bytes
    origin: Origin = "prompt"
    score: Score | None = None
    """None for the first token, which nothing predicts, and until it has been measured."""
    u: float | None = None
    sampled_probability: float | None = None
    redraw: int = 0
    """How often this place was drawn again."""
    sampler: Sampler | None = None
    """The settings it was drawn with."""
    model: "ModelInfo | None" = None
    """The model that proposed it; None for the prompt."""


def common_prefix(before: Sequence[Token], after: Sequence[Token]) -> int:
    """How many tokens both begin with, by id."""
    shorter = min(len(before), len(after))
    for start in range(0, shorter, 4096):  # whole pieces are compared by identity first, at the speed of C
        end = min(start + 4096, shorter)
        if before[start:end] != after[start:end]:
            for index in range(start, end):
                if before[index].id != after[index].id:
                    return index
    return shorter


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


@dataclass(frozen=True, slots=True)
class Stage:
    """One step from logits to the distribution that is drawn from."""

    name: Literal["raw", "temperature", "top-k", "top-p", "renormalised"]
    kept: int
    """Tokens left after it."""
    mass: float
    """Probability they hold of the distribution after temperature; 1 again once renormalised."""


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
    stages: tuple[Stage, ...]
    taken: Candidate | None = None
    """The token that came next in the walk, where the position is not its end."""

    @property
    def effective(self) -> float:
        """How many equally likely tokens would be as uncertain: 2^H (S12)."""
        return math.exp2(self.entropy_bits)

    @property
    def vocab_size(self) -> int:
        return len(self.candidates) + self.others_count


@dataclass(frozen=True, slots=True)
class Branch:
    """A run of tokens in the tree, from where paths part to where they part again or end."""

    serial: int
    """The number of its first node."""
    depth: int
    """How many partings lie before it."""
    pieces: tuple[bytes, ...]
    """Its first tokens."""
    length: int
    """How many tokens it has."""
    origin: Origin
    """How its first token came."""
    probability: float | None
    """The model's own, of its first token; None where that is not measured."""
    surprisal_bits: float | None
    """Of all tokens from the prompt to its end; None where one is not measured."""
    name: str
    parts: int
    """How many branches go on from its end."""
    folded: bool
    """Whether those are not shown."""
    on_path: bool
    """Whether the walk goes through it."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Branches in the order of the tree, as many as were asked for."""

    rows: tuple[Branch, ...]
    first: int
    """How many come before them."""
    total: int
    here: int
    """The row of the branch that the token under the cursor lies in."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """Progress of several continuations: tokens each has, of how many."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Continuation:
    """One of several continuations of a prefix."""

    serial: int
    """The number of its last node."""
    pieces: tuple[bytes, ...]
    surprisal_bits: float
    """Of all its tokens."""


@dataclass(frozen=True, slots=True)
class Strand:
    """A run of tokens that the same continuations share."""

    depth: int
    pieces: tuple[bytes, ...]
    count: int
    """How many continuations it is a part of."""
    entropy_bits: float | None
    """Of the distribution at its end, where they part; None where they do not."""
    serial: int
    """The number of its last node."""


@dataclass(frozen=True, slots=True)
class Fan:
    """Several continuations of one prefix, by themselves and merged where they begin alike (S10)."""

    continuations: tuple[Continuation, ...]
    strands: tuple[Strand, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The walk as it stands between two steps."""

    tokens: tuple[Token, ...]
    prompt_length: int
    """How many of the tokens are the prompt."""
    cursor: int
    """How many tokens have been read at the place being looked at; the chart is what comes next there."""
    window: int
    """The first token that the model still sees from there."""
    sampler: Sampler
    can_take_back: bool
    can_redo: bool
    chart: Chart | None
    """None until there is a prompt."""
    prompt: str = ""
    """The prompt as it was written."""
    stopped: str = ""
    """Why the last generation ended before its count; empty where it did not."""


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """What a status line says of a loaded model."""

    name: str
    title: str
    parameters: int
    vocab_size: int
    context: int
    device: str
    dtype: str
    tokenizer: str
    weights: str
    """Where the weights come from, such as `random weights, seed 0`."""


@dataclass(frozen=True, slots=True)
class DeviceInfo:
    """A place a model could run."""

    name: str
    """What `--device` takes."""
    label: str
    """The maker's name for it."""
    memory_bytes: int | None
    problem: str | None = None
    """Why it cannot be used; None where it can."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Progress of a prompt through the model: tokens read so far, of how many."""

    done: int
    total: int
