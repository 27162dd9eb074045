"""Owns whether the model uses only the last token (S13): earlier ones are changed, and the distribution watched.

A token is replaced by a random one, hidden from all later positions, or exchanged with the one before it.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.activations.trace import Step, fill_cache, fresh_past
from core.engine.cache import KVCache
from core.engine.model import Transformer
from core.errors import UserError
from core.loading.models import Model
from core.progress import Progress
from core.sampling.divergence import kl_bits

How = Literal["replace", "mask", "shuffle"]
LAST = 32
"""Earlier tokens that are changed, the nearest ones."""


@dataclass(frozen=True, slots=True)
class PositionEffect:
    """One earlier token changed, all others as they were."""

    position: int
    """In the window, from 0."""
    piece: bytes
    """The token that stood there."""
    by: bytes
    """What stands there instead; empty where it is hidden."""
    kl_bits: float
    """KL(as it was ‖ changed) of the distribution after the last token, in bits."""


@dataclass(frozen=True, slots=True)
class LastToken:
    """How far each earlier token moves what comes after the last one."""

    how: How
    changes: tuple[PositionEffect, ...]
    """By position; those measured so far."""
    total: int
    """How many there will be."""
    together_bits: float | None
    """KL where all of them are changed at once, in bits; None until measured and where there is nothing to change."""
    why: str
    """What the numbers mean for this model."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def last_token(step: Step, how: How = "replace", last: int = LAST, seed: int = 0) -> Iterator[Progress | LastToken]:
    """Change each of the `last` earlier tokens alone, the nearest first, then all of them.

    Raises `UserError` for another way to change them.
    """
    if how not in get_args(How):
        raise UserError(f"no way {how!r} to change tokens; choose replace, mask or shuffle")
    length = len(step.ids)
    lowest = 1 if how == "shuffle" else 0  # the first token has none before it
    start = max(lowest, length - 1 - max(1, last))
    positions = range(length - 2, start - 1, -1)
    note = f"only the {len(positions):,} tokens before the last were changed" if start > lowest else ""
    past = fresh_past(step) if step.past is None else step.past
    yield from fill_cache(step, past, length - 1)
    yield Progress(0, len(positions) + 1)
    runs = _Runs(step, past, how, seed)
    before = runs.logits(())
    changes: list[PositionEffect] = []
    why = _why(step.model)
    for position in positions:
        by = b"" if how == "mask" else step.model.tokenizer.piece(runs.changed((position,))[position])
        moved = kl_bits(before, runs.logits((position,)))
        changes.insert(0, PositionEffect(position, step.pieces[position], by, moved))
        yield LastToken(how, tuple(changes), len(positions), None, why, note)
    together = kl_bits(before, runs.logits(tuple(reversed(positions)))) if positions else None
    yield LastToken(how, tuple(changes), len(positions), together, why, note)


def _why(model: Model) -> str:
    """What the article's sentence needs, and whether this model has it."""
    if model.transformer.config.blocks:
        return "Attention lets the last position read all earlier ones, so changing them moves what comes next."
    return (
        f"{model.info.name} has no attention: each position is computed from its own token alone, so no earlier token "
        "can move what comes next, and KL is exactly 0. That the last position has absorbed the earlier ones needs "
        "attention, which begins at model3."
    )


class _Runs:
    """Reads the text with some tokens changed, each time from an earlier position on than the time before.

    So one copy of the past is enough: what one run leaves behind, the next writes over.
    """

    def __init__(self, step: Step, past: KVCache, how: How, seed: int) -> None:
        self._step, self._how, self._seed = step, how, seed
        self._transformer = step.model.transformer
        self._past = past.first(len(step.ids) - 1)

    def changed(self, positions: Sequence[int]) -> list[int]:
        """The ids with the tokens at ascending `positions` changed; hidden ones are as they were."""
        ids = list(self._step.ids)
        if self._how == "replace":
            for position in positions:
                drawn = random.Random(f"{self._seed}:{position}").randrange(self._step.model.info.vocab_size - 1)
                ids[position] = drawn + (drawn >= ids[position])
        elif self._how == "shuffle" and len(positions) == 1:
            (at,) = positions
            ids[at - 1], ids[at] = ids[at], ids[at - 1]
        elif self._how == "shuffle" and positions:
            places = slice(positions[0] - 1, positions[-1] + 1)
            mixed = ids[places]
            random.Random(f"{self._seed}").shuffle(mixed)
            ids[places] = mixed
        return ids

    def logits(self, positions: Sequence[int]) -> Tensor:
        """Logits after the last position with the tokens at `positions` changed, [V]."""
        ids = torch.tensor([self.changed(positions)], device=self._transformer.device)
        if not self._transformer.config.blocks:  # all of it each time, so that equal states are equal bits
            return self._transformer.unembed(self._transformer.hidden(ids)[:, -1])[0]
        after = {"replace": 0, "mask": 1, "shuffle": -1}[self._how]
        first = min((position + after for position in positions), default=ids.shape[1] - 1)
        self._past.rewind(first)
        with _hiding(self._transformer, positions if self._how == "mask" else ()):
            hidden = self._transformer.hidden(ids[:, first:], self._past)
        return self._transformer.unembed(hidden[:, -1])[0]


@contextmanager
def _hiding(transformer: Transformer, hidden: Sequence[int]) -> Iterator[None]:
    """Let no later position attend to the hidden ones."""

    def attend(module: nn.Module, took: tuple[Tensor, ...], gave: Tensor) -> Tensor:
        q, k, v = took
        keys = torch.arange(k.shape[2], device=k.device)
        queries = keys[-q.shape[2] :, None]
        secret = torch.isin(keys, torch.tensor(hidden, device=k.device))
        seen = (keys < queries) & ~secret | (keys == queries)  # [t, T]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=seen, enable_gqa=True)

    names = [f"blocks.{n}.attention.attend" for n in range(transformer.config.blocks)] if hidden else []
    hooks = [transformer.get_submodule(name).register_forward_hook(attend) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
