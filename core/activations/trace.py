"""Records the inputs and outputs of a model's modules at one position, by forward hooks.

`trace_step` sends only the last position through the model with hooks; the positions before it are read without hooks
into a KV cache, so a trace costs little more than one generation step.
"""

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map_only

from core.engine.cache import KVCache
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.errors import Option, UserError
from core.language import _
from core.loading.model import Model, Sequences
from core.progress import Progress

TOKENS_PER_PAUSE = 32
"""Tokens that go through the model between two reports of progress."""


# Steps ---------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Step:
    """One generation step that a lens looks at: a model, the tokens it sees, and the token that came next."""

    model: Model
    ids: tuple[int, ...]
    """What the model sees, up to and including the position at hand: at most the last `context` ids, [T]."""
    target: int | None = None
    """The id that came next in the walk; None where the walk ends here."""
    cache: KVCache | None = None
    """Keys and values of some or all of the T - 1 earlier positions; a lens may fill it up to T - 1, nothing else."""

    @property
    def pieces(self) -> tuple[bytes, ...]:
        """The tokens as bytes, [T]."""
        return tuple(self.model.tokenizer.piece(id) for id in self.ids)


def step_at(model: Model, ids: Sequence[int], prefix: Sequences, target: int | None = None) -> Step:
    """The step after all of `ids`, with a copy of the KV cache of `prefix`, which begins with these ids.

    Where there are more ids than the context has room for, the step has the last `context` ids and an empty cache.
    """
    context = model.info.context
    cache = prefix.past(len(ids) - 1 if len(ids) <= context else 0)
    return Step(model, tuple(ids[-context:]), target, cache)


def ids_of(step: Step) -> Tensor:
    """The ids of a step on the model's device, [1, T]."""
    return torch.tensor([step.ids], device=step.model.transformer.device)


def empty_cache(step: Step) -> KVCache:
    """An empty KV cache for the model of a step, one sequence."""
    cache = step.model.transformer.cache(1)
    cache.prepare(len(step.ids))
    return cache


@torch.inference_mode()
def fill_cache(step: Step, cache: KVCache, length: int, sequence: int = 0) -> Iterator[Progress]:
    """Read tokens of a step until `cache` holds `length` positions; nothing is yielded where it does already.

    The keys are rotated for a text of all tokens of the step, or of the first `sequence` ones.
    """
    ids, transformer = ids_of(step), step.model.transformer
    cache.prepare(sequence or len(step.ids))
    if cache.length < length:
        yield Progress(cache.length, length)
    while cache.length < length:
        transformer.hidden(ids[:, cache.length : min(cache.length + TOKENS_PER_PAUSE, length)], cache)
        yield Progress(cache.length, length)


# Traces --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Trace:
    """Inputs and outputs of modules in one forward pass, by the modules' names in `Transformer.named_modules`.

    core/activations/README.md lists the modules and the shapes of their outputs.
    """

    inputs: dict[str, tuple[Any, ...]]
    """The positional arguments of each module."""
    outputs: dict[str, Any]

    def last_input(self, name: str) -> Tensor:
        """The first input of a module at the last position, float32: [B, T, …] → […], of the first sequence."""
        return self.inputs[name][0][0, -1].float()

    def last_output(self, name: str) -> Tensor:
        """The output of a module at the last position, float32: [B, T, …] → […], of the first sequence."""
        return self.outputs[name][0, -1].float()

    @property
    def logits(self) -> Tensor:
        """Logits of the token after the last position, [V], float32."""
        return self.last_output("cap")


@contextmanager
def recording(transformer: Transformer, names: Iterable[str] | None = None) -> Iterator[Trace]:
    """Record the modules called `names`, or all modules, within the block; a later pass replaces an earlier one.

    What blocks on other devices compute is copied to the first device of the model.
    """
    trace, here = Trace({}, {}), transformer.device

    def record(name: str, module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        trace.inputs[name], trace.outputs[name] = tree_map_only(Tensor, lambda each: each.to(here), (inputs, output))

    modules = dict(transformer.named_modules())
    with ForwardHooks() as hooks:
        for name in filter(None, modules) if names is None else names:
            hooks.after(modules[name], partial(record, name))
        yield trace


@torch.inference_mode()
def trace_step(step: Step) -> Generator[Progress, None, Trace]:
    """Fill the cache of a step up to T - 1, then record all modules while the last position goes through the model.

    Progress is yielded, the trace returned. The cache holds T - 1 positions afterwards.
    """
    last = len(step.ids) - 1
    cache = empty_cache(step) if step.cache is None else step.cache
    yield from fill_cache(step, cache, last)
    transformer = step.model.transformer
    try:
        with recording(transformer) as trace:
            transformer(ids_of(step)[:, last:], cache)
    finally:
        cache.rewind(last)
    for name, output in trace.outputs.items():
        if isinstance(output, Tensor):
            require_finite(name, output)
    return trace


def require_finite(name: str, output: Tensor) -> None:
    """Raise `UserError` where the output of the module called `name` has a NaN or +∞; a logit may be -∞."""
    if not bool((output < math.inf).all()):
        raise UserError(
            _(
                "{name} computes non-finite numbers (NaN or infinity), because of its weights or of this {dtype}; "
                "choose another dtype"
            ),
            name=name,
            dtype=Option("dtype"),
        )


# The residual stream -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ResidualState:
    """The residual stream at one position, after the embedding or after one sublayer."""

    name: str
    """`embedding`, `block 0 attention`, `block 0 mlp` …; `block 0` where the two are parallel. Counted from 0."""
    block: int | None
    """None for the embedding."""
    state: Tensor
    """[d], float32."""


def residual_stream(transformer: Transformer, trace: Trace) -> list[ResidualState]:
    """The residual stream at the last position: after the embedding (with positions) and after each sum.

    That is after each sublayer, or where attention and MLP are parallel, after each block.
    """
    config = transformer.config
    first = "blocks.0" if config.blocks else "norm"
    states = [ResidualState("embedding", None, trace.last_input(first))]
    for n in range(config.blocks):
        if config.parallel:
            states.append(ResidualState(f"block {n}", n, trace.last_output(f"blocks.{n}")))
            continue
        norm1, norm2 = f"blocks.{n}.norm1", f"blocks.{n}.norm2"
        after = trace.last_output(norm1) if config.layout == "post_norm" else trace.last_input(norm2)
        states.append(ResidualState(f"block {n} attention", n, after))
        if config.feed_forward:
            states.append(ResidualState(f"block {n} mlp", n, trace.last_output(f"blocks.{n}")))
    return states


@torch.inference_mode()
def residual_streams(step: Step, last: int) -> Generator[Progress, None, Tensor]:
    """The residual stream after the embedding and after each block at the last n positions, [N + 1, n, d].

    n is `last` at most. It is in the model's number format. Progress is yielded, the tensor returned; the cache of the
    step holds T - 1 positions afterwards.
    """
    transformer, length = step.model.transformer, len(step.ids)
    start = max(0, length - last)
    cache = empty_cache(step) if step.cache is None else step.cache
    cache.rewind(start)
    yield from fill_cache(step, cache, start)
    names = [f"blocks.{n}" for n in range(transformer.config.blocks)]
    parts: list[Tensor] = []
    while start < length:
        try:
            with recording(transformer, [*names, "norm"]) as trace:
                transformer.hidden(ids_of(step)[:, start : start + TOKENS_PER_PAUSE], cache)
        finally:
            cache.rewind(min(start + TOKENS_PER_PAUSE, length - 1))
        first = trace.inputs[names[0] if names else "norm"][0]
        parts.append(torch.cat((first, *(trace.outputs[name] for name in names))))
        start += TOKENS_PER_PAUSE
        yield Progress(min(start, length), length)
    return torch.cat(parts, 1)


@torch.inference_mode()
def logits_from_residual(transformer: Transformer, residual: Tensor) -> Tensor:
    """The logits of a model whose blocks end with `residual`: final norm, then unembedding; [n, d] → [n, V], float32.

    nostalgebraist 2020, "interpreting GPT: the logit lens".
    """
    return transformer.logits(transformer.final(residual.to(transformer.dtype))).float()
