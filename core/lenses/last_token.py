"""Measures how far each earlier token influences the next-token distribution, by changing one token at a time.

A token is replaced by a random one, masked for all later positions, or swapped with the one before it. The article
treats "the model uses only the last token" as a misconception; this lens measures it.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from core.activations.trace import Step, empty_cache, fill_cache
from core.engine.cache import KVCache
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.errors import UserError
from core.evaluation.divergence import divergences
from core.language import _
from core.loading.model import Model
from core.loading.served.model import NeedsWeights
from core.progress import Progress
from core.sampling.bounds import exact, low
from core.sampling.divergence import kl_bits

How = Literal["replace", "mask", "shuffle"]
"""How a token is changed."""
LAST = 32
"""Earlier tokens that are changed by default, the nearest ones."""


@dataclass(frozen=True, slots=True)
class PositionEffect:
    """The effect of changing one earlier token and no other."""

    position: int
    """In the model's window, from 0."""
    piece: bytes
    """The original token."""
    by: bytes
    """The token that replaces it; empty where it is masked."""
    kl_bits: float
    """KL(original ‖ changed) of the distribution after the last token, in bits."""


@dataclass(frozen=True, slots=True)
class LastToken:
    """The effects of earlier tokens on the distribution after the last one."""

    how: How
    changes: tuple[PositionEffect, ...]
    """In the order of positions, those measured so far."""
    total: int
    """Tokens to change."""
    together_bits: float | None
    """KL with all of them changed at once, in bits; None until measured, and where there is no token to change."""
    why: str
    """One or two sentences on what the numbers mean for this model."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def last_token(step: Step, how: How = "replace", last: int = LAST, seed: int = 0) -> Iterator[Progress | LastToken]:
    """Change each of the `last` earlier tokens alone, the nearest first, then all of them at once.

    Raises `UserError` for an unknown `how`.
    """
    if how not in get_args(How):
        raise UserError(_("{how!r} is not a way to change tokens; choose replace, mask or shuffle"), how=how)
    if step.model.requests is not None and how == "mask":
        raise NeedsWeights(step.model.info.name, _("masking a token"))
    length = len(step.ids)
    lowest = 1 if how == "shuffle" else 0  # the first token has none before it
    start = max(lowest, length - 1 - max(1, last))
    positions = range(length - 2, start - 1, -1)
    note = (
        _("only the {count:,} tokens before the last were changed").format(count=len(positions))
        if start > lowest
        else ""
    )
    if step.model.requests is not None:
        yield from _by_the_engine(step, how, seed, positions, note)
        return
    cache = empty_cache(step) if step.cache is None else step.cache
    yield from fill_cache(step, cache, length - 1)
    yield Progress(0, len(positions) + 1)
    changed = _ChangedText(step, cache, how, seed)
    original = changed.logits(())
    changes: list[PositionEffect] = []
    why = _explanation(step.model)
    for position in positions:
        by = b"" if how == "mask" else step.model.tokenizer.piece(changed.ids((position,))[position])
        effect = kl_bits(original, changed.logits((position,)))
        changes.insert(0, PositionEffect(position, step.pieces[position], by, effect))
        yield LastToken(how, tuple(changes), len(positions), None, why, note)
    together = kl_bits(original, changed.logits(tuple(reversed(positions)))) if positions else None
    yield LastToken(how, tuple(changes), len(positions), together, why, note)


def _by_the_engine(
    step: Step, how: How, seed: int, positions: Sequence[int], note: str
) -> Iterator[Progress | LastToken]:
    """As `last_token`, in a served model: one request for each changed text, at the same time."""
    last = len(step.ids) - 1
    texts = [changed_ids(step, each, how, seed) for each in ((), *((at,) for at in positions), tuple(positions[::-1]))]
    sequences = step.model.sequences(whole=True).repeat(len(texts))
    sequences.append(texts)
    for done in sequences.read([last]):
        yield Progress(done, len(texts))
    (rows,) = sequences.distributions([last])
    effects = [divergences(rows[0], row)[0] for row in rows[1:]]
    if not all(map(exact, effects)):
        bound = _("KL is this at least: the engine tells the {known:,} likeliest tokens").format(known=rows[0].known)
        note = f"{note}; {bound}" if note else bound
    piece = step.model.tokenizer.piece
    changes = [
        PositionEffect(at, step.pieces[at], piece(text[at]), low(effect))
        for at, text, effect in zip(positions, texts[1:], effects, strict=False)
    ]
    together = low(effects[-1]) if positions else None
    yield LastToken(how, tuple(changes[::-1]), len(positions), together, _explanation(step.model), note)


def _explanation(model: Model) -> str:
    """Whether this model's architecture lets earlier tokens have an effect."""
    if model.requests is not None:
        return _("What attention lets the last position read of earlier tokens: changing one moves what comes next.")
    if model.transformer.config.blocks:
        return _("Attention lets the last position read all earlier ones, so changing them moves what comes next.")
    return _(
        "{name} has no attention: each position is computed from its own token alone, so no earlier token can move "
        "what comes next, and KL is exactly 0. That the last position has absorbed the earlier ones needs attention, "
        "which begins at model3."
    ).format(name=model.info.name)


def changed_ids(step: Step, positions: Sequence[int], how: How, seed: int) -> list[int]:
    """The ids with the tokens at ascending `positions` changed, [T]; masked tokens keep their ids."""
    ids = list(step.ids)
    if how == "replace":
        for position in positions:
            other = random.Random(f"{seed}:{position}").randrange(step.model.info.vocab_size - 1)
            ids[position] = other + (other >= ids[position])  # never the original id
    elif how == "shuffle" and len(positions) == 1:
        (position,) = positions
        ids[position - 1], ids[position] = ids[position], ids[position - 1]
    elif how == "shuffle" and positions:
        span = slice(positions[0] - 1, positions[-1] + 1)
        shuffled = ids[span]
        random.Random(f"{seed}").shuffle(shuffled)
        ids[span] = shuffled
    return ids


class _ChangedText:
    """Computes the last logits of the text with some tokens changed.

    Each call of `logits` begins at an earlier position than the call before, so one copy of the cache is enough: it is
    rewound to the first changed position and overwritten from there.
    """

    def __init__(self, step: Step, cache: KVCache, how: How, seed: int) -> None:
        self._step, self._how, self._seed = step, how, seed
        self._transformer = step.model.transformer
        self._cache = cache.first(len(step.ids) - 1)

    def ids(self, positions: Sequence[int]) -> list[int]:
        """The ids with the tokens at ascending `positions` changed, [T]; masked tokens keep their ids."""
        return changed_ids(self._step, positions, self._how, self._seed)

    def logits(self, positions: Sequence[int]) -> Tensor:
        """Logits after the last position with the tokens at `positions` changed, [V]."""
        ids = torch.tensor([self.ids(positions)], device=self._transformer.device)
        if not self._transformer.config.blocks:  # the same computation each time, so KL is exactly 0
            return self._transformer.logits(self._transformer.hidden(ids)[:, -1])[0]
        offset = {"replace": 0, "mask": 1, "shuffle": -1}[self._how]  # from a changed token to the first new state
        first = min((position + offset for position in positions), default=ids.shape[1] - 1)
        self._cache.rewind(first)
        with _masked(self._transformer, positions if self._how == "mask" else ()):
            hidden = self._transformer.hidden(ids[:, first:], self._cache)
        return self._transformer.logits(hidden[:, -1])[0]


@contextmanager
def _masked(transformer: Transformer, positions: Sequence[int]) -> Iterator[None]:
    """Within the block no later position attends to `positions`."""

    def attend(module: Any, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        q, k, v = inputs
        keys = torch.arange(k.shape[2], device=k.device)
        queries = keys[-q.shape[2] :, None]
        masked = torch.isin(keys, torch.tensor(positions, device=k.device))
        visible = (keys < queries) & ~masked | (keys == queries)  # [t, T]
        weights = module.weights(q, k, visible)  # [B, h, t, T]
        return (weights @ v.float().repeat_interleave(q.shape[1] // v.shape[1], 1)).to(v.dtype)

    with ForwardHooks() as hooks:
        for block in transformer.blocks if positions else ():
            hooks.after(block.get_submodule("attention.attend"), attend)
        yield
