"""Causal self-attention: the fast path, and beside it the formula that lenses read.

Shapes: B batch, t queries, T keys, d embedding size, h query heads, k key and value heads, c head size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.cache import LayerCache
from core.engine.config import ModelConfig


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √c) v, where each query sees the keys up to its own position (Vaswani et al. 2017, eq. 1).

    `q` is [B, h, t, c] and holds the last t of the T positions of `k` and `v`, [B, k, T, c]. Each h / k neighboring
    query heads share one key and value head. Returns [B, h, t, c].
    """
    queries, keys = q.shape[2], k.shape[2]
    if queries == 1:  # the last position sees all keys, so no mask is needed
        shared = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # [B, h, 1, c] → [B, k, h/k, 1, c] → [B, k, h/k, c]
        return F.scaled_dot_product_attention(shared, k, v).flatten(1, 2)[:, :, None]  # → [B, h, c] → [B, h, 1, c]
    if queries == keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    visible = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)  # [t, T]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)


class CausalAttention(nn.Module):
    """`causal_attention` as a module, so that hooks can read and change its queries, keys, values and output."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        return causal_attention(q, k, v)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """q kᵀ / √c + mask in float32, for lenses: [B, h, t, c], [B, k, T, c] → [B, h, t, T].

        The mask is -∞ for keys after the position of a query.
        """
        queries, keys = q.shape[2], k.shape[2]
        products = q.float() @ k.float().repeat_interleave(q.shape[1] // k.shape[1], 1).mT / math.sqrt(q.shape[-1])
        later = torch.ones(queries, keys, dtype=torch.bool, device=q.device).triu(keys - queries + 1)
        return products.masked_fill(later, -math.inf)

    def weights(self, q: Tensor, k: Tensor, visible: Tensor | None = None) -> Tensor:
        """The softmax of the scores, [B, h, t, T]; where `visible` [t, T] is false, the weight is 0."""
        scores = self.scores(q, k)
        return (scores if visible is None else scores.masked_fill(~visible, -math.inf)).softmax(-1)


class AlibiAttention(CausalAttention):
    """Causal attention whose scores fall with the distance from query to key (ALiBi, Press et al. 2022, §3).

    The score of head i loses mᵢ for each position between them. The slopes m are 2^(-8i/h) for i = 1 … h where h is a
    power of 2; else those of the next smaller power of 2, then every other one of the next larger power.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        below = 2 ** int(math.log2(config.heads))
        slopes = [2 ** (-8 * i / below) for i in range(1, below + 1)]
        self.slopes = slopes + [2 ** (-4 * i / below) for i in range(1, 2 * (config.heads - below), 2)]
        self.dtype = torch.bfloat16 if config.alibi_rounded else torch.float32
        self.divisor = math.sqrt(config.head_dim) if config.alibi_rounded else 1.0

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(q, k).to(q.dtype), enable_gqa=True)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """q kᵀ / √c + bias, as in `CausalAttention`."""
        return super().scores(q, k) + self.bias(q, k)

    def bias(self, q: Tensor, k: Tensor) -> Tensor:
        """What is added to the scores of the last t queries and all T keys, [h, t, T], float32; -∞ for later keys."""
        queries, keys = q.shape[2], k.shape[2]
        slopes = torch.tensor(self.slopes, device=q.device, dtype=self.dtype)
        at = torch.arange(keys, device=q.device)
        by_position = (slopes[:, None] * at).float() / self.divisor  # [h, T]
        distances = by_position[:, None] - by_position[:, keys - queries :, None]  # [h, t, T]
        return distances.masked_fill(at > at[keys - queries :, None], -math.inf)


class Attention(nn.Module):
    """Causal self-attention in h heads; one matrix computes queries, keys and values."""

    def __init__(self, config: ModelConfig, rotary: nn.Module) -> None:
        super().__init__()
        self.heads = (config.heads, config.kv_heads, config.kv_heads)
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.embed_dim, sum(self.heads) * self.head_dim, bias="qkv" in config.biases)
        self.q_norm = nn.RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.rotary = rotary
        self.attend = AlibiAttention(config) if config.positions == "alibi" else CausalAttention()
        self.out = nn.Linear(config.heads * self.head_dim, config.embed_dim, bias="out" in config.biases)

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, t, d] → [B, t, d]; the first token is at position `start`, and `cache` holds those before it."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, t, (h+2k)c] → [B, h+2k, t, c]
        q, k, v = qkv.split(self.heads, dim=1)  # [B, h, t, c], [B, k, t, c], [B, k, t, c]
        q, k = self.rotary(self.q_norm(q), start, cache), self.rotary(self.k_norm(k), start, cache)
        if cache is not None:
            k, v = cache.extend(start, k, v)  # each [B, k, T, c], T = start + t
        heads = self.attend(q, k, v)  # [B, h, t, c]
        return self.out(heads.transpose(1, 2).flatten(2))  # [B, h, t, c] → [B, t, h, c] → [B, t, hc] → [B, t, d]
