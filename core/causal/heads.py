"""What the heads of a model attend to: scores of known kinds of heads, by their attention patterns.

A score is the mean attention weight that a head gives, over the queries that have such a key, to

- `previous`   the position before the query;
- `duplicate`  earlier positions with the same token as the query (Wang et al. 2022, section 3);
- `induction`  the positions after earlier ones with the same token (Olsson et al. 2022, prefix matching).

With h the mean weight per query of TransformerLens's `detect_head` (`error_measure="mul"`), score = h · T / queries.
The patterns are those of the running model: with rotary or other positions, windows, caps, sinks and patches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.errors import UserError
from core.language import _
from core.training.events import HeadMoment

Grid = tuple[tuple[float | None, ...], ...]
"""[layers][heads]; None where a value is not known yet."""
REPEATED = 32
"""Random tokens that are repeated once, where the context has room for them."""
LONGEST = 256
"""Positions whose patterns are computed at most, the last ones."""
PATTERNS = ("previous", "duplicate", "induction")


@dataclass(frozen=True, slots=True)
class HeadScores:
    """The scores of all heads on one text, each from 0 to 1."""

    previous: Grid
    duplicate: Grid
    induction: Grid
    positions: int
    """T, the length of the text."""
    queries: tuple[int, int, int]
    """How many positions have a key for `previous`, `duplicate` and `induction`; with 0 the scores are 0."""


def repeated_tokens(vocab_size: int, context: int, seed: int = 0, without: frozenset[int] = frozenset()) -> list[int]:
    """Random different ids, twice: [r1 … rn r1 … rn], n at most `REPEATED`; `without` leaves out ids.

    So the only way to foresee the second half is to look at the first. Raises `UserError` where the context has no room
    for two tokens twice, or there are no two ids.
    """
    count = min(REPEATED, context // 2, vocab_size - len(without))
    if count < 2:
        raise UserError(
            _(
                "a context of {context} tokens is too short for a repeated sequence of random tokens (V = "
                "{vocab_size}); choose a longer context"
            ),
            context=context,
            vocab_size=vocab_size,
        )
    chosen: dict[int, None] = {}
    generator = torch.Generator().manual_seed(seed)
    while len(chosen) < count:
        id = int(torch.randint(vocab_size, (1,), generator=generator))
        if id not in without:
            chosen[id] = None
    return [*chosen, *chosen]


def targets(ids: Sequence[int]) -> Tensor:
    """Whether a key is of the kind `previous`, `duplicate` or `induction` for a query, [3, T, T]."""
    tokens = torch.tensor(ids)
    length = len(ids)
    previous = torch.ones(length, length).tril(-1).triu(-1)
    duplicate = (tokens[:, None] == tokens).tril(-1)
    induction = torch.zeros(length, length, dtype=torch.bool)
    induction[:, 1:] = duplicate[:, :-1]
    return torch.stack((previous.bool(), duplicate, induction))


def head_scores(transformer: Transformer, ids: Sequence[int]) -> Iterator[HeadScores]:
    """The scores on a text of T ids, after each block more of them; the last answer is complete.

    Raises `UserError` for a model without blocks.
    """
    config = transformer.config
    ids = list(ids)[-min(LONGEST, config.context) :]
    keys = targets(ids)
    queries = keys.any(-1).sum(-1).tolist()
    rows: list[list[tuple[float | None, ...]]] = [[], [], []]
    unknown = (None,) * config.heads
    for number, scores in enumerate(pattern_scores(transformer, ids, keys), start=1):
        for known, row in zip(rows, scores.tolist(), strict=True):
            known.append(tuple(row))
        previous, duplicate, induction = ((*known, *[unknown] * (config.blocks - number)) for known in rows)
        yield HeadScores(previous, duplicate, induction, len(ids), (queries[0], queries[1], queries[2]))


@torch.inference_mode()
def head_moment(transformer: Transformer, ids: Tensor) -> HeadMoment | None:
    """The heads of a model in training: on random tokens, and on text of its kind, ids [B, T]. None without blocks."""
    config = transformer.config
    if not config.blocks or config.context < 4:
        return None
    *_unused, found = head_scores(transformer, repeated_tokens(config.vocab_size, config.context))
    copied = torch.zeros(config.blocks, config.heads)
    rows = ids.tolist()
    for row in rows:
        following = torch.tensor(row)
        keys = (following.roll(-1)[:, None] == following).tril()
        keys[-1] = False  # what comes next is not known
        copied += torch.cat(list(pattern_scores(transformer, row, keys[None]))) / len(rows)
    return HeadMoment(_numbers(found.previous), _numbers(found.induction), tuple(map(tuple, copied.tolist())))


def _numbers(grid: Grid) -> tuple[tuple[float, ...], ...]:
    """A complete grid."""
    return tuple(tuple(value or 0.0 for value in row) for row in grid)


def pattern_scores(transformer: Transformer, ids: Sequence[int], keys: Tensor) -> Iterator[Tensor]:
    """After each block the mean weight of its heads on the keys of n patterns [n, T, T]: [n, h].

    The mean is over queries that have such a key. Raises `UserError` for a model without blocks.
    """
    queries = keys.any(-1).sum(-1).clamp_min(1)  # [n]
    for weights in attention_patterns(transformer, ids):
        yield (weights * keys[:, None]).sum((2, 3)) / queries[:, None]


@torch.inference_mode()
def attention_patterns(transformer: Transformer, ids: Sequence[int]) -> Iterator[Tensor]:
    """The attention weights of each block on a text of T ids, [h, T, T], float32 on the CPU.

    Raises `UserError` for a model without blocks.
    """
    if not transformer.config.blocks:
        raise UserError(_("this model has no attention heads; choose model3 or a later model"))
    positions = torch.arange(len(ids), device=transformer.device)
    x = transformer.embedded(torch.tensor([list(ids)], device=transformer.device), 0)
    for block in transformer.blocks:
        transformer.position(positions)  # hooks of patches keep the positions of the pass
        with _Attention(block) as seen:
            x = block(x, 0, None)
        yield seen.weights().cpu()


class _Attention:
    """Keeps the queries and keys of a block's attention within a `with` block."""

    def __init__(self, block: Any) -> None:
        self._attend, self._hooks = block.attention.attend, ForwardHooks()
        self._inputs: tuple[Any, ...] = ()

    def __enter__(self) -> "_Attention":
        self._hooks.before(self._attend, self._keep)
        return self

    def _keep(self, module: Any, inputs: tuple[Any, ...]) -> None:
        self._inputs = inputs

    def __exit__(self, *error: object) -> None:
        self._hooks.remove()

    def weights(self) -> Tensor:
        """[h, T, T], float32."""
        q, k, _unused = self._inputs
        weights: Tensor = self._attend.weights(q, k)[0].float()
        return weights
