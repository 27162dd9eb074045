"""The edges between the parts of a model, and their scores by edge attribution patching.

Embedding, heads and MLPs write to the residual stream: they are senders. What reads it is a receiver: the queries, keys
and values of each head, each MLP, and the logits. An edge leads from a sender to a receiver behind it. Its score is

    Σ over positions of (a_clean - a_corrupt) · ∂m/∂input,

the first-order estimate of how much m falls when this edge alone carries what its sender writes in the corrupt prompt.
The gradient is that of the clean prompt (EAP, Syed et al. 2023, §3), or its mean along the path from the corrupt to the
clean embedding (EAP-IG, Hanna et al. 2024, §3).

Shapes: T tokens, d embedding size, h heads, k key and value heads, S senders, R receivers of a block's attention.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn

from core.causal.backward import (
    Measure,
    Site,
    embedded,
    pull_block,
    pull_measure,
    read_block,
    residual_streams,
    run_exactly,
)
from core.engine.config import ModelConfig
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.errors import UserError
from core.language import _
from core.progress import Progress

PATH_STEPS = 5
"""Points on the path of EAP-IG, as in Hanna et al. 2024."""
ROWS = 256
"""Positions of points of the path that go through the model together, about."""
MOST_BYTES = 2**30
"""Memory that the senders' outputs may take."""


@dataclass(frozen=True, slots=True)
class Node:
    """A sender or a receiver."""

    kind: str
    """`embedding`, `head`, `attention` (where a norm is of all heads together), `mlp`, `q`, `k`, `v`, `logits`."""
    layer: int = -1
    index: int = 0
    """The head; for `k` and `v` the key and value head, which neighboring heads may share."""

    @property
    def name(self) -> str:
        """`embedding`, `3.h5`, `3.q5`, `3.attention`, `3.mlp`, `logits`."""
        if self.layer < 0:
            return self.kind
        letter = {"head": "h", "q": "q", "k": "k", "v": "v"}.get(self.kind)
        return f"{self.layer}.{letter}{self.index}" if letter else f"{self.layer}.{self.kind}"


class Graph:
    """The senders and receivers of a model, in the order in which they run.

    Raises `UserError` for a model whose residual stream is no sum of what its parts write.
    """

    def __init__(self, config: ModelConfig) -> None:
        if not config.blocks:
            raise UserError(
                _("this model has no blocks, so there are no edges between heads; choose model3 or a later model")
            )
        if config.layout == "post_norm":
            raise UserError(
                _(
                    "this model normalizes the residual stream after each sum, so the stream is not a sum of what "
                    "heads and MLPs write; choose a model with its norms before or inside the sublayers"
                )
            )
        self.config = config
        self.per_block = (1 if config.output_norms else config.heads) + config.feed_forward
        """Senders in a block."""
        self.attention_receivers = config.heads + 2 * config.kv_heads
        """R."""

    @cached_property
    def senders(self) -> tuple[Node, ...]:
        """S of them."""
        nodes = [Node("embedding")]
        for n in range(self.config.blocks):
            if self.config.output_norms:  # the norm is of the sum of all heads
                nodes.append(Node("attention", n))
            else:
                nodes += [Node("head", n, head) for head in range(self.config.heads)]
            if self.config.feed_forward:
                nodes.append(Node("mlp", n))
        return tuple(nodes)

    @cached_property
    def receivers(self) -> tuple[Node, ...]:
        """The queries, keys and values of each block and its MLP, and the logits last."""
        nodes = []
        for n in range(self.config.blocks):
            nodes += [Node("q", n, head) for head in range(self.config.heads)]
            nodes += [Node(kind, n, head) for kind in "kv" for head in range(self.config.kv_heads)]
            if self.config.feed_forward:
                nodes.append(Node("mlp", n))
        return (*nodes, Node("logits"))

    def before(self, receiver: Node) -> int:
        """How many senders come before a receiver: the first ones."""
        if receiver.kind == "logits":
            return len(self.senders)
        same_block = receiver.kind == "mlp" and not self.config.parallel
        return 1 + receiver.layer * self.per_block + (self.per_block - 1 if same_block else 0)

    @cached_property
    def feeds(self) -> Tensor:
        """Whether a sender is computed from what a receiver reads, [receivers, S]."""
        found = torch.zeros(len(self.receivers), len(self.senders), dtype=torch.bool)
        columns = {node: column for column, node in enumerate(self.senders)}
        for row, receiver in enumerate(self.receivers[:-1]):
            share = self.config.group if receiver.kind in ("k", "v") else 1
            heads = range(receiver.index * share, (receiver.index + 1) * share)
            if receiver.kind == "mlp":
                fed = [Node("mlp", receiver.layer)]
            elif self.config.output_norms:
                fed = [Node("attention", receiver.layer)]
            else:
                fed = [Node("head", receiver.layer, head) for head in heads]
            found[row, [columns[node] for node in fed]] = True
        return found

    @cached_property
    def exists(self) -> Tensor:
        """Whether there is an edge, [S, receivers]."""
        counts = torch.tensor([self.before(receiver) for receiver in self.receivers])
        return torch.arange(len(self.senders))[:, None] < counts

    def attention_columns(self, n: int) -> slice:
        """The receivers of the attention of block n."""
        first = n * (self.attention_receivers + self.config.feed_forward)
        return slice(first, first + self.attention_receivers)

    def check_room(self, length: int) -> None:
        """Raise `UserError` where the senders' outputs at `length` tokens do not fit."""
        each = 4 * len(self.senders) * self.config.embed_dim
        if each * length > MOST_BYTES:
            raise UserError(
                _(
                    "the prompt has {length:,} tokens, but the edges of this model fit into memory for at most "
                    "{limit:,}; shorten it"
                ),
                length=length,
                limit=MOST_BYTES // each,
            )


# What senders write --------------------------------------------------------------------------------------------------

HEADS = Site("attention.out", 0)
"""The outputs of all heads side by side, before the output projection."""


@dataclass(frozen=True, slots=True)
class Run:
    """The residual streams of a prompt, and what its heads and MLPs computed."""

    streams: list[Tensor]
    """Before each block and after the last, [1, T, d]."""
    heads: list[Tensor]
    """Of each block, [1, T, h·c]."""
    attention: list[Tensor]
    """What attention adds to the residual stream, [1, T, d]."""
    mlps: list[Tensor]
    """What the MLP adds; empty where there are none."""


def read(transformer: Transformer, ids: Tensor) -> Generator[Progress, None, Run]:
    """Read a prompt, [1, T]."""
    run = Run([embedded(transformer, ids)], [], [], [])
    sites = [HEADS, Site("attention"), Site("feed_forward")]
    for n in range(len(transformer.blocks)):
        stream, values = read_block(transformer, n, run.streams[-1], sites)
        run.streams.append(stream)
        for kept, site in zip((run.heads, run.attention, run.mlps), sites, strict=True):
            kept.extend([values[site]] if site in values else [])
        yield Progress(n + 1, len(transformer.blocks))
    return run


@torch.inference_mode(mode=False)
@torch.no_grad()
def head_writes(transformer: Transformer, n: int, difference: Tensor) -> Tensor:
    """What a difference of the heads' outputs [1, T, h·c] changes in the residual stream, by head: [h, T, d]."""
    config, block = transformer.config, cast(Any, transformer.blocks[n])
    each = torch.eye(config.heads, device=difference.device).repeat_interleave(config.head_dim, 1)  # [h, h·c]
    inputs = torch.cat((difference * each[:, None], torch.zeros_like(difference)))
    written = run_exactly(block.attention.scale, run_exactly(block.attention.out, inputs))
    return written[:-1] - written[-1:]  # without the bias


def differences(transformer: Transformer, graph: Graph, clean: Run, corrupt: Run) -> Generator[Progress, None, Tensor]:
    """What each sender writes in the clean prompt, less what it writes in the corrupt one, [S, T, d]."""
    blocks = len(clean.heads)
    parts = [clean.streams[0] - corrupt.streams[0]]
    for n in range(blocks):
        if graph.config.output_norms:
            parts.append(clean.attention[n] - corrupt.attention[n])
        else:
            parts.append(head_writes(transformer, n, clean.heads[n] - corrupt.heads[n]))
        if graph.config.feed_forward:
            parts.append(clean.mlps[n] - corrupt.mlps[n])
        yield Progress(n + 1, blocks)
    return torch.cat(parts)


# Scores --------------------------------------------------------------------------------------------------------------

QKV, MLP, MLP_STREAM = Site("attention.qkv"), Site("feed_forward", 0), Site("norm2", 0)


def edge_scores(
    transformer: Transformer, graph: Graph, clean: Run, corrupt: Run, measure: Measure, path_steps: int = 1
) -> Generator[Progress, None, Tensor]:
    """The scores of all edges, [S, receivers]; 0 where there is no edge.

    With one step this is EAP, with more EAP-IG: the gradients at the points 1/n, 2/n … 1 of the path are averaged.
    """
    written = (yield from differences(transformer, graph, clean, corrupt)).flatten(1)  # [S, T·d]
    scores = torch.zeros(len(graph.senders), len(graph.receivers)).to(written)
    shares = torch.arange(1, path_steps + 1).to(written) / path_steps
    chunks = shares.split(max(1, ROWS // clean.streams[0].shape[1]))
    blocks = len(transformer.blocks)

    def add(columns: slice, gradients: Tensor) -> None:
        """The scores of some receivers, whose gradients are [n, T, d]."""
        count = graph.before(graph.receivers[columns.start])
        scores[:count, columns] += written[:count] @ gradients.flatten(1).T / path_steps

    for number, chunk in enumerate(chunks):
        stream = torch.lerp(corrupt.streams[0], clean.streams[0], chunk[:, None, None])  # [points, T, d]
        streams = yield from residual_streams(transformer, stream, 2 * blocks * len(chunks))
        _unused, gradient = pull_measure(transformer, streams[-1], measure)
        add(slice(len(graph.receivers) - 1, len(graph.receivers)), gradient.sum(0, keepdim=True))
        for n in reversed(range(blocks)):
            gradient = _pull_receivers(transformer, graph, n, streams[n], gradient, add)
            yield Progress(2 * blocks * (number + 1) - n, 2 * blocks * len(chunks))
    return scores


def _pull_receivers(
    transformer: Transformer,
    graph: Graph,
    n: int,
    stream: Tensor,
    gradient: Tensor,
    add: Callable[[slice, Tensor], None],
) -> Tensor:
    """Add the scores of the receivers of block n; returns the gradient before it, [B, T, d]."""
    one_norm = graph.config.layout == "parallel_one_norm"
    mlp = [MLP if one_norm else MLP_STREAM] if graph.config.feed_forward else []
    norm1 = transformer.blocks[n].get_submodule("norm1")
    pulled = pull_block(transformer, n, stream, gradient, [QKV, *mlp])
    columns = graph.attention_columns(n)
    add(columns, _pull_heads(transformer, n, stream, pulled.gradients[QKV], graph.attention_receivers))
    for site in mlp:
        own = pulled.gradients[site]
        own = _pull_through(norm1, stream, own) if one_norm else own
        add(slice(columns.stop, columns.stop + 1), own.sum(0, keepdim=True))
    return pulled.gradient


def _pull_heads(transformer: Transformer, n: int, stream: Tensor, gradient: Tensor, count: int) -> Tensor:
    """From the gradient of all queries, keys and values [B, T, R·c] to that of the stream through each, [R, T, d].

    It is summed over the batch.
    """
    block = cast(Any, transformer.blocks[n])
    every = stream.expand(count, *stream.shape).flatten(0, 1)  # [R·B, T, d]
    qkv = block.attention.qkv
    if qkv._forward_hooks or qkv._forward_pre_hooks:  # of an adapter or a patch
        own = torch.eye(count, device=gradient.device).repeat_interleave(gradient.shape[-1] // count, 1)  # [R, R·c]
        each = (gradient * own[:, None, None]).flatten(0, 1)  # [R·B, T, R·c]
        pulled = _pull_through(nn.Sequential(block.norm1, qkv), every, each)
    else:
        rows = matrix(qkv).to(gradient).unflatten(0, (count, -1))  # [R, c, d]
        each = torch.einsum("btrc,rcd->rbtd", gradient.unflatten(-1, (count, -1)), rows).flatten(0, 1)
        pulled = _pull_through(block.norm1, every, each)
    return pulled.unflatten(0, (count, -1)).sum(1)


@torch.inference_mode(mode=False)
@torch.enable_grad()
def _pull_through(module: nn.Module, stream: Tensor, gradient: Tensor) -> Tensor:
    """The vector-Jacobian product of a module at `stream`."""
    leaf = stream.detach().requires_grad_()
    output = run_exactly(module, leaf)
    return torch.autograd.grad(output, leaf, gradient, allow_unused=True, materialize_grads=True)[0]
