"""Applies patches to a running model by forward hooks; the weights are not touched.

A patch takes one part's output and puts something else in its place. The replacement depends on the position alone,
not on how the tokens are divided into forward passes:

- `zero`   zeros, so the part adds nothing; with queries of zero a head attends equally to all keys.
- `mean`   the part's mean output over `core.training.dataset.REFERENCE`, without the first position.
- `noise`  a Gaussian vector with the norm of the output, drawn for each position from the seed. For `query` the query
           matrix is replaced by Gaussian noise of the same root mean square, without bias.
- `scale`  the output times `factor`.
- `steer`  the residual stream after a block plus `factor` times the direction of a steering vector, at every position.
           With the factor 0 there is no hook, so the model computes what it does without it, bit for bit.
- `swap`   what the part gives in another prompt, at the same position and without patches. Heads are swapped at all
           positions of that prompt, other parts at one.

The parts: a `head` is its slice of the input of the output projection; `query` all queries of a layer; `block` the sum
of what its sublayers add to the residual stream; `position` the residual stream before the first block at a position of
the model's window; `stream` the residual stream after the blocks of a steering vector.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.activations.patch import Patch
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.loading.model import Model
from core.training.dataset import REFERENCE

REFERENCE_TOKENS = 128
"""Tokens of the reference text that a mean is taken over, at most."""
NOISE_ROWS = 256
"""Positions whose noise is drawn at once, so that a position's noise does not depend on which is asked for first."""
Replacement = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""From a part's output [B, t, w], its positions [t] and the input [B, t, d] of a `query` patch's matrix: [B, t, w]."""


# Applying patches ----------------------------------------------------------------------------------------------------


class InstalledPatches:
    """Patches that act on every forward pass of a model until `remove`. An empty list registers no hook.

    Raises `UserError` for a part the model does not have.
    """

    def __init__(self, model: Model, patches: Sequence[Patch]) -> None:
        transformer = model.transformer
        for patch in patches:
            patch.check(transformer.config)
        self.patches = tuple(patches)
        self._acting = [acting for patch in patches for acting in patch.acting]
        self._replacements = replacements(model, self._acting)
        self._hooks = PatchHooks(transformer)
        self._install()

    def _install(self) -> None:
        for patch, replacement in zip(self._acting, self._replacements, strict=True):
            self._hooks.add(patch, replacement)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The model without these patches, within the block."""
        self._hooks.remove()
        try:
            yield
        finally:
            self._install()

    def remove(self) -> None:
        """Remove the patches from the model."""
        self._hooks.remove()


@contextmanager
def patched(model: Model, patches: Sequence[Patch]) -> Iterator[None]:
    """The model with patches, within the block. Raises `UserError` for a part the model does not have."""
    installed = InstalledPatches(model, patches)
    try:
        yield
    finally:
        installed.remove()


class PatchHooks:
    """Registers the hooks of patches, and keeps the positions of the pass that is going through the model."""

    def __init__(self, transformer: Transformer) -> None:
        self._transformer = transformer
        self._hooks = ForwardHooks()
        self._positions = torch.empty(0, dtype=torch.long)
        """Positions of the present forward pass, [t]."""

    def add(self, patch: Patch, replacement: Replacement, row: int | None = None) -> None:
        """Apply a replacement at a patch's part, in all rows of a batch or in one."""
        if not self._hooks:
            self._hooks.before(self._transformer.position, self._keep_positions)

        def apply(x: Tensor, matrix_input: Tensor | None = None) -> Tensor:
            if row is None:
                return replacement(x, self._positions.to(x.device), matrix_input).to(x.dtype)
            own = slice(row, row + 1)
            x = x.clone()
            own_input = None if matrix_input is None else matrix_input[own]
            x[own] = replacement(x[own], self._positions.to(x.device), own_input).to(x.dtype)
            return x

        self._register(patch, apply)

    def _keep_positions(self, module: nn.Module, inputs: tuple[Tensor]) -> None:
        self._positions = inputs[0]

    def _register(self, patch: Patch, apply: Callable[..., Tensor]) -> None:
        config, hooks = self._transformer.config, self._hooks
        if patch.part == "position":
            first = self._transformer.blocks[patch.layer or 0] if config.blocks else self._transformer.norm
            hooks.before(first, partial(self._at_position, patch.index, apply))
            return
        block: Any = self._transformer.blocks[patch.layer or 0]
        match patch.part:
            case "head":
                head = slice((patch.index or 0) * config.head_dim, ((patch.index or 0) + 1) * config.head_dim)
                hooks.before(block.attention.out, lambda _, inputs: (_in_slice(inputs[0], head, apply),))
            case "query":
                queries = slice(0, config.heads * config.head_dim)
                hooks.after(
                    block.attention.qkv,
                    lambda _, inputs, output: _in_slice(output, queries, partial(apply, matrix_input=inputs[0])),
                )
            case "stream":
                hooks.after(block, lambda _, inputs, output: apply(output))
            case "block":
                hooks.after(block, lambda _, inputs, output: _around(apply, inputs[0].to(output.device), output))
            case _:
                sublayer = block.attention if patch.part == "attention" else block.feed_forward
                hooks.after(sublayer, lambda _, inputs, output: apply(output))

    def _at_position(
        self, index: int | None, apply: Callable[..., Tensor], module: nn.Module, inputs: tuple[Any, ...]
    ) -> tuple[Any, ...]:
        here = self._positions >= 0 if index is None else self._positions == index
        x = inputs[0].clone()
        return (x if not here.any() else torch.where(here[:, None], apply(x), x), *inputs[1:])

    def remove(self) -> None:
        self._hooks.remove()


def _around(apply: Callable[[Tensor], Tensor], before: Tensor, after: Tensor) -> Tensor:
    """The stream after a block with `apply` on what the block added to it."""
    return before + apply(after - before)


def _in_slice(x: Tensor, part: slice, apply: Callable[[Tensor], Tensor]) -> Tensor:
    """A copy of `x` [B, t, w] with `apply` on a slice of its width."""
    x = x.clone()
    x[..., part] = apply(x[..., part])
    return x


# Replacements --------------------------------------------------------------------------------------------------------


def replacements(model: Model, patches: Sequence[Patch]) -> list[Replacement]:
    """The replacement of each patch. Means are taken here, in one pass over the reference text."""
    recorded = _means(model, [patch for patch in patches if patch.kind == "mean"])
    recorded |= _others(model.transformer, [patch for patch in patches if patch.kind == "swap"])
    return [_replacement(model.transformer, patch, recorded) for patch in patches]


def _replacement(transformer: Transformer, patch: Patch, recorded: dict[Patch, Tensor]) -> Replacement:
    match patch.kind:
        case "zero":
            return lambda x, positions, matrix_input: torch.zeros_like(x)
        case "scale":
            return lambda x, positions, matrix_input: x * patch.factor
        case "mean":
            return lambda x, positions, matrix_input: recorded[patch].expand_as(x)
        case "swap":
            return partial(_swapped, recorded[patch], None if patch.part == "head" else patch.index)
        case "steer":
            added = _steering(transformer, patch)
            return lambda x, positions, matrix_input: x + added.to(x.device)
    if patch.part == "query":
        weight = _noisy_queries(transformer, patch)
        return lambda x, positions, matrix_input: (
            x if matrix_input is None else F.linear(matrix_input, weight.to(x.device))
        )
    return _Noise(patch)


def _swapped(
    other: Tensor, index: int | None, x: Tensor, positions: Tensor, matrix_input: Tensor | None = None
) -> Tensor:
    """`x` [B, t, w] with the rows of `other` [n, w] at the same positions, or at one of them."""
    here = positions < len(other) if index is None else positions == index
    x = x.clone()
    x[:, here] = other[positions[here]].to(x.dtype)
    return x


def _steering(transformer: Transformer, patch: Patch) -> Tensor:
    """What a `steer` patch of one layer adds, [d], float32."""
    assert patch.vector is not None
    direction = bytearray(patch.vector.directions[0][1])
    return torch.frombuffer(direction, dtype=torch.float32).to(transformer.device) * patch.factor


def _generator(patch: Patch) -> torch.Generator:
    key = f"{patch.seed}:{patch.part}:{patch.layer}:{patch.index}"
    return torch.Generator().manual_seed(random.Random(key).getrandbits(63))


class _Noise:
    """A Gaussian vector for each position, with the norm of the output that it replaces."""

    def __init__(self, patch: Patch) -> None:
        self._generator = _generator(patch)
        self._table = torch.empty(0)
        """Noise of the positions drawn so far, [n, w]."""

    def __call__(self, x: Tensor, positions: Tensor, matrix_input: Tensor | None) -> Tensor:
        while len(self._table) <= int(positions.max()):
            more = torch.randn(NOISE_ROWS, x.shape[-1], generator=self._generator)
            self._table = torch.cat((self._table, more)) if len(self._table) else more
        noise = self._table[positions.cpu()].to(x.device)
        return F.normalize(noise, dim=-1) * x.float().norm(dim=-1, keepdim=True)


@torch.inference_mode()
def _noisy_queries(transformer: Transformer, patch: Patch) -> Tensor:
    """A Gaussian matrix with the root mean square of a layer's query matrix, [h·c, d]."""
    config = transformer.config
    weight = matrix(transformer.get_submodule(f"blocks.{patch.layer}.attention.qkv"), 0, config.heads * config.head_dim)
    noise = torch.randn(weight.shape, generator=_generator(patch)) * weight.square().mean().sqrt()
    return noise.to(transformer.device, transformer.dtype)


@torch.inference_mode()
def _means(model: Model, patches: Sequence[Patch]) -> dict[Patch, Tensor]:
    """The mean output of each patch's part over the reference text, [w]."""
    if not patches:
        return {}
    transformer, means = model.transformer, dict[Patch, Tensor]()
    ids = model.tokenizer.encode(REFERENCE)[: min(REFERENCE_TOKENS, transformer.config.context)]

    def keep_mean(patch: Patch, x: Tensor, positions: Tensor, matrix_input: Tensor | None) -> Tensor:
        means[patch] = x[0, 1:].float().mean(0) if x.shape[1] > 1 else x[0, 0].float()
        return x

    _record(transformer, ids, {patch: partial(keep_mean, patch) for patch in patches})
    return means


@torch.inference_mode()
def _others(transformer: Transformer, patches: Sequence[Patch]) -> dict[Patch, Tensor]:
    """What the part of each `swap` gives in its other prompt, [n, w]; prompts that are equal are read once."""
    found: dict[Patch, Tensor] = {}

    def keep(patch: Patch, x: Tensor, positions: Tensor, matrix_input: Tensor | None) -> Tensor:
        found[patch] = x[0].clone()
        return x

    for ids in dict.fromkeys(patch.ids for patch in patches):
        _record(transformer, ids, {patch: partial(keep, patch) for patch in patches if patch.ids == ids})
    return found


def _record(transformer: Transformer, ids: Sequence[int], keepers: dict[Patch, Replacement]) -> None:
    """Read ids under replacements that keep what they see, at all positions."""
    hooks = PatchHooks(transformer)
    for patch, keep in keepers.items():
        hooks.add(replace(patch, index=None) if patch.part == "position" else patch, keep)
    try:
        transformer.hidden(torch.tensor([list(ids)], device=transformer.device))
    finally:
        hooks.remove()
