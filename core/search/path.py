"""A continuation of the prompt as a linked list, so that paths that begin alike share their beginning."""

import math
from collections.abc import Collection

from core.language import _
from core.sampling.bounds import low
from core.sampling.distribution import Distribution
from core.sampling.next_distribution import NeedsMore, NextDistribution
from core.sampling.values import Score
from core.search.values import Answer


class Path:
    """A continuation that ends with one more token than `parent`; the empty one has no parent."""

    __slots__ = ("id", "length", "logprob", "parent", "score")

    def __init__(self, parent: "Path | None" = None, id: int = -1, score: Score | None = None) -> None:
        self.parent = parent
        self.id = id
        self.score = score
        self.length: int = parent.length + 1 if parent else 0
        self.logprob: float = parent.logprob + low(score.logprob) if parent and score else 0.0
        """Σ ln p of its tokens, in nats."""

    def nodes(self) -> list["Path"]:
        """The path after each of its tokens, from the first to itself."""
        found, at = list[Path](), self
        while at.parent is not None:
            found.append(at)
            at = at.parent
        return found[::-1]

    @property
    def ids(self) -> tuple[int, ...]:
        """Its token ids."""
        return tuple(node.id for node in self.nodes())

    def answer(self, stops: Collection[int], score: float | None = None) -> Answer:
        """The path as a value; `score` is what it is ranked by, where that is not its log-probability."""
        nodes = self.nodes()
        return Answer(
            ids=tuple(node.id for node in nodes),
            scores=tuple(node.score for node in nodes if node.score),
            logprob=self.logprob,
            score=self.logprob if score is None else score,
            ended=self.id in stops,
        )


def children(path: Path, distribution: NextDistribution, count: int, skip: int = 0) -> list[Path]:
    """The likeliest `count` continuations of `path` by one token, after the first `skip`; none with p = 0.

    Raises `NeedsMore` where fewer tokens are known.
    """
    if distribution.known < min(skip + count, distribution.vocab_size):
        raise NeedsMore(
            skip + count,
            _(
                "the search needs the {needed:,} likeliest tokens, but the engine gives {known:,}; search for fewer "
                "answers, or start the engine so that it gives more"
            ),
            needed=skip + count,
            known=distribution.known,
        )
    ids = distribution.first(skip + count).tolist()
    logits, found = distribution.logits_of(ids), []
    log_total = distribution.log_total if isinstance(distribution, Distribution) else 0.0
    rank = 0
    for at, (id, logit) in enumerate(zip(ids, logits, strict=True)):
        rank = rank if at and logit == logits[at - 1] else at
        if at >= skip and logit > -math.inf:
            score = Score(logit, min(0.0, logit - log_total), distribution.entropy_bits, rank)
            found.append(Path(path, id, score))
    return found
