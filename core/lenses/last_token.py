"""Owns whether the model uses only the last token (S13): earlier ones are changed, and the distribution watched.

A token is replaced by a random one, hidden from all later positions, or exchanged with the one before it.
"""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.cache import KVCache
from core.divergence import kl
from core.errors import Mistake
from core.events import Reading
from core.model import Transformer
from core.models import Model
from core.trace import READ_AT_ONCE, Step, fresh_past, read

How = Literal["replace", "mask", "shuffle"]
LAST = 64
"""Earlier tokens that are changed, the nearest ones."""
AT_ONCE = 16
"""Changed texts that go through the model together at most."""


@dataclass(frozen=True, slots=True)
class Change:
    """One earlier token changed, all others as they were."""

    position: int
    """In the window, from 0."""
    piece: bytes
    """The token that stood there."""
    by: bytes
    """What stands there instead; empty where it is hidden."""
    kl: float
    """KL(as it was ‖ changed) of the distribution after the last token, nats."""


@dataclass(frozen=True, slots=True)
class LastToken:
    """How far each earlier token moves what comes after the last one."""

    how: How
    changes: tuple[Change, ...]
    """By position; those measured so far."""
    total: int
    """How many there will be."""
    together: float | None
    """KL where all of them are changed at once, nats; None until measured and where there is nothing to change."""
    why: str
    """What the numbers mean for this model."""
    note: str
    """What was left out; empty where nothing was."""


@torch.inference_mode()
def last_token(step: Step, how: How = "replace", last: int = LAST, seed: int = 0) -> Iterator[Reading | LastToken]:
    """Change each of the `last` earlier tokens alone, the nearest first, then all of them.

    Raises `Mistake` for another way to change them.
    """
    if how not in get_args(How):
        raise Mistake(f"no way {how!r} to change tokens; choose replace, mask or shuffle")
    length = len(step.ids)
    lowest = 1 if how == "shuffle" else 0  # the first token has none before it
    start = max(lowest, length - 1 - max(1, last))
    positions = range(length - 2, start - 1, -1)
    note = f"only the {len(positions):,} tokens before the last were changed" if start > lowest else ""
    past = fresh_past(step) if step.past is None else step.past
    yield from read(step, past, length - 1)
    yield Reading(0, len(positions) + 1)
    runs = _Runs(step, past, how, seed)
    before = runs.logits([()])[0]
    changes: list[Change] = []
    why = _why(step.model)
    for group in runs.groups(positions):
        rows = runs.logits([(position,) for position in group])
        for position, row in zip(group, rows, strict=True):
            by = b"" if how == "mask" else step.model.tokenizer.piece(runs.changed((position,))[position])
            changes.insert(0, Change(position, step.pieces[position], by, kl(before, row)))
        yield Reading(len(changes), len(positions) + 1)
        yield LastToken(how, tuple(changes), len(positions), None, why, note)
    together = kl(before, runs.logits([tuple(reversed(positions))])[0]) if positions else None
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
    """Reads texts with some tokens changed."""

    def __init__(self, step: Step, past: KVCache, how: How, seed: int) -> None:
        self.step, self.past, self.how, self.seed = step, past, how, seed
        self.transformer = step.model.transformer

    def changed(self, positions: Sequence[int]) -> list[int]:
        """The ids with the tokens at ascending `positions` changed; hidden ones are as they were."""
        ids = list(self.step.ids)
        if self.how == "replace":
            for position in positions:
                drawn = random.Random(f"{self.seed}:{position}").randrange(self.step.model.info.vocab_size - 1)
                ids[position] = drawn + (drawn >= ids[position])
        elif self.how == "shuffle" and len(positions) == 1:
            (at,) = positions
            ids[at - 1], ids[at] = ids[at], ids[at - 1]
        elif self.how == "shuffle" and positions:
            places = range(positions[0] - 1, positions[-1] + 1)
            mixed = [ids[place] for place in places]
            random.Random(f"{self.seed}").shuffle(mixed)
            ids[places.start : places.stop] = mixed
        return ids

    def _first(self, positions: Sequence[int]) -> int:
        """The first position that is computed anew."""
        after = {"replace": 0, "mask": 1, "shuffle": -1}[self.how]
        return min((position + after for position in positions), default=len(self.step.ids) - 1)

    def groups(self, positions: Sequence[int]) -> Iterator[Sequence[int]]:
        """Descending positions in groups that are read together: few tokens in all, as many rows as that allows."""
        at = 0
        while at < len(positions):
            size = 1
            while (
                self.transformer.config.blocks  # without attention one by one, so that equal states are equal bits
                and size < AT_ONCE
                and at + size < len(positions)
                and (size + 1) * (len(self.step.ids) - self._first([positions[at + size]])) <= 4 * READ_AT_ONCE
            ):
                size += 1
            yield positions[at : at + size]
            at += size

    def logits(self, changes: Sequence[Sequence[int]]) -> Tensor:
        """Logits after the last position for each set of changed positions, [n, V], float32 on the CPU."""
        changed = [self.changed(positions) for positions in changes]
        if not self.transformer.config.blocks:
            first, past = 0, fresh_past(self.step)
        else:
            first = self._first([position for positions in changes for position in positions])
            past = self.past.first(first).repeat(len(changes))
        ids = torch.tensor(changed, device=self.transformer.device)
        with _hiding(self.transformer, changes if self.how == "mask" else []):
            for at in range(first, ids.shape[1], self._span(len(changes))):
                hidden = self.transformer.hidden(ids[:, at : at + self._span(len(changes))], past)
        return self.transformer.unembed(hidden[:, -1]).to("cpu", torch.float32)

    def _span(self, rows: int) -> int:
        """Positions that go through the model at once."""
        return max(1, 8 * READ_AT_ONCE // rows)


@contextmanager
def _hiding(transformer: Transformer, hidden: Sequence[Sequence[int]]) -> Iterator[None]:
    """Let no later position attend to the positions hidden from each row of the batch."""
    if not any(hidden):
        yield
        return

    def attend(module: nn.Module, took: tuple[Tensor, ...], gave: Tensor) -> Any:
        q, k, v = took
        places = torch.arange(k.shape[2], device=k.device)
        own = places[-q.shape[2] :, None] == places  # [t, T]
        seen = (places <= places[-q.shape[2] :, None]).repeat(len(hidden), 1, 1)
        for row, positions in enumerate(hidden):
            seen[row, :, [position for position in positions if position < len(places)]] = False
        return F.scaled_dot_product_attention(q, k, v, attn_mask=(seen | own)[:, None], enable_gqa=True)

    names = [f"blocks.{n}.attention.attend" for n in range(transformer.config.blocks)]
    hooks = [transformer.get_submodule(name).register_forward_hook(attend) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
