"""Owns experiments on a running model: its parts zeroed, averaged, replaced by noise or scaled, by hooks alone.

What a patch puts in a part's place depends on that place alone, never on how the tokens were cut into passes:

- `zero`   nothing: the part adds nothing; queries of zero look at all keys alike.
- `mean`   what the part gave on average over `core.data.REFERENCE`, its first position left out.
- `noise`  a Gaussian vector of the same length, drawn for each position from the seed. For `query` the matrix becomes
           noise of the same size, without a bias, so that queries still come from the stream.
- `scale`  the part times `factor`.

A head is its slice of what enters the output projection; `query` all queries of a layer; a block what it adds to the
stream; a position the state that enters the first block there, counted in the model's window.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from core.config import ModelConfig, Patch, PatchKind, PatchPart
from core.data import REFERENCE
from core.divergence import kl
from core.engine.packed.linear import matrix
from core.errors import Mistake
from core.events import Reading
from core.model import Transformer
from core.models import Model
from core.prefix import CHUNK
from core.sampling import Distribution
from core.trace import READ_AT_ONCE, Step, finished, fresh_past, ids_of, recording

REFERENCE_TOKENS = 128
"""Of the reference text, as many as are averaged over at most."""
NOISE_ROWS = 256
"""Positions whose noise is drawn at once; always all of them, so that it does not matter which is asked for first."""
Change = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From what a part gave [B, t, w], its positions [t] and what its matrix took, to what it shall give."""


# Parts ---------------------------------------------------------------------------------------------------------------


class Installed:
    """Patches that act on every pass of a model until they are removed; none of them, and nothing is hooked.

    Raises `Mistake` for a part the model does not have.
    """

    def __init__(self, model: Model, patches: Sequence[Patch]) -> None:
        transformer = model.transformer
        for patch in patches:
            patch.check(transformer.config)
        self.patches = tuple(patches)
        self._changes = _changes(model, patches)
        self._hooks = _Hooks(transformer)
        self._install()

    def _install(self) -> None:
        for patch, change in zip(self.patches, self._changes, strict=True):
            self._hooks.add(patch, change)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The model as it was, within the block."""
        self._hooks.remove()
        try:
            yield
        finally:
            self._install()

    def remove(self) -> None:
        """Let the model be what it was."""
        self._hooks.remove()


@contextmanager
def patched(model: Model, patches: Sequence[Patch]) -> Iterator[None]:
    """The model with patches, within the block."""
    installed = Installed(model, patches)
    try:
        yield
    finally:
        installed.remove()


class _Hooks:
    """Puts changes where parts are, and knows the positions that go through the model."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._handles: list[RemovableHandle] = []
        self._places = torch.empty(0, dtype=torch.long)
        """Positions of the pass at hand, [t]."""

    def add(self, patch: Patch, change: Change, row: int | None = None) -> None:
        """Let a change act on a part, in all rows of a batch or in one."""
        if not self._handles:
            self._handles.append(self._transformer.position.register_forward_pre_hook(self._note_places))

        def apply(x: Tensor, took: Tensor | None = None) -> Tensor:
            if row is None:
                return change(x, self._places, took).to(x.dtype)
            own = slice(row, row + 1)
            x = x.clone()
            x[own] = change(x[own], self._places, None if took is None else took[own]).to(x.dtype)
            return x

        self._handles.append(self._hook(patch, apply))

    def _note_places(self, module: nn.Module, took: tuple[Tensor]) -> None:
        self._places = took[0]

    def _hook(self, patch: Patch, apply: Callable[..., Tensor]) -> RemovableHandle:
        config = self._transformer.config
        if patch.part == "position":
            first = self._transformer.blocks[0] if config.blocks else self._transformer.norm
            return first.register_forward_pre_hook(partial(self._at_position, patch.index, apply))
        block: Any = self._transformer.blocks[patch.layer or 0]
        if patch.part == "head":
            head = slice((patch.index or 0) * config.head_dim, ((patch.index or 0) + 1) * config.head_dim)
            return block.attention.out.register_forward_pre_hook(lambda _, took: (_within(took[0], head, apply),))
        if patch.part == "query":
            queries = slice(0, config.heads * config.head_dim)
            return block.attention.qkv.register_forward_hook(
                lambda _, took, gave: _within(gave, queries, partial(apply, took=took[0]))
            )
        if patch.part == "block":
            return block.register_forward_hook(lambda _, took, gave: took[0] + apply(gave - took[0]))
        part = block.attention if patch.part == "attention" else block.feed_forward
        return part.register_forward_hook(lambda _, took, gave: apply(gave))

    def _at_position(
        self, index: int | None, apply: Callable[..., Tensor], module: nn.Module, took: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        here = self._places >= 0 if index is None else self._places == index
        x = took[0].clone()
        return (x if not here.any() else torch.where(here[:, None], apply(x), x), *took[1:])

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()


def _within(x: Tensor, part: slice, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """A copy of `x` [B, t, w] with a slice of its width changed."""
    x = x.clone()
    x[..., part] = apply(x[..., part])
    return x


# Kinds ---------------------------------------------------------------------------------------------------------------


def _changes(model: Model, patches: Sequence[Patch]) -> list[Change]:
    averages = _means(model, [patch for patch in patches if patch.kind == "mean"])
    return [_change(model.transformer, patch, averages) for patch in patches]


def _change(transformer: Transformer, patch: Patch, averages: dict[Patch, Tensor]) -> Change:
    match patch.kind:
        case "zero":
            return lambda x, places, took: torch.zeros_like(x)
        case "scale":
            return lambda x, places, took: x * patch.factor
        case "mean":
            return lambda x, places, took: averages[patch].expand_as(x)
    if patch.part == "query":
        weight = _noisy_queries(transformer, patch)
        return lambda x, places, took: x if took is None else F.linear(took, weight)
    return _Noise(patch)


def _generator(patch: Patch) -> torch.Generator:
    key = f"{patch.seed}:{patch.part}:{patch.layer}:{patch.index}"
    return torch.Generator().manual_seed(random.Random(key).getrandbits(63))


class _Noise:
    """A Gaussian vector for each position, as long as what it replaces."""

    def __init__(self, patch: Patch) -> None:
        self._generator = _generator(patch)
        self._table = torch.empty(0)

    def __call__(self, x: Tensor, places: Tensor, took: Tensor | None) -> Tensor:
        while len(self._table) <= int(places.max()):
            more = torch.randn(NOISE_ROWS, x.shape[-1], generator=self._generator)
            self._table = torch.cat((self._table, more)) if len(self._table) else more
        drawn = self._table[places.cpu()].to(x.device)
        return F.normalize(drawn, dim=-1) * x.float().norm(dim=-1, keepdim=True)


@torch.inference_mode()
def _noisy_queries(transformer: Transformer, patch: Patch) -> Tensor:
    """A Gaussian matrix with the root mean square of a layer's query matrix, [h·c, d]."""
    config = transformer.config
    weight = matrix(transformer.get_submodule(f"blocks.{patch.layer}.attention.qkv"), 0, config.heads * config.head_dim)
    noise = torch.randn(weight.shape, generator=_generator(patch)) * weight.square().mean().sqrt()
    return noise.to(transformer.device, transformer.dtype)


@torch.inference_mode()
def _means(model: Model, patches: Sequence[Patch]) -> dict[Patch, Tensor]:
    """What the part of each patch gave on average over the reference text, [w]."""
    if not patches:
        return {}
    transformer, seen = model.transformer, dict[Patch, Tensor]()
    ids = model.tokenizer.encode(REFERENCE)[: min(REFERENCE_TOKENS, transformer.config.context)]

    def note(patch: Patch, x: Tensor, places: Tensor, took: Tensor | None) -> Tensor:
        seen[patch] = x[0, 1:].float().mean(0) if x.shape[1] > 1 else x[0, 0].float()
        return x

    hooks = _Hooks(transformer)
    for patch in patches:
        everywhere = replace(patch, index=None) if patch.part == "position" else patch
        hooks.add(everywhere, partial(note, patch))
    try:
        transformer.hidden(torch.tensor([ids], device=transformer.device))
    finally:
        hooks.remove()
    return seen


# Sweeps --------------------------------------------------------------------------------------------------------------

SWEPT = 1024
"""Tokens that a sweep reads at most: it keeps the stream of all of them between all blocks."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one patch did to the distribution after the last position."""

    patch: Patch
    difference: float
    """How much logit(target) - logit(other) rose."""
    kl: float
    """KL(unpatched ‖ patched), nats."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The effects of many patches, each alone."""

    effects: tuple[Effect, ...]
    """The largest first; of those done so far."""
    total: int
    """How many there will be."""
    target: int
    """The token that came next, or else the model's favourite."""
    other: int
    """What it is compared with."""
    note: str
    """What was left out; empty where nothing was."""


def every(config: ModelConfig, part: PatchPart, kind: PatchKind = "zero", **more: Any) -> tuple[Patch, ...]:
    """A patch for each head, layer or position there is; of positions, those of the context."""
    if part == "position":
        return tuple(Patch(kind=kind, part=part, index=index, **more) for index in range(config.context))
    heads = range(config.heads) if part == "head" else [None]
    return tuple(
        Patch(kind=kind, part=part, layer=layer, index=head, **more) for layer in range(config.blocks) for head in heads
    )


@torch.inference_mode()
def sweep(
    step: Step,
    patches: Sequence[Patch],
    other: int | None = None,
    by: Literal["difference", "kl"] = "difference",
) -> Iterator[Reading | Sweep]:
    """Try each patch alone, the last layers first, from the stream below it; ever longer ranked results.

    Without `other` the target is compared with the likeliest other token. Raises `Mistake` for a part that the model
    does not have, and for no patches at all.
    """
    model, transformer = step.model, step.model.transformer
    if not patches:
        raise Mistake(f"{model.info.name} has nothing of that kind to sweep over; choose another part")
    for patch in patches:
        patch.check(transformer.config)
    note = f"read by the last {SWEPT:,} tokens alone" if len(step.ids) > SWEPT else ""
    step = replace(step, ids=step.ids[-SWEPT:], past=None)
    length = len(step.ids)
    patches = [patch for patch in patches if patch.part != "position" or (patch.index or 0) < length]
    at_once = max(1, CHUNK // length)
    groups = _groups(patches, at_once)
    total = length + sum(len(transformer.blocks[layer:]) + 1 for layer, _ in groups)
    yield Reading(0, total)
    streams: list[list[Tensor]] = [[] for _ in range(transformer.config.blocks + 1)]
    past, ids = fresh_past(step), ids_of(step)
    names = [f"blocks.{n}" for n in range(transformer.config.blocks)] + ["norm"]
    for start in range(0, length, READ_AT_ONCE):
        with recording(transformer, names) as trace:
            transformer.hidden(ids[:, start : start + READ_AT_ONCE], past)
        for kept, name in zip(streams, names, strict=True):
            kept.append(trace.took[name][0])
        yield Reading(min(start + READ_AT_ONCE, length), total)
    below = [torch.cat(parts, 1) for parts in streams]  # [1, T, d] before each block, and after the last
    final, below[0] = below[-1], transformer.embed(ids) + transformer.position(torch.arange(length, device=ids.device))
    base = Distribution(transformer.unembed(finished(transformer, final)[:, -1])[0])
    target = base.favourite if step.target is None else step.target
    if other is None:
        other = next(id for id in base.head(2).tolist() if id != target)
    effects: list[Effect] = []
    changes = dict(zip(patches, _changes(model, patches), strict=True))
    done = length
    for layer, group in groups:
        rows = _tried(transformer, below[layer], layer, group, changes)
        while (result := next(rows)) is None:
            done += 1
            yield Reading(done, total)
        for patch, row in zip(group, result, strict=True):
            rise = (row[target] - row[other] - base.logits[target] + base.logits[other]).item()
            effects.append(Effect(patch, rise, kl(base.logits, row)))
        effects.sort(key=lambda effect: -effect.kl if by == "kl" else -abs(effect.difference))
        done += 1
        yield Reading(done, total)
        yield Sweep(tuple(effects), len(patches), target, other, note)


def _groups(patches: Sequence[Patch], size: int) -> list[tuple[int, Sequence[Patch]]]:
    """Patches of one layer, up to `size` together, the last layers first."""
    layers: dict[int, list[Patch]] = {}
    for patch in patches:
        layers.setdefault(patch.layer or 0, []).append(patch)
    return [
        (layer, found[first : first + size])
        for layer, found in sorted(layers.items(), reverse=True)
        for first in range(0, len(found), size)
    ]


def _tried(
    transformer: Transformer, states: Tensor, layer: int, patches: Sequence[Patch], changes: dict[Patch, Change]
) -> Iterator[Tensor | None]:
    """None after each block, then logits at the last position under each patch, [n, V], float32 on the CPU.

    `states` [1, T, d] enter the layer. The hooks are there only within it, so the model is its own while this pauses.
    """
    places = torch.arange(states.shape[1], device=states.device)
    x = states.expand(len(patches), -1, -1)
    hooks = _Hooks(transformer)
    for row, patch in enumerate(patches):
        hooks.add(patch, changes[patch], row)
    try:
        transformer.position(places)  # tells all hooks where they are
        x = transformer.blocks[layer](x, 0, None) if transformer.config.blocks else finished(transformer, x)
    finally:
        hooks.remove()
    yield None
    for block in transformer.blocks[layer + 1 :]:
        transformer.position(places)
        x = block(x, 0, None)
        yield None
    x = finished(transformer, x[:, -1:]) if transformer.config.blocks else x
    yield transformer.unembed(x[:, -1]).to("cpu", torch.float32)
