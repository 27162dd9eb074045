"""The mean Jacobian of the last residual stream with respect to earlier ones, over the positions of a text.

For the stream h_n before block n, V the positions of a sequence but its first `skip` and its last one, and sequences
that count alike,

    J_n = E_sequence [ 1/|V| Σ_{t ∈ V} Σ_{t' ∈ V} ∂h_N,t' / ∂h_n,t ],        t' ≥ t, as attention is causal

(Gurnee et al. 2026, "Verbalizable Representations Form a Global Workspace in Language Models", Methods). J_N is the
identity. One vector-Jacobian product for each of d outputs gives a row of all matrices; one Jacobian-vector product for
each of N vectors gives J_n h_n without the matrices, which costs d / N times less.

Shapes: T tokens, d embedding size, N blocks.
"""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from core.causal.backward import embedded, residual_streams, run_exactly
from core.engine.model import Transformer
from core.engine.packed.linear import matrix
from core.engine.quantized import Quantized
from core.errors import UserError
from core.language import _
from core.progress import Progress

LENGTH, SKIP = 64, 16
"""Tokens of a sequence, and how many of its first positions are left out: they attend to little, some as sinks."""
MOST = 100
"""Sequences of a text at most, evenly spaced ones; more change little (Gurnee et al. 2026)."""
TOKENS = 1024
"""Positions times vectors that go through a block at once."""


@dataclass(frozen=True, slots=True)
class FitText:
    """The sequences that a mean is taken over."""

    title: str
    """What text it is, for people."""
    sequences: tuple[tuple[int, ...], ...]
    """Each of at least `skip` + 2 ids."""
    skip: int

    @property
    def positions(self) -> int:
        """How many positions are averaged, over all sequences."""
        return sum(len(ids) - 1 - self.skip for ids in self.sequences)


def fit_text(title: str, ids: list[int], context: int, length: int = LENGTH) -> FitText:
    """A text cut into sequences that follow each other; what is left over at its end is one more, if long enough.

    Of a long text `MOST` of them are taken. Raises `UserError` where there is none.
    """
    length = min(length, context)
    skip = min(SKIP, length // 4)
    pieces = [tuple(ids[n : n + length]) for n in range(0, len(ids), length)]
    sequences = tuple(piece for piece in pieces if len(piece) >= skip + 2)
    if not sequences:
        raise UserError(
            _("{title} has {count} tokens, too few to fit a lens; give at least {least}"),
            title=title,
            count=len(ids),
            least=skip + 2,
        )
    return FitText(title, sequences[:: -(-len(sequences) // MOST)], skip)


def streams_of(transformer: Transformer, ids: tuple[int, ...]) -> Generator[Progress, None, list[Tensor]]:
    """The stream before each block and after the last one, N + 1 of [1, T - 1, d]; the last id is of no use."""
    stream = embedded(transformer, torch.tensor([ids[:-1]], device=transformer.device))
    return (yield from residual_streams(transformer, stream))


# Products with the Jacobian of a block -------------------------------------------------------------------------------


@contextmanager
def plain_weights(block: nn.Module) -> Iterator[None]:
    """Plain linear maps in place of packed ones within the block; they have the same hooks."""
    packed: dict[str, Any] = {name: each for name, each in block.named_modules() if isinstance(each, Quantized)}
    try:
        for name, each in packed.items():
            outputs, inputs = each.shape
            plain = nn.Linear(inputs, outputs, bias=each.bias is not None, device="meta")
            weight = matrix(each).clone().to(next(each.buffers()).device)
            plain.weight = nn.Parameter(weight, requires_grad=False)
            if each.bias is not None:
                plain.bias = nn.Parameter(each.bias, requires_grad=False)
            plain.__dict__.update({key: value for key, value in each.__dict__.items() if "hooks" in key})
            block.set_submodule(name, plain)
        yield
    finally:
        for name, each in packed.items():
            block.set_submodule(name, each)


@contextmanager
def _function(transformer: Transformer, n: int, length: int) -> Iterator[Callable[[Tensor], Tensor]]:
    """Block n as a function of the stream [1, T, d] that can be differentiated forwards, backwards and in batches."""
    block = transformer.blocks[n]
    with plain_weights(block), sdpa_kernel(SDPBackend.MATH):  # fused attention has no forward derivative
        transformer.position(torch.arange(length, device=transformer.device))  # patches keep the positions
        yield lambda stream: run_exactly(block, stream, 0, None)


@torch.inference_mode(mode=False)
@torch.no_grad()
def push(transformer: Transformer, n: int, stream: Tensor, vectors: Tensor) -> Tensor:
    """Jacobian-vector products of block n at `stream` [1, T, d]: [k, T, d] → [k, T, d]."""
    stream, vectors = _plain(stream), _plain(vectors)
    with _function(transformer, n, stream.shape[1]) as block:
        product = torch.vmap(lambda vector: torch.func.jvp(block, (stream,), (vector[None],))[1][0])
        return product(vectors)


@torch.inference_mode(mode=False)
def puller(transformer: Transformer, n: int, stream: Tensor) -> Callable[[Tensor], Tensor]:
    """Vector-Jacobian products of block n at `stream` [1, T, d]: a function of [k, T, d] → [k, T, d]."""
    with _function(transformer, n, stream.shape[1]) as block:
        pull: Callable[[Tensor], tuple[Tensor]] = torch.func.vjp(block, _plain(stream))[1]
    product = torch.vmap(lambda vector: pull(vector[None])[0][0])

    @torch.inference_mode(mode=False)
    def pulled(vectors: Tensor) -> Tensor:
        return product(_plain(vectors)).detach()

    return pulled


def _plain(x: Tensor) -> Tensor:
    return x.clone() if x.is_inference() else x


# Means over a text ---------------------------------------------------------------------------------------------------


def sequence_product(
    transformer: Transformer, streams: list[Tensor], states: Tensor, skip: int
) -> Generator[None, None, Tensor]:
    """J_n h_n over one sequence for every n, without the matrices: states h [N, d] → [N, d]. Yields after each part."""
    blocks, length = len(transformer.blocks), streams[0].shape[1]
    vectors = states.new_zeros((0, length, states.shape[1]))
    for n in range(blocks):
        new = states.new_zeros((1, length, states.shape[1]))
        new[:, skip:] = states[n]
        parts = []
        for part in torch.cat((vectors, new)).split(max(1, TOKENS // length)):
            parts.append(push(transformer, n, streams[n], part))
            yield
        vectors = torch.cat(parts)
    return vectors[:, skip:].sum(1) / (length - skip)


def sequence_jacobians(transformer: Transformer, streams: list[Tensor], skip: int) -> Generator[None, None, Tensor]:
    """J_n over one sequence for every n, [N, d, d] on the CPU. Yields after each part.

    It holds d · T · d numbers: the gradients of the d outputs at all positions.
    """
    length, width = streams[0].shape[1], streams[0].shape[2]
    gradients = torch.zeros(width, length, width, device=streams[0].device)
    gradients[:, skip:] = torch.eye(width, device=gradients.device)[:, None]
    jacobians = torch.empty(len(transformer.blocks), width, width)
    for n in reversed(range(len(transformer.blocks))):
        pull = puller(transformer, n, streams[n])
        for part in gradients.split(max(1, TOKENS // length)):  # each is a view
            part.copy_(pull(part))
            yield
        jacobians[n] = gradients[:, skip:].mean(1)
    return jacobians


def parts_of_product(blocks: int, length: int) -> int:
    """How often `sequence_product` yields."""
    return sum(-(-(n + 1) // max(1, TOKENS // length)) for n in range(blocks))


def parts_of_jacobians(blocks: int, length: int, width: int) -> int:
    """How often `sequence_jacobians` yields."""
    return blocks * -(-width // max(1, TOKENS // length))
