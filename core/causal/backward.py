"""Gradients of a measure with respect to activations of the loaded model, whatever computes it.

The pass keeps the residual stream before each block and nothing else. Going back, one block at a time is computed again
with a graph, and its gradients are taken (gradient checkpointing, Chen et al. 2016). So the memory beside the weights
is that of one block. A weight gets no gradient. It takes part in float32 or better: where it is stored in 16 bits, a
block's weights are converted while that block is computed. Packed weights are dequantized a few rows at a time.

Patches and adapters that act on the model take part, since its own modules run with their hooks.

Shapes: B batch, T tokens, d embedding size, N blocks, V vocabulary.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.progress import Progress

Measure = Callable[[Tensor], Tensor]
"""From the logits at the last position [B, V] to a measure [B] that can be differentiated, as `Target.measure`."""


@dataclass(frozen=True, slots=True)
class Site:
    """An activation inside a block: the output of a module, or one of its inputs."""

    module: str
    """The name within the block: `attention`, `feed_forward`, `attention.attend` …"""
    input: int | None = None
    """Which positional input; None is the output."""


@dataclass(frozen=True, slots=True)
class Gradients:
    """A measure, and its gradient with respect to activations; row b of the batch has its own measure."""

    measure: Tensor
    """[B], float32 or better."""
    streams: Sequence[Tensor]
    """The residual stream before each block and after the last one, N + 1 of [B, T, d]."""
    stream_gradients: Sequence[Tensor]
    """∂measure / ∂stream, of the same shapes."""
    values: Mapping[tuple[int, Site], Tensor]
    """By block and site; a module that a model lacks has none."""
    gradients: Mapping[tuple[int, Site], Tensor]
    """∂measure / ∂value, of the same shapes."""


def gradients(
    transformer: Transformer, stream: Tensor, measure: Measure, sites: Iterable[Site] = ()
) -> Generator[Progress, None, Gradients]:
    """Gradients of a measure at the last position, from the stream before the first block [B, T, d].

    `embedded` gives that stream. Yields after each block, forward and backward; no hook is on the model meanwhile.
    """
    sites, blocks = tuple(sites), len(transformer.blocks)
    streams = yield from residual_streams(transformer, stream, 2 * blocks)
    value, gradient = pull_measure(transformer, streams[-1], measure)
    values: dict[tuple[int, Site], Tensor] = {}
    found: dict[tuple[int, Site], Tensor] = {}
    stream_gradients = [gradient]
    for n in reversed(range(blocks)):
        pulled = pull_block(transformer, n, streams[n], stream_gradients[0], sites)
        stream_gradients.insert(0, pulled.gradient)
        values |= {(n, site): each for site, each in pulled.values.items()}
        found |= {(n, site): each for site, each in pulled.gradients.items()}
        yield Progress(2 * blocks - n, 2 * blocks)
    return Gradients(value, streams, stream_gradients, values, found)


# Forward -------------------------------------------------------------------------------------------------------------


@torch.inference_mode(mode=False)
@torch.no_grad()
def token_embedding(transformer: Transformer, ids: Tensor) -> Tensor:
    """The rows of the embedding matrix: [B, T] → [B, T, width of the matrix], float32 or better."""
    return _exact(transformer.embed(ids))


@torch.inference_mode(mode=False)
def stream_of(transformer: Transformer, embedding: Tensor) -> Tensor:
    """The stream before the first block from `token_embedding`, [B, T, width] → [B, T, d]; it can be differentiated."""
    factor = _exact(transformer.embed_scale(torch.ones((), dtype=transformer.dtype, device=embedding.device)))
    placed = run_exactly(transformer.embed_norm, run_exactly(transformer.project_in, embedding * factor))
    return placed + run_exactly(transformer.position, torch.arange(embedding.shape[1], device=embedding.device))


@torch.no_grad()
def embedded(transformer: Transformer, ids: Tensor) -> Tensor:
    """The stream before the first block, [B, T] → [B, T, d], float32 or better."""
    return stream_of(transformer, token_embedding(transformer, ids))


def residual_streams(
    transformer: Transformer, stream: Tensor, total: int | None = None
) -> Generator[Progress, None, list[Tensor]]:
    """The stream before each block and after the last one, N + 1 of [B, T, d]; yields after each block."""
    streams = [stream.detach()]
    for n in range(len(transformer.blocks)):
        streams.append(read_block(transformer, n, streams[-1])[0])
        yield Progress(n + 1, total or len(transformer.blocks))
    return streams


@torch.inference_mode(mode=False)
@torch.no_grad()
def read_block(
    transformer: Transformer, n: int, stream: Tensor, sites: Iterable[Site] = ()
) -> tuple[Tensor, dict[Site, Tensor]]:
    """The stream after block n, [B, T, d] → [B, T, d], and the activations at sites within it."""
    kept = dict[Site, Tensor]()
    with ForwardHooks() as hooks:
        for site in sites:
            keep(hooks, transformer.blocks[n].get_submodule(site.module), site, kept)
        output = _through_block(transformer, n, stream)
        return output, {site: value.to(stream.device) for site, value in kept.items()}


# Backward ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a gradient after a block is before it, and at sites within."""

    gradient: Tensor
    """With respect to the stream before the block, [B, T, d]."""
    values: Mapping[Site, Tensor]
    gradients: Mapping[Site, Tensor]


@torch.inference_mode(mode=False)
@torch.enable_grad()
def pull_measure(transformer: Transformer, stream: Tensor, measure: Measure) -> tuple[Tensor, Tensor]:
    """A measure of the logits at the last position, and its gradient: [B, T, d] → [B], [B, T, d]."""
    leaf = _leaf(stream)
    value = measure(last_logits(transformer, leaf))
    (gradient,) = torch.autograd.grad(value.sum(), leaf, allow_unused=True, materialize_grads=True)
    return value.detach(), gradient


@torch.inference_mode(mode=False)
def last_logits(transformer: Transformer, stream: Tensor) -> Tensor:
    """Logits after the last position from the stream after the last block, [B, T, d] → [B, V]."""
    state = stream[:, -1:] if len(transformer.blocks) else stream  # a patch of a position needs them all there
    for module in (transformer.norm, transformer.activation, transformer.scale, transformer.project_out):
        state = run_exactly(module, state)
    return run_exactly(transformer.cap, run_exactly(transformer.unembed, state[:, -1]))


@torch.inference_mode(mode=False)
@torch.enable_grad()
def pull_block(
    transformer: Transformer, n: int, stream: Tensor, gradient: Tensor, sites: Iterable[Site] = ()
) -> Pulled:
    """Take a gradient from after block n to before it: the vector-Jacobian product of the block at `stream`.

    `stream` and `gradient` are [B, T, d]. The block is computed again.
    """
    leaf, kept = _leaf(stream), dict[Site, Tensor]()
    with ForwardHooks() as hooks:
        for site in sites:
            keep(hooks, transformer.blocks[n].get_submodule(site.module), site, kept)
        output = _through_block(transformer, n, leaf)
    whole, *found = torch.autograd.grad(
        output, [leaf, *kept.values()], gradient, allow_unused=True, materialize_grads=True
    )
    here = stream.device
    values = {site: value.detach().to(here) for site, value in kept.items()}
    return Pulled(whole, values, {site: each.to(here) for site, each in zip(kept, found, strict=True)})


def keep(hooks: ForwardHooks, module: nn.Module, site: Site, kept: dict[Site, Tensor]) -> None:
    """Keep the activation at a site when its module runs; one that is no tensor (an absent part) is not kept.

    An input is kept as a copy, so that its gradient is that of this use alone. An activation that a patch replaced by
    a constant becomes a leaf of the graph.
    """

    def kept_value(value: Any) -> Any:
        if isinstance(value, Tensor):
            in_graph = value.requires_grad or not torch.is_grad_enabled()
            kept[site] = value.view_as(value) if in_graph else _leaf(value)
        return kept.get(site, value)

    if site.input is None:
        hooks.after(module, lambda _, inputs, output: kept_value(output))
    else:
        at = site.input
        hooks.before(module, lambda _, inputs: (*inputs[:at], kept_value(inputs[at]), *inputs[at + 1 :]))


def keep_positions(transformer: Transformer, stream: Tensor) -> None:
    """Let the hooks of patches keep the positions of a stream [B, T, d] whose block is run alone."""
    transformer.position(torch.arange(stream.shape[1], device=stream.device))


def _through_block(transformer: Transformer, n: int, stream: Tensor) -> Tensor:
    keep_positions(transformer, stream)
    return run_exactly(transformer.blocks[n], stream, 0, None)


# Weights -------------------------------------------------------------------------------------------------------------


def run_exactly(module: nn.Module, *inputs: Any) -> Any:
    """Run a module with its weights in float32 or better, as constants. The output is where the first input is."""
    weights = {name: _constant(parameter) for name, parameter in module.named_parameters()}
    output = functional_call(module, weights, inputs) if weights else module(*inputs)
    return output.to(inputs[0].device) if isinstance(output, Tensor) else output


def _constant(parameter: Tensor) -> Tensor:
    """A weight that takes part in a graph and gets no gradient."""
    weight = _exact(parameter.detach())
    return weight.clone() if weight.is_inference() else weight


def _exact(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _leaf(stream: Tensor) -> Tensor:
    leaf = stream.detach()
    return (leaf.clone() if leaf.is_inference() else leaf).requires_grad_()
