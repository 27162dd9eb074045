"""Values that describe a walk and its tree for a screen; no tensors."""

import math
from dataclasses import dataclass

from core.activations.patch import Patch
from core.evaluation.values import Comparison
from core.generation.token import Origin, Token
from core.loading.info import ModelInfo
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart


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
class SamplingProgress:
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
class Summary:
    """What a model thought of the walk so far, summed over the tokens it has measured; the first has no score."""

    measured: int
    tokens: int
    """All but the first."""
    bits: float
    byte_count: int
    """Of the measured ones."""
    worst: tuple[int, ...]
    """Places of the most surprising ones, most surprising first."""

    @property
    def bits_per_token(self) -> float:
        return self.bits / self.measured

    @property
    def bits_per_byte(self) -> float:
        return self.bits / max(1, self.byte_count)

    @property
    def perplexity(self) -> float:
        """2 to the bits per token."""
        return math.exp2(self.bits_per_token) if self.bits_per_token < 1024 else math.inf


@dataclass(frozen=True, slots=True)
class Guess:
    """One guess of a person at what comes next, and what came."""

    position: int
    guessed: Candidate
    likeliest: Candidate
    """The model's own guess."""
    came: Token

    @property
    def hit(self) -> bool:
        return self.guessed.id == self.came.id


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
    typed: int = 0
    """The number of the last prompt that was taken up, wherever the walk went since."""
    stopped: str = ""
    """Why the last generation ended before its count; empty where it did not."""
    patches: tuple[Patch, ...] = ()
    """What is changed in the model."""


@dataclass(frozen=True, slots=True)
class OtherSide:
    """The other side of a comparison, at the same place."""

    model: ModelInfo
    sampler: Sampler
    comparison: Comparison
    cursor: int
    """Tokens of its own that it has read there."""
    length: int
    pieces: tuple[bytes, ...]
    """The last of them."""
