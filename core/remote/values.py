"""What an engine can do, and what its answers say: numbers, text and NumPy arrays."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from core.language import _

EXCESS = 1e-3
"""How far the probabilities of an answer may sum over 1. llama-server's sum to 1.0002 over 49,152 tokens."""
MINUS_INFINITY = -9999.0
"""What vLLM writes for a log-probability of minus infinity, which JSON does not have."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine serves and what it tells of the next token. The probe finds out; nothing is assumed."""

    engine: str
    """vllm, llama, sglang or openai."""
    version: str
    """Empty where the engine does not tell it. Hostile text, as all text of an engine."""
    model: str
    """The name that the engine serves the model under."""
    vocab_size: int | None
    """V; None where it cannot be found out (engines that give text only)."""
    context: int | None
    """T, tokens of the prompt and the answer together; None where the engine does not tell it."""
    top_k: int | None
    """The most tokens whose log-probabilities one answer gives, 0 for none; None where there is no limit."""
    full: bool
    """Whether one answer can give all V log-probabilities."""
    raw: bool
    """Whether log-probabilities are those of temperature 1 whatever temperature is asked for. With `False` they are
    processed; each request says temperature 1 and no cuts, so that they are the model's own all the same."""
    ids: bool
    """Whether prompts are token ids, and answers name tokens by id."""
    bytes: bool
    """Whether the engine gives the exact bytes of every token, parts of characters too."""
    prompt_scores: bool
    """Whether the engine gives the log-probability of each token of a prompt in one answer."""
    tokenizer: bool = False
    """Whether the engine turns text into ids."""
    stops: tuple[int, ...] = ()
    """Ids that end a text; empty where the engine does not tell them."""
    template: str = ""
    """The chat template, in Jinja; empty where the engine does not tell it."""
    template_tokens: tuple[tuple[str, str], ...] = ()
    """Texts of special tokens by the names that the template uses, such as `bos_token`."""
    parallel: int | None = None
    """How many requests the engine takes at a time; None where it does not tell it."""
    source: str = ""
    """The folder, file or Hub id that the engine loaded; empty where it does not tell it."""

    def as_json(self) -> dict[str, Any]:
        """What `tokenwalk models URL --json` prints."""
        names = "engine version model vocab_size context top_k full raw ids bytes prompt_scores"
        values = asdict(self)
        return {name: values[name] for name in names.split()}


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What one answer says of the next token: the log-probabilities of the k likeliest tokens.

    Each token that is not in `ids` is at most as likely as the least likely one that is. Where an answer has one token
    more than was asked for, since the engine's own draw is added, that token is left out.
    """

    ids: NDArray[np.int64]
    """[k], ascending, no id twice, 0 ≤ id < V."""
    logprobs: NDArray[np.float64]
    """[k], nats, ≤ 0, never NaN; -inf for a token that cannot come. Their probabilities sum to at most 1 + `EXCESS`."""
    vocab_size: int
    """V."""

    @property
    def full(self) -> bool:
        """Whether every token has a log-probability; then the index of a token is its id."""
        return len(self.ids) == self.vocab_size

    def score(self, id: int) -> "Scored":
        """How likely `id` is, where it is known."""
        at = int(np.searchsorted(self.ids, id))
        if at == len(self.ids) or self.ids[at] != id:
            return Scored(id, None, None, len(self.ids))
        logprob = self.logprobs[at]
        return Scored(id, float(logprob), int(np.count_nonzero(self.logprobs > logprob)), len(self.ids))


@dataclass(frozen=True, slots=True, eq=False)
class NextAnswer:
    """One answer about the next token, and what it says of its question."""

    known: Known
    model: str | None = None
    """The name of the model that answered; None where it does not say."""
    prompt: int | None = None
    """How many tokens the engine read; None where it does not say."""


@dataclass(frozen=True, slots=True)
class Scored:
    """How likely a token was after those before it."""

    id: int
    logprob: float | None
    """In nats; None where the token is not among the tokens whose log-probability the engine gives."""
    rank: int | None
    """How many tokens are likelier; None where that is not known."""
    known: int
    """k: where `rank` is None the token is at most as likely as each of k others."""


class BadAnswer(Exception):
    """An answer that does not say what was asked. Its text names what is wrong; the caller adds who answered."""


def known(
    ids: Sequence[int] | NDArray[np.int64], logprobs: Sequence[float] | NDArray[np.float64], vocab_size: int, k: int
) -> Known:
    """The `k` likeliest of the tokens in an answer, checked. Raises `BadAnswer`.

    `ids` [n] and `logprobs` [n] stand in any order; n ≥ k.
    """
    try:
        tokens, values = np.asarray(ids, dtype=np.int64), np.asarray(logprobs, dtype=np.float64)
    except OverflowError as error:
        raise BadAnswer(_("it has a token id that is not a number of 64 bits")) from error
    if not len(tokens):
        raise BadAnswer(_("it has no log-probabilities"))
    if len(tokens) < k:
        raise BadAnswer(_("it has {count} log-probabilities, but {k} were asked for").format(count=len(tokens), k=k))
    if len(tokens) > k:
        kept = np.argpartition(-values, k - 1)[:k]  # NaN sorts last, so it is kept only where it must be
        if np.isnan(values).any():
            raise BadAnswer(_("a log-probability is not a number"))
        tokens, values = tokens[kept], values[kept]
    if tokens.min() < 0 or tokens.max() >= vocab_size:
        wrong = tokens[(tokens < 0) | (tokens >= vocab_size)][0]
        raise BadAnswer(
            _("it has the token id {wrong}, but the vocabulary has the ids 0 to {last}").format(
                wrong=wrong, last=vocab_size - 1
            )
        )
    tokens, values = _ascending(tokens, values, vocab_size)
    values = _checked(np.where(values <= MINUS_INFINITY, -np.inf, values))
    rest, least = 1 - float(np.exp(values).sum()), float(np.exp(values.min()))
    if rest > (vocab_size - len(tokens)) * least + EXCESS:
        raise BadAnswer(
            _("its {count} probabilities leave {rest:.6g} to tokens that are less likely than those").format(
                count=len(tokens), rest=rest
            )
        )
    return Known(tokens, values, vocab_size)


def _ascending(
    tokens: NDArray[np.int64], values: NDArray[np.float64], vocab_size: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Both in the order of the ids. Raises `BadAnswer` for an id that is there twice."""
    if len(tokens) == vocab_size:  # without sorting: this is the large case
        order = np.full(vocab_size, -1)
        order[tokens] = np.arange(vocab_size)
        twice = bool((order < 0).any())
    else:
        order = np.argsort(tokens)
        twice = bool((np.diff(tokens[order]) == 0).any())
    if twice:
        raise BadAnswer(_("it has a token id twice"))
    return tokens[order], values[order]


def _checked(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """`values` where they can be log-probabilities. Raises `BadAnswer`."""
    if np.isnan(values).any():
        raise BadAnswer(_("a log-probability is not a number"))
    if (highest := float(values.max())) > EXCESS:
        raise BadAnswer(_("it has the log-probability {highest:.6g}, which is over 0").format(highest=highest))
    if highest == -np.inf:
        raise BadAnswer(_("every log-probability in it is minus infinity"))
    if (mass := float(np.exp(values).sum())) > 1 + EXCESS:
        raise BadAnswer(_("its probabilities sum to {mass:.6g}, which is over 1").format(mass=mass))
    return np.minimum(values, 0.0)


def checked_logprob(value: float) -> float:
    """One log-probability of a prompt's token. Raises `BadAnswer`."""
    return float(_checked(np.array([value]))[0]) if value > MINUS_INFINITY else -np.inf
