"""A model of which only some edges run: every other edge carries what its sender writes in the corrupt prompt.

The input of each receiver is then

    its input in the corrupt prompt + Σ over its kept edges (what the sender writes in this run - in the corrupt one).

Faithfulness is (m(circuit) - m(corrupt)) / (m(clean) - m(corrupt)): 1 with all edges, 0 with none
(Hanna et al. 2024, §2; Wang et al. 2022, §4).

Shapes: T tokens, d embedding size, S senders, R receivers of a block's attention, h heads, c head size.
"""

from collections.abc import Generator, Sequence
from typing import Any, cast

import torch
from torch import Tensor

from core.causal.backward import Site, keep, keep_positions, last_logits, run_exactly
from core.causal.edges import HEADS, Graph, Run, head_writes
from core.engine.hooks import ForwardHooks
from core.engine.model import Transformer
from core.progress import Progress


def strongest(graph: Graph, scores: Tensor, count: int) -> list[tuple[int, int]]:
    """The `count` edges with the largest absolute scores, as (sender, receiver), the strongest first."""
    sizes = scores.abs().masked_fill(~graph.exists.to(scores.device), -1).flatten()
    order = sizes.topk(min(count, int(graph.exists.sum()))).indices.tolist()
    return [divmod(index, scores.shape[1]) for index in order]


def mask_of(graph: Graph, edges: Sequence[tuple[int, int]]) -> Tensor:
    """Edges as [S, receivers], bool."""
    kept = torch.zeros(len(graph.senders), len(graph.receivers), dtype=torch.bool)
    for sender, receiver in edges:
        kept[sender, receiver] = True
    return kept & graph.exists


def connected(graph: Graph, kept: Tensor) -> Tensor:
    """The kept edges that lie on a path from the embedding to the logits: the others change nothing, [S, receivers]."""
    reached = torch.zeros(len(graph.senders), dtype=torch.bool)
    wanted = torch.zeros(len(graph.receivers), dtype=torch.bool)
    reached[0] = wanted[-1] = True
    count = 0
    while count != (count := int(reached.sum() + wanted.sum())):
        reached |= (graph.feeds & (kept & reached[:, None]).any(0)[:, None]).any(0)
        wanted |= (graph.feeds & (kept & wanted).any(1)).any(1)
    return kept & reached[:, None] & wanted


# The run -------------------------------------------------------------------------------------------------------------


def circuit_logits(
    transformer: Transformer, graph: Graph, kept: Tensor, clean: Run, corrupt: Run
) -> Generator[Progress, None, Tensor]:
    """The logits at the last position of a run in which only the `kept` edges [S, receivers] run, [1, V]."""
    blocks = len(transformer.blocks)
    written = clean.streams[0] - corrupt.streams[0]  # of the senders so far, less the corrupt prompt, [senders, T, d]
    for n in range(blocks):
        written = _through(transformer, graph, n, kept, written, corrupt)
        yield Progress(n + 1, blocks)
    return last_logits(transformer, _inputs(kept[:, -1:], written, corrupt.streams[-1]))


@torch.inference_mode(mode=False)
@torch.no_grad()
def _through(transformer: Transformer, graph: Graph, n: int, kept: Tensor, written: Tensor, corrupt: Run) -> Tensor:
    """What the senders up to block n write, [senders, T, d]."""
    block, stream, config = cast(Any, transformer.blocks[n]), corrupt.streams[n], graph.config
    keep_positions(transformer, stream)
    columns = graph.attention_columns(n)
    qkv = _queries_keys_values(block, kept[: len(written), columns], written, stream)
    values = dict[Site, Tensor]()
    with ForwardHooks() as hooks:
        hooks.after(block.attention.qkv, lambda _, inputs, output: qkv.to(output.device))
        keep(hooks, block.attention.out, HEADS, values)
        attention = run_exactly(block.attention, run_exactly(block.norm1, stream), 0, None)
    if config.output_norms:
        written = torch.cat((written, attention - corrupt.attention[n]))
    else:
        written = torch.cat((written, head_writes(transformer, n, values[HEADS].to(stream.device) - corrupt.heads[n])))
    if not config.feed_forward:
        return written
    receiver = columns.stop
    count = graph.before(graph.receivers[receiver])
    before = stream if config.parallel else stream + corrupt.attention[n]
    x = _inputs(kept[:count, receiver : receiver + 1], written[:count], before)
    norm = block.norm1 if config.layout == "parallel_one_norm" else block.norm2
    return torch.cat((written, run_exactly(block.feed_forward, run_exactly(norm, x)) - corrupt.mlps[n]))


def _queries_keys_values(block: Any, kept: Tensor, written: Tensor, stream: Tensor) -> Tensor:
    """The queries, keys and values of a block, each from its own input: [1, T, R·c].

    Receivers with the same kept edges share one input.
    """
    distinct, which = kept.unique(dim=1, return_inverse=True)
    x = _inputs(distinct, written, stream)  # [distinct, T, d]
    every = run_exactly(block.attention.qkv, run_exactly(block.norm1, x)).unflatten(-1, (kept.shape[1], -1))
    own = every[which.to(x.device), :, torch.arange(kept.shape[1], device=x.device)]  # [R, T, c]
    return own.transpose(0, 1).flatten(1)[None]


def _inputs(kept: Tensor, written: Tensor, stream: Tensor) -> Tensor:
    """The inputs of n receivers [n, T, d]: `kept` is [senders, n], `written` [senders, T, d], `stream` [1, T, d]."""
    return stream + torch.einsum("sn,std->ntd", kept.to(written), written)
