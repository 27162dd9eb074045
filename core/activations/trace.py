"""Owns what a forward pass did inside: hooks on the modules of a model, there only while one step is traced.

The last position alone is traced, after a past that was read without hooks; so a trace costs little more than a step.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from core.engine.cache import KVCache
from core.engine.model import Transformer
from core.engine.prefix import Prefix
from core.loading.models import Model
from core.progress import Progress

READ_AT_ONCE = 32
"""Tokens that go through the model between two pauses."""


@dataclass(frozen=True, slots=True)
class Step:
    """What a lens looks at: one position, after which one token comes."""

    model: Model
    ids: tuple[int, ...]
    """What the model sees: up to and including the position, at most the last `context` ids."""
    target: int | None = None
    """The token that came next in the walk, where one did."""
    past: KVCache | None = None
    """Some or all positions before the last, so they need not be read again; it is left as it was or fuller."""

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The tokens as bytes, [T]."""
        return tuple(self.model.tokenizer.piece(id) for id in self.ids)


def step_at(model: Model, ids: Sequence[int], prefix: Prefix, target: int | None = None) -> Step:
    """The step after all of `ids`, with what `prefix`, which begins with them, has read; beyond the context, a window.

    A walk gives its ids up to the cursor.
    """
    context = model.transformer.config.context
    past = prefix.past(len(ids) - 1 if len(ids) <= context else 0)
    return Step(model, tuple(ids[-context:]), target, past)


@dataclass(frozen=True, slots=True)
class Trace:
    """What modules took and gave while a pass was recorded, by their names in the model."""

    took: dict[str, tuple[Any, ...]]
    gave: dict[str, Any]

    def last(self, name: str) -> Tensor:
        """What a module gave at the last position, float32."""
        return self.gave[name][0, -1].float()

    def entered(self, name: str) -> Tensor:
        """What a module took at the last position, float32."""
        return self.took[name][0][0, -1].float()

    @property
    def logits(self) -> Tensor:
        """Of the token after the last position, [V], float32."""
        return self.last("unembed")


@contextmanager
def recording(transformer: Transformer, names: Iterable[str] | None = None) -> Iterator[Trace]:
    """Note what the modules called `names`, or all, take and give within the block."""
    trace = Trace({}, {})

    def note(name: str, module: nn.Module, took: tuple[Any, ...], gave: Any) -> None:
        trace.took[name], trace.gave[name] = took, gave

    modules = dict(transformer.named_modules())
    wanted = [name for name in modules if name] if names is None else names
    hooks = [modules[name].register_forward_hook(partial(note, name)) for name in wanted]
    try:
        yield trace
    finally:
        for hook in hooks:
            hook.remove()


def ids_of(step: Step) -> Tensor:
    """The ids on the model's device, [1, T]."""
    return torch.tensor([step.ids], device=step.model.transformer.device)


def fresh_past(step: Step) -> KVCache:
    """An empty past for the model of a step."""
    transformer = step.model.transformer
    return KVCache(transformer.config, 1, transformer.device, transformer.dtype)


@torch.inference_mode()
def fill_cache(step: Step, past: KVCache, length: int) -> Iterator[Progress]:
    """Fill `past` up to `length`, pausing between pieces; nothing where it is there already."""
    ids, transformer = ids_of(step), step.model.transformer
    if past.length < length:
        yield Progress(past.length, length)
    while past.length < length:
        transformer.hidden(ids[:, past.length : min(past.length + READ_AT_ONCE, length)], past)
        yield Progress(past.length, length)


@torch.inference_mode()
def trace_step(step: Step) -> Generator[Progress, None, Trace]:
    """Read what the past lacks, then trace the last position through the whole model."""
    last = len(step.ids) - 1
    past = fresh_past(step) if step.past is None else step.past
    yield from fill_cache(step, past, last)
    transformer = step.model.transformer
    try:
        with recording(transformer) as trace:
            transformer(ids_of(step)[:, last:], past)
    finally:
        past.rewind(last)
    return trace


# The residual stream -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Half:
    """One half of a block, or the embedding."""

    name: str
    """`embedding`, `block 0 attention`, `block 0 mlp` …; blocks are counted from 0."""
    block: int | None
    """None for the embedding."""
    state: Tensor
    """The residual stream after it at the last position, [d], float32."""


def stream(transformer: Transformer, trace: Trace) -> list[Half]:
    """The residual stream at the last position: after the embedding and after each sublayer."""
    first = "blocks.0" if transformer.config.blocks else "norm"
    halves = [Half("embedding", None, trace.entered(first))]
    for n in range(transformer.config.blocks):
        halves.append(Half(f"block {n} attention", n, trace.entered(f"blocks.{n}.norm2")))
        if transformer.config.feed_forward:
            halves.append(Half(f"block {n} mlp", n, trace.last(f"blocks.{n}")))
    return halves


def contributions(transformer: Transformer, trace: Trace) -> dict[str, Tensor]:
    """What each part added to the stream at the last position, by its module, [d] each; their sum is the last state."""
    parts = ["embed"] + (["position"] if transformer.config.positions == "learned" else [])
    for n in range(transformer.config.blocks):
        parts += [f"blocks.{n}.attention"] + ([f"blocks.{n}.feed_forward"] if transformer.config.feed_forward else [])
    return {name: _added(trace.gave[name]) for name in parts}


def _added(gave: Tensor) -> Tensor:
    """At the last position of [B, T, d], or of [T, d] as positions are."""
    return (gave[-1] if gave.ndim == 2 else gave[0, -1]).float()


def finished(transformer: Transformer, states: Tensor) -> Tensor:
    """What comes after the last block, up to the unembedding: […, d] → […, d]."""
    return transformer.scale(transformer.activation(transformer.norm(states)))


@torch.inference_mode()
def readout(transformer: Transformer, states: Tensor) -> Tensor:
    """The logits a model would give if its blocks ended with `states` [n, d]: final norm, then unembedding; [n, V].

    nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    return transformer.unembed(finished(transformer, states.to(transformer.dtype))).float()
