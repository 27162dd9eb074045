"""Tries a patch on every head, layer or position, one at a time, and ranks the parts by their effect."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from core.activations.apply import PatchHooks, Replacement, replacements
from core.activations.patch import Patch, PatchKind, PatchPart
from core.activations.trace import TOKENS_PER_PAUSE, Step, empty_cache, ids_of, recording
from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.engine.prefix import CHUNK
from core.errors import UserError
from core.language import _
from core.progress import Progress
from core.sampling.distribution import Distribution
from core.sampling.divergence import kl_bits

MAX_TOKENS = 1024
"""Tokens that a sweep reads, the last ones: it holds the residual stream of all of them before every block."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What one patch does to the distribution after the last position."""

    patch: Patch
    difference: float
    """By how much logit(target) - logit(other) rises."""
    kl_bits: float
    """KL(unpatched ‖ patched), in bits."""


@dataclass(frozen=True, slots=True)
class Sweep:
    """The effects of many patches, each applied alone."""

    effects: tuple[Effect, ...]
    """Of the patches tried so far, the largest effect first."""
    total: int
    """Patches to try."""
    target: int
    """The id that came next, or the argmax where none did."""
    other: int
    """The id that the target is compared with."""
    note: str
    """What was left out; empty where nothing was."""


def all_patches(config: ModelConfig, part: PatchPart, kind: PatchKind = "zero", **more: Any) -> tuple[Patch, ...]:
    """One patch for each head, layer or position of a model; `more` are further fields of each patch."""
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
) -> Iterator[Progress | Sweep]:
    """Apply each patch alone, the last layers first; yields progress, and after each group a longer ranked result.

    A patch's layer is computed from the residual stream that enters it, so the layers below are read once. Without
    `other` the target is compared with the likeliest other token. Raises `UserError` for a part that the model does not
    have, and for no patches at all.
    """
    model, transformer = step.model, step.model.transformer
    if not patches:
        raise UserError(
            _("{name} has no part of that kind, so there is nothing to sweep over; choose another part"),
            name=model.info.name,
        )
    for patch in patches:
        patch.check(transformer.config)
    note = (
        _("only the last {max_tokens:,} tokens are read").format(max_tokens=MAX_TOKENS)
        if len(step.ids) > MAX_TOKENS
        else ""
    )
    step = replace(step, ids=step.ids[-MAX_TOKENS:], cache=None)
    length = len(step.ids)
    patches = [patch for patch in patches if patch.part != "position" or (patch.index or 0) < length]
    groups = _groups(patches, size=max(1, CHUNK // length))
    done, total = length, length + sum(len(transformer.blocks[layer:]) + 1 for layer, _ in groups)
    states, final = yield from _residual_streams(step, total)
    base = Distribution(transformer.logits(transformer.final(final)[:, -1])[0])
    target = base.argmax if step.target is None else step.target
    if other is None:
        other = next(id for id in base.head(2).tolist() if id != target)
    effects: list[Effect] = []
    by_patch = dict(zip(patches, replacements(model, patches), strict=True))
    for layer, group in groups:
        passes = _patched_logits(transformer, states[layer], layer, group, by_patch)
        while (logits := next(passes)) is None:
            done += 1
            yield Progress(done, total)
        for patch, row in zip(group, logits, strict=True):
            rise = (row[target] - row[other] - base.logits[target] + base.logits[other]).item()
            effects.append(Effect(patch, rise, kl_bits(base.logits, row)))
        effects.sort(key=lambda effect: -effect.kl_bits if by == "kl" else -abs(effect.difference))
        done += 1
        yield Progress(done, total)
        yield Sweep(tuple(effects), len(patches), target, other, note)


def _residual_streams(step: Step, total: int) -> Generator[Progress, None, tuple[list[Tensor], Tensor]]:
    """The residual stream before each block and after the last one, each [1, T, d]; progress counts tokens."""
    transformer, length = step.model.transformer, len(step.ids)
    cache, ids = empty_cache(step), ids_of(step)
    names = [f"blocks.{n}" for n in range(transformer.config.blocks)] + ["norm"]
    parts: list[list[Tensor]] = [[] for _ in names]
    yield Progress(0, total)
    for start in range(0, length, TOKENS_PER_PAUSE):
        with recording(transformer, names) as trace:
            transformer.hidden(ids[:, start : start + TOKENS_PER_PAUSE], cache)
        for states, name in zip(parts, names, strict=True):
            states.append(trace.inputs[name][0])
        yield Progress(min(start + TOKENS_PER_PAUSE, length), total)
    streams = [torch.cat(states, 1) for states in parts]
    final = streams[-1]
    # Where a position patch is installed, the recorded input has it already; the sweep's own pass applies it again.
    streams[0] = transformer.embedded(ids, 0)
    return streams, final


def _groups(patches: Sequence[Patch], size: int) -> list[tuple[int, Sequence[Patch]]]:
    """Patches of one layer, up to `size` together, the last layers first."""
    layers: dict[int, list[Patch]] = {}
    for patch in patches:
        layers.setdefault(patch.layer or 0, []).append(patch)
    return [
        (layer, same[first : first + size])
        for layer, same in sorted(layers.items(), reverse=True)
        for first in range(0, len(same), size)
    ]


def _patched_logits(
    transformer: Transformer,
    states: Tensor,
    layer: int,
    patches: Sequence[Patch],
    by_patch: dict[Patch, Replacement],
) -> Iterator[Tensor | None]:
    """None after each block, then the logits at the last position under each patch, [n, V], float32 on the CPU.

    `states` [1, T, d] enter the layer. Row i of the batch has patch i. The hooks exist only while the layer itself is
    computed, so the model is unpatched at every pause.
    """
    positions = torch.arange(states.shape[1], device=states.device)
    x = states.expand(len(patches), -1, -1)
    hooks = PatchHooks(transformer)
    for row, patch in enumerate(patches):
        hooks.add(patch, by_patch[patch], row)
    try:
        transformer.position(positions)  # every hook on `position`, also of installed patches, keeps the positions
        x = transformer.blocks[layer](x, 0, None) if transformer.config.blocks else transformer.final(x)
    finally:
        hooks.remove()
    yield None
    for block in transformer.blocks[layer + 1 :]:
        transformer.position(positions)
        x = block(x, 0, None)
        yield None
    x = transformer.final(x[:, -1:]) if transformer.config.blocks else x
    yield transformer.logits(x[:, -1]).to("cpu", torch.float32)
