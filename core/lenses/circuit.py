"""A circuit: the edges between heads and MLPs that carry the difference between two prompts, and how much they explain.

`core.causal.edges` scores all edges, `core.causal.circuit` runs a model with the strongest of them alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal, get_args

import torch
from torch import Tensor

from core.activations.patch import Patch
from core.activations.trace import Step, ids_of
from core.causal.backward import last_logits
from core.causal.circuit import circuit_logits, connected, mask_of, strongest
from core.causal.edges import PATH_STEPS, Graph, edge_scores, read
from core.causal.question import CausalQuestion, Measured
from core.causal.table import Table
from core.engine.model import Transformer
from core.errors import UserError
from core.language import _
from core.progress import Progress

Method = Literal["eap-ig", "eap"]
"""How edges are scored: with the mean gradient along the path from the corrupt to the clean embedding, or with the
gradient of the clean prompt alone."""
METHODS: tuple[Method, ...] = get_args(Method)
LISTED = 300
"""Edges that an answer lists by default."""
LEAST = 1e-3
"""Nats by which the measures of both prompts differ at least."""
SHOWN = 5
"""Likeliest tokens that are given for a circuit."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge: `3.h5` is head 5 of block 3, `8.q2` the queries of head 2 of block 8; `k` and `v` keys and values."""

    sender: str
    receiver: str
    score: float
    """The estimate of how much the measure falls when this edge alone carries the corrupt prompt, in nats."""


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """A token that is likely after the prompt when only a circuit runs."""

    piece: bytes
    probability: float
    clean: float
    """Its probability in the whole model."""


@dataclass(frozen=True, slots=True)
class Faithfulness:
    """How much of the measure the strongest edges carry, computed exactly."""

    edges: int
    """The strongest edges that are kept, k."""
    connected: int
    """Those of them on a path from the embedding to the logits; the others change nothing."""
    value: float
    """The measure with these edges alone, in nats."""
    share: float
    """(m(circuit) - m(corrupt)) / (m(clean) - m(corrupt)): 0 is the corrupt prompt, 1 the clean one."""
    likely: tuple[LikelyToken, ...]
    """The likeliest tokens with these edges alone."""
    nodes: tuple[str, ...]
    """The heads and MLPs on a path from the embedding to the logits."""
    off: tuple[int, ...]
    """Of the listed edges those that are kept and lie on no such path, by their index."""


@dataclass(frozen=True, slots=True)
class Circuit:
    """The strongest edges, and the faithfulness of more and more of them."""

    asked: Measured
    """The question after the clean prompt."""
    clean: float
    """m after the clean prompt, in nats."""
    corrupt: float
    """m after the corrupt prompt, in nats."""
    method: Method
    edges: tuple[Edge, ...]
    """The strongest first."""
    total: int
    """All edges of the model."""
    curve: tuple[Faithfulness, ...]
    """By the number of edges, those computed so far."""
    parts: tuple[str, ...]
    """All heads and MLPs of the model, as edges name them."""


def circuit(
    step: Step, question: CausalQuestion = CausalQuestion(), method: Method = "eap-ig", count: int = LISTED
) -> Iterator[Progress | Circuit]:
    """Score all edges, then run 1, 3, 10, 30 … of the strongest alone, up to all.

    Raises `UserError` for prompts that cannot be compared position by position, and a model without a sum of parts.
    """
    if method not in METHODS:
        raise UserError(
            _("{method!r} is not a method to score edges; choose one of {choices}"),
            method=method,
            choices=", ".join(METHODS),
        )
    transformer = step.model.transformer
    graph = Graph(transformer.config)
    _refuse_changed_streams(transformer)
    graph.check_room(len(step.ids))
    other = torch.tensor([question.aligned_ids(step.ids, transformer.config.context)], device=transformer.device)
    clean = yield from read(transformer, ids_of(step))
    corrupt = yield from read(transformer, other)
    logits, low = (last_logits(transformer, run.streams[-1])[0].detach() for run in (clean, corrupt))
    asked = question.measured(logits, step.model.tokenizer.piece)
    measure = asked.target.measure
    bottom = measure(low).item()
    _refuse_equal(asked.value, bottom)
    path_steps = PATH_STEPS if method == "eap-ig" else 1
    scores = yield from edge_scores(transformer, graph, clean, corrupt, measure, path_steps)
    total = int(graph.exists.sum())
    order = strongest(graph, scores, total)
    edges = tuple(_edge(graph, scores, edge) for edge in order[: max(1, count)])
    parts = tuple(node.name for node in graph.senders[1:])
    answer = Circuit(asked, asked.value, bottom, method, edges, total, (), parts)
    yield answer
    for kept_count in curve_counts(total):
        kept = mask_of(graph, order[:kept_count])
        useful = connected(graph, kept)
        found = (yield from circuit_logits(transformer, graph, kept, clean, corrupt))[0]
        value = measure(found).item()
        point = Faithfulness(
            edges=kept_count,
            connected=int(useful.sum()),
            value=value,
            share=(value - bottom) / (asked.value - bottom),
            likely=_likely(step, found.softmax(-1), logits.softmax(-1)),
            nodes=tuple(name for name, writes in zip(parts, useful.any(1)[1:].tolist(), strict=True) if writes),
            off=tuple(n for n, edge in enumerate(order[: min(kept_count, len(edges))]) if not useful[edge]),
        )
        answer = replace(answer, curve=(*answer.curve, point))
        yield answer


def patches_outside(answer: Circuit, point: Faithfulness) -> tuple[Patch, ...]:
    """A patch for each head and MLP outside a circuit: it carries its mean over a reference text, at all positions.

    That keeps the circuit's nodes, and all edges between them, for any text; the faithfulness of edges is that of the
    two prompts alone.
    """
    return tuple(_mean_patch(name) for name in answer.parts if name not in set(point.nodes))


def _mean_patch(name: str) -> Patch:
    layer, _unused, part = name.partition(".")
    if part.startswith("h"):
        return Patch(kind="mean", part="head", layer=int(layer), index=int(part[1:]))
    return Patch(kind="mean", part="mlp" if part == "mlp" else "attention", layer=int(layer))


def table(answer: Circuit) -> Table:
    """One row for each edge, the strongest first; the faithfulness of the edges up to a row where it was computed."""
    shares = {point.edges: point.share for point in answer.curve}
    rows = tuple(
        (number, edge.sender, edge.receiver, edge.score, shares.get(number))
        for number, edge in enumerate(answer.edges, 1)
    )
    return Table(("rank", "sender", "receiver", "score", "faithfulness"), rows)


def curve_counts(total: int) -> list[int]:
    """1, 3, 10, 30 … below a total, and the total."""
    counts = [unit * 10**power for power in range(len(str(total))) for unit in (1, 3)]
    return [*(count for count in counts if count < total), total]


def _edge(graph: Graph, scores: Tensor, edge: tuple[int, int]) -> Edge:
    sender, receiver = edge
    return Edge(graph.senders[sender].name, graph.receivers[receiver].name, scores[sender, receiver].item())


def _likely(step: Step, probabilities: Tensor, whole: Tensor) -> tuple[LikelyToken, ...]:
    """The likeliest tokens of a circuit [V], and their probabilities in the whole model [V]."""
    likeliest = probabilities.topk(min(SHOWN, len(probabilities))).indices.tolist()
    piece = step.model.tokenizer.piece
    return tuple(LikelyToken(piece(id), probabilities[id].item(), whole[id].item()) for id in likeliest)


def _refuse_equal(clean: float, corrupt: float) -> None:
    """Raise `UserError` where both prompts have the same measure."""
    if not abs(clean - corrupt) >= LEAST:
        raise UserError(
            _(
                "the measure is the same after both prompts ({clean:+.3f} and {corrupt:+.3f} nats), so there is no "
                "difference to explain; choose two tokens whose logits differ between the prompts"
            ),
            clean=clean,
            corrupt=corrupt,
        )


def _refuse_changed_streams(transformer: Transformer) -> None:
    """Raise `UserError` where a patch acts on the residual stream itself, which is then no sum of what parts write."""
    for block in transformer.blocks:
        if block._forward_hooks or block._forward_pre_hooks:
            raise UserError(
                _(
                    "a patch or steering vector changes the residual stream, so it is not the sum of what heads and "
                    "MLPs write; remove it"
                )
            )
