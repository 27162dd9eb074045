"""What the weights of the heads do without a text: copying, and composition with earlier heads (Elhage et al. 2021).

Vectors of the residual stream are rows. A head has four matrices: W_Q, W_K, W_V [d, c] read the stream and W_O [c, d]
writes to it; W_QK = W_Q W_Kᵀ and W_OV = W_V W_O. What is folded into them, as TransformerLens's `fold_ln` does: the
weight of the norm that the attention reads through, and the centering of a layer norm. Also the weight of a norm and
the factor behind the attention, where there are such. What is left out: biases, the division by the norm's σ, norms of
queries and keys, rotary and other positions. Query heads that share keys and values have the same W_K and W_V.

- Copying: Σ Re λ / Σ |λ| over the eigenvalues λ of W_E W_OV W_U, the effect of a token that is attended to on the
  logits, from -1 to 1; 1 raises the logit of every token that is attended to. W_U has the final norm folded.
- Composition of head 2 with an earlier head 1: ‖W_OV¹ W_QK²‖ (Q), ‖W_OV¹ W_QK²ᵀ‖ (K) or ‖W_OV¹ W_OV²‖ (V) in the
  Frobenius norm, divided by the norms of the two factors. Independent directions give about 1/√d.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn

from core.engine.model import Block, Transformer
from core.engine.packed.linear import matrix

Composition = Literal["q", "k", "v"]
ROWS_AT_ONCE = 8192
"""Rows of the embedding and unembedding that are unpacked together."""


@dataclass(frozen=True, slots=True)
class HeadMatrices:
    """The matrices of the h heads of one layer, float32 on the CPU."""

    q: Tensor
    """[h, d, c]."""
    k: Tensor
    """[h, d, c]."""
    v: Tensor
    """[h, d, c]."""
    o: Tensor
    """[h, c, d]."""


@torch.inference_mode()
def head_matrices(transformer: Transformer, layer: int) -> HeadMatrices:
    """The matrices of a layer, unpacked and with the norms folded."""
    config, block = transformer.config, cast(Block, transformer.blocks[layer])
    attention: Any = block.attention
    h, k, c = config.heads, config.kv_heads, config.head_dim
    reads = matrix(attention.qkv).T  # [d, (h + 2k) c]
    if config.layout != "post_norm":
        reads = _fold(block.norm1, reads)
    q, keys, v = (part.unflatten(1, (-1, c)).transpose(0, 1) for part in reads.split([h * c, k * c, k * c], dim=1))
    o = matrix(attention.out).T.unflatten(0, (h, c))
    weight = getattr(attention.norm, "weight", None)
    if weight is not None:
        o = o * weight.detach().float().cpu()
    o = o * getattr(attention.scale, "factor", 1.0)
    return HeadMatrices(q, keys.repeat_interleave(h // k, 0), v.repeat_interleave(h // k, 0), o)


def _fold(norm: nn.Module, weight: Tensor) -> Tensor:
    """`weight` [d, n], which is applied to the output of a norm, as applied to its input divided by σ."""
    scale = getattr(norm, "weight", None)
    if scale is not None:
        weight = weight * scale.detach().float().cpu()[:, None]
    return weight - weight.mean(0) if isinstance(norm, nn.LayerNorm) else weight


@torch.inference_mode()
def token_map(transformer: Transformer) -> Iterator[int | Tensor]:
    """W_U W_E, [d, d]: from a direction that attention writes, through all logits, to the embedding of their tokens.

    Yields how many of the V tokens are done, then the product. The final norm is folded into W_U; an activation before
    the unembedding is left out.
    """
    vocab_size, width = transformer.config.vocab_size, transformer.config.table_dim
    total = torch.zeros(width, width)
    for start in range(0, vocab_size, ROWS_AT_ONCE):
        end = min(start + ROWS_AT_ONCE, vocab_size)
        total += matrix(transformer.unembed, start, end).T @ matrix(transformer.embed, start, end)
        yield end
    if isinstance(transformer.project_out, nn.Linear):
        total = matrix(transformer.project_out).T @ total
    if isinstance(transformer.project_in, nn.Linear):
        total = total @ matrix(transformer.project_in).T
    yield _fold(transformer.norm, total)


@torch.inference_mode()
def copying(heads: HeadMatrices, tokens: Tensor) -> list[float]:
    """The copying score of each head, [h], from `token_map`.

    The eigenvalues of W_E W_V W_O W_U other than 0 are those of W_O (W_U W_E) W_V, [c, c].
    """
    values = torch.linalg.eigvals((heads.o @ tokens @ heads.v).double())  # [h, c]
    return (values.real.sum(-1) / values.abs().sum(-1).clamp_min(1e-300)).tolist()


def writes(heads: HeadMatrices) -> Tensor:
    """A factor [h, c, d] with the norms and products of W_OV [h, d, d]: it is R W_O, where W_V = Q R."""
    return torch.linalg.qr(heads.v, mode="r").R @ heads.o


def receives(heads: HeadMatrices, kind: Composition) -> Tensor:
    """A factor [h, d, c] with the norms and products of W_QK, W_QKᵀ or W_OV."""
    left, right = {"q": (heads.q, heads.k), "k": (heads.k, heads.q), "v": (heads.v, heads.o.mT)}[kind]
    return left @ torch.linalg.qr(right, mode="r").R.mT


@torch.inference_mode()
def composition(earlier: Tensor, later: Tensor) -> Tensor:
    """Composition scores of `writes` [a, c, d] of one layer with `receives` [b, d, c] of a later one, [a, b]."""
    (a, c, _), (b, _, e) = earlier.shape, later.shape
    products = earlier.flatten(0, 1) @ later.transpose(0, 1).flatten(1)  # [a c, b e]
    norms = products.view(a, c, b, e).square().sum((1, 3)).sqrt()
    return norms / (earlier.flatten(1).norm(dim=1)[:, None] * later.flatten(1).norm(dim=1)).clamp_min(1e-30)
