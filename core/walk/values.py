"""Values that describe a walk and its tree for a screen; no tensors."""

from dataclasses import dataclass, field, replace
from typing import Literal

from core.activations.patch import Patch
from core.causal.question import CausalQuestion, Measured
from core.evaluation.perplexity import SurprisalRates
from core.evaluation.values import Comparison
from core.generation.rounds import Round, Timing
from core.generation.token import Origin, Token
from core.loading.info import ModelInfo
from core.sampling.bounds import Bounded
from core.sampling.sampler import Sampler
from core.sampling.values import Candidate, Chart
from core.search.values import State
from core.tokenizers.chat import Span


@dataclass(frozen=True, slots=True)
class SearchMark:
    """What a branch is in the last search."""

    kind: Literal["answer", "running", "dropped"]
    rank: int
    """Among the branches of its kind, from 1; 0 for one that was dropped."""
    proved: bool = False
    """Whether no other answer can have its rank."""


@dataclass(frozen=True, slots=True)
class SearchStatus:
    """The last search from a node of the tree."""

    plan: str
    """What is searched for, in words."""
    state: State


@dataclass(frozen=True, slots=True)
class PromptForm:
    """How the text of a prompt becomes tokens."""

    special: bool = False
    """Whether `<|endoftext|>` and the like in it become single tokens."""
    chat: bool = False
    """Whether it is the user's message in the model's chat template."""
    system: str = ""
    """The message of the system before it; empty for none, or for the one that the template has."""


@dataclass(frozen=True, slots=True)
class Branch:
    """A run of tokens in the tree, from one fork to the next fork or end."""

    serial: int
    """The serial number of its first node."""
    depth: int
    """How many forks lie before it."""
    pieces: tuple[bytes, ...]
    """Its first tokens."""
    length: int
    """How many tokens it has."""
    origin: Origin
    """The origin of its first token."""
    probability: Bounded | None
    """Of its first token, before temperature and cuts; None if it has no score."""
    surprisal_bits: Bounded | None
    """Of all tokens from the prompt to its end; None if one has no score."""
    name: str
    parts: int
    """How many branches follow its end."""
    folded: bool
    """Whether those are hidden."""
    on_path: bool
    """Whether the walk goes through it."""
    mark: SearchMark | None = None
    """What it is in the last search; None if it has no part in it."""


@dataclass(frozen=True, slots=True)
class Forest:
    """Branches in preorder, as many as were asked for."""

    rows: tuple[Branch, ...]
    first: int
    """How many branches come before `rows`."""
    total: int
    current: int
    """The index in `rows` of the branch that contains the token before the cursor."""
    search: SearchStatus | None = None
    """The last search; None if there was none."""


@dataclass(frozen=True, slots=True)
class SamplingProgress:
    """Progress of several continuations: how many of the `total` tokens each has."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Continuation:
    """One of several continuations of a prefix."""

    serial: int
    """The serial number of its last node."""
    pieces: tuple[bytes, ...]
    surprisal_bits: Bounded
    """Of all its tokens."""


@dataclass(frozen=True, slots=True)
class Strand:
    """A run of tokens that the same continuations share."""

    depth: int
    pieces: tuple[bytes, ...]
    count: int
    """How many continuations contain it."""
    entropy_bits: Bounded | None
    """Of the distribution at its end, if they differ there; else None."""
    serial: int
    """The serial number of its last node."""


@dataclass(frozen=True, slots=True)
class ContinuationTree:
    """Several continuations of one prefix, one by one and merged where they begin alike."""

    continuations: tuple[Continuation, ...]
    strands: tuple[Strand, ...]


@dataclass(frozen=True, slots=True)
class Summary(SurprisalRates):
    """Sums over the scored tokens of a walk; the first token has no score."""

    measured: int
    """Tokens with a score."""
    tokens: int
    """All but the first."""
    bits: Bounded
    byte_count: int
    """Of the tokens with a score."""
    worst: tuple[int, ...]
    """Positions of the most surprising tokens, most surprising first."""

    @property
    def token_count(self) -> int:
        """As `measured`."""
        return self.measured


@dataclass(frozen=True, slots=True)
class Guess:
    """A person's guess of the next token, and the token that came."""

    position: int
    """Of the token in the walk."""
    guessed: Candidate
    likeliest: Candidate
    """The argmax of the model."""
    came: Token

    @property
    def hit(self) -> bool:
        """Whether the guess was the token that came."""
        return self.guessed.id == self.came.id


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The walk as it stands between two steps."""

    tokens: tuple[Token, ...]
    prompt_length: int
    """How many of the tokens are the prompt."""
    cursor: int
    """How many tokens stand before the point that is looked at; the chart describes the next token there."""
    window: int
    """The position of the first token that the model still sees from there."""
    sampler: Sampler
    can_take_back: bool
    can_redo: bool
    chart: Chart | None
    """None until there is a prompt, and if the model is not available."""
    prompt: str = ""
    """The prompt as it was typed."""
    typed: int = 0
    """The number of the last prompt that was typed, as the caller counts them."""
    stopped: str = ""
    """Why the last generation with stop conditions ended; empty after any other change."""
    patches: tuple[Patch, ...] = ()
    """The patches that are active in the model."""
    question: CausalQuestion = CausalQuestion()  # noqa: RUF009  # a frozen value
    """What causal experiments are asked, as a person put it."""
    measured: Measured | None = None
    """The question at the cursor, where a person chose one of its tokens; else None."""
    spans: tuple[Span, ...] = ()
    """Who says which tokens of a conversation; empty where the walk is none."""
    turn: int = 0
    """Where the message begins that is written next; 0 is the first one."""
    left_behind: int = 0
    """How often the walk went on from before its end with another token; what stood there stays as a branch."""


@dataclass(frozen=True, slots=True)
class OtherSide:
    """The other side of a comparison, at the same position of the text."""

    model: ModelInfo
    sampler: Sampler
    comparison: Comparison
    cursor: int
    """How many of its own tokens stand before that position."""
    length: int
    """How many tokens it has."""
    pieces: tuple[bytes, ...]
    """The last tokens before the cursor, 8 at most."""


@dataclass(frozen=True, slots=True)
class SamplerColumn:
    """What one of several samplers makes of a position."""

    sampler: Sampler
    chart: Chart
    """The distribution there, under this sampler."""
    pieces: tuple[bytes, ...]
    """The tokens that it draws."""
    surprisal_bits: Bounded
    """Of these tokens in the model's own distribution."""
    problem: str = ""
    """Why it can draw no more; empty if it can."""


@dataclass(frozen=True, slots=True)
class SeveralSamplers:
    """Several samplers side by side at one position."""

    columns: tuple[SamplerColumn, ...]
    cursor: int
    """How many tokens stand before that position."""


@dataclass(frozen=True, slots=True)
class DraftView:
    """A generation with a draft model."""

    draft: str = ""
    """The name of the draft; empty if there was no generation."""
    proposals: int = 0
    """Of a round at most."""
    rounds: tuple[Round, ...] = ()
    """The last ones."""
    count: int = 0
    """Of all rounds."""
    tokens: int = 0
    judged: int = 0
    """Proposals that were accepted or rejected."""
    accepted: int = 0
    timing: Timing = field(default_factory=Timing)

    def with_round(self, found: Round, most: int) -> "DraftView":
        """The same generation after one more round; `most` rounds are kept."""
        return replace(
            self,
            rounds=(*self.rounds, found)[-most:],
            count=self.count + 1,
            tokens=self.tokens + len(found.tokens),
            judged=self.judged + found.judged,
            accepted=self.accepted + found.accepted,
            timing=self.timing.with_round(found),
        )
