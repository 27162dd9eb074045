"""Owns what core says: frozen values of ints, floats, strings, bytes and tuples. No tensor passes through here.

Probabilities are shares of 1, log-probabilities nats, entropies bits, times seconds.
"""

import heapq
import math
from dataclasses import dataclass
from typing import Literal

from core.config import ModelChoice, Order, Patch, Sampler

Origin = Literal["prompt", "sampled", "chosen"]
By = Literal["token", "byte"]
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
class Stage:
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
    stages: tuple[Stage, ...]
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
class SamplerRow:
    """One token's way through the sampler."""

    id: int
    piece: bytes
    rank: int
    logit: float
    shares: tuple[float, ...]
    """Its probability after each stage, in the order of `SamplerLens.stages`: what `Stage.mass` is the sum of."""
    cut_by: StageName | None
    """The first stage that did not keep it."""
    interval: tuple[float, float]
    """[from, to): the numbers u that draw it; empty where it was cut."""


@dataclass(frozen=True, slots=True)
class SamplerTail:
    """All tokens after the rows, summed."""

    count: int
    kept: int
    """How many of them could still be drawn."""
    shares: tuple[float, ...]
    """Their probability after each stage."""
    interval: tuple[float, float]
    """[from, 1): the numbers u that draw one of them; empty where all were cut."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What one stage took away."""

    name: StageName
    count: int
    """Tokens that reached it and did not leave it."""
    mass: float
    """Their probability in the distribution it was applied to, over the whole vocabulary: adds up over cuts."""
    share: float
    """The same of what had reached it."""


@dataclass(frozen=True, slots=True)
class Pick:
    """A token and how it came to be the one."""

    id: int
    piece: bytes
    rank: int
    probability: float
    """The model's own."""
    share: float
    """In the distribution it was drawn from."""
    interval: tuple[float, float]
    """[from, to): the numbers u that draw it."""


@dataclass(frozen=True, slots=True)
class OtherOrder:
    """What the same settings keep where temperature has its turn at the other end."""

    order: Order
    stages: tuple[Stage, ...]
    """In that order."""
    only_here: tuple[int, ...]
    """Ids among the rows that the present order keeps and that one does not."""
    only_there: tuple[int, ...]
    """Ids among the rows that it keeps and the present order does not."""


@dataclass(frozen=True, slots=True)
class SamplerLens:
    """Why a token was drawn: every stage side by side, the number u, and what it hit."""

    sampler: Sampler
    stages: tuple[Stage, ...]
    """In the order applied, from `raw` to `renormalised`."""
    cuts: tuple[Cut, ...]
    """Of the stages between those two, in their order; a stage that is off cut nothing."""
    rows: tuple[SamplerRow, ...]
    """Likeliest first; equal ones by id."""
    tail: SamplerTail
    u: float
    """The uniform number in [0, 1); greedy asks for none."""
    drawn: Pick
    greedy: Pick
    """What always taking the likeliest would take."""
    uniform: Pick
    """What the same u takes where every token of the vocabulary has the same share, in the same order (S8)."""
    other: OtherOrder


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


@dataclass(frozen=True, slots=True)
class ScoredToken:
    """One token of a text and what a model thought of it before it came."""

    position: int
    """How many tokens stand before it."""
    id: int
    piece: bytes
    score: Score
    context: int
    """How many of the tokens before it the model saw."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A text under a model, token by token. Nothing predicts the first one: it and its bytes count nowhere."""

    first_id: int
    first_piece: bytes
    tokens: tuple[ScoredToken, ...]
    """All but the first, in their order."""
    context_at_least: int
    """Each was predicted from so many tokens at least, or from all before it where those are fewer."""

    @property
    def bits(self) -> float:
        """Surprisal of all tokens together."""
        return math.fsum(token.score.surprisal_bits for token in self.tokens)

    @property
    def byte_count(self) -> int:
        """Bytes of all tokens together."""
        return sum(len(token.piece) for token in self.tokens)

    @property
    def bits_per_token(self) -> float:
        return self.bits / len(self.tokens)

    @property
    def bits_per_byte(self) -> float:
        """What a code by this model would need for a byte of the text."""
        return self.bits / self.byte_count

    @property
    def perplexity(self) -> float:
        """2 to the bits per token: among how many equal tokens the model was as uncertain."""
        return math.exp2(self.bits_per_token) if self.bits_per_token < 1024 else math.inf

    def worst(self, count: int) -> tuple[ScoredToken, ...]:
        """The tokens that surprised most, first ones first among equals."""
        return tuple(heapq.nlargest(count, self.tokens, key=lambda token: token.score.surprisal_bits))


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
    favourite: Candidate
    """The model's own guess."""
    came: Token

    @property
    def hit(self) -> bool:
        return self.guessed.id == self.came.id


@dataclass(frozen=True, slots=True)
class Divergence:
    """How far two next-token distributions, A and B, lie apart, in bits; before temperature and cuts."""

    by: By
    """`token`: over ids, where both have the same tokens; else `byte`: over what the next byte of text is."""
    kl_ab: float
    """KL(A‖B) = Σ a log2(a / b): what it costs to code what A says with B; ∞ where B forbids what A allows."""
    kl_ba: float
    """KL(B‖A)."""
    js: float
    """Jensen–Shannon: the mean of both against their mixture, from 0 to 1 (Lin 1991)."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models' next-token distributions side by side."""

    divergence: Divergence
    agree: bool
    """Whether the likeliest next token is the same piece of text."""
    rank_in_a: int | None
    """How many tokens A holds for likelier than B's favourite; None where A has no such token."""
    rank_in_b: int | None
    """The same of A's favourite in B."""
    chart_a: Chart
    """Each under its own sampler."""
    chart_b: Chart


@dataclass(frozen=True, slots=True)
class Boundary:
    """A place in a text that lies between two tokens for both tokenizers."""

    end: int
    """Bytes of the text before it."""
    a: int
    """Tokens of A before it, special ones included: a cursor."""
    b: int


@dataclass(frozen=True, slots=True)
class ComparedPlace:
    """What two models say comes after one boundary of a text."""

    at: Boundary
    divergence: Divergence
    agree: bool
    best_a: bytes
    """The likeliest next piece."""
    best_b: bytes


@dataclass(frozen=True, slots=True)
class ComparedText:
    """Two models along one text."""

    by: By
    places: tuple[ComparedPlace, ...]
    """At every boundary that both have a token before, the end of the text included."""
    text_bytes: int
    """Bytes of the text as A's tokens spell it."""
    shared_bytes: int
    """How many of them, from the start, B's tokens spell too; there is nothing to align after them."""
    context_at_least_a: int
    """As `Scored.context_at_least`, of each model."""
    context_at_least_b: int

    @property
    def kl_ab(self) -> float:
        """The mean over the places, bits; so are the next two."""
        return math.fsum(place.divergence.kl_ab for place in self.places) / len(self.places)

    @property
    def kl_ba(self) -> float:
        return math.fsum(place.divergence.kl_ba for place in self.places) / len(self.places)

    @property
    def js(self) -> float:
        return math.fsum(place.divergence.js for place in self.places) / len(self.places)

    @property
    def agreement(self) -> float:
        """The share of places at which both have the same favourite."""
        return sum(place.agree for place in self.places) / len(self.places)


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
    choice: ModelChoice | None = None
    """What was asked for to have it; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Faced:
    """The other side of a comparison, at the same place."""

    model: ModelInfo
    sampler: Sampler
    comparison: Comparison
    cursor: int
    """Tokens of its own that it has read there."""
    length: int
    pieces: tuple[bytes, ...]
    """The last of them."""


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
