"""Causal self-attention: the fast path, and beside it the formula that lenses read.

Shapes: B batch, t queries, T keys, d embedding size, h query heads, k key and value heads, c head size.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.cache import LayerCache
from core.engine.config import ModelConfig
from core.engine.parts import output_norm, output_scale


def causal_attention(q: Tensor, k: Tensor, v: Tensor, scale: float | None = None, window: float = math.inf) -> Tensor:
    """softmax(q kᵀ · scale) v, where each query sees the keys up to its own position (Vaswani et al. 2017, eq. 1).

    `q` is [B, h, t, c] and holds the last t of the T positions of `k` and `v`, [B, k, T, c]. Each h / k neighboring
    query heads share one key and value head. A query sees the last `window` positions, its own included. The scale is
    1 / √c by default. Returns [B, h, t, c].
    """
    k, v = seen(q, k, window), seen(q, v, window)
    queries, keys = q.shape[2], k.shape[2]
    if queries == 1:  # the last position sees all of these keys, so no mask is needed
        shared = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # [B, h, 1, c] → [B, k, h/k, 1, c] → [B, k, h/k, c]
        heads = F.scaled_dot_product_attention(shared, k, v, scale=scale)
        return heads.flatten(1, 2)[:, :, None]  # [B, k, h/k, c] → [B, h, c] → [B, h, 1, c]
    if queries == keys <= window:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale, enable_gqa=True)
    mask = visible(q, k, window)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale, enable_gqa=True)


def seen(q: Tensor, k: Tensor, window: float) -> Tensor:
    """The keys or values [B, k, T, c] that any of the queries sees: the last t + window - 1."""
    return k[:, :, max(0, k.shape[2] - q.shape[2] - int(window) + 1) :] if window < k.shape[2] else k


def visible(q: Tensor, k: Tensor, window: float = math.inf) -> Tensor:
    """Whether a query sees a key, [t, T]: it is not later, and among the last `window` positions."""
    queries, keys = q.shape[2], k.shape[2]
    mask = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    return mask.triu(keys - queries + 1 - int(window)) if window < keys else mask


class CausalAttention(nn.Module):
    """`causal_attention` as a module, so that hooks can read and change its queries, keys, values and output."""

    def __init__(self, scale: float | None = None, window: float = math.inf) -> None:
        super().__init__()
        self.scale, self.window = scale, window

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        return causal_attention(q, k, v, self.scale, self.window)

    def at(self, position: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As `forward` for one query at `position` [1], among keys and values of any length T; later ones are masked.

        [B, h, 1, c], [B, k, T, c], [B, k, T, c] → [B, h, 1, c]. No shape depends on the position.
        """
        shared = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # as in `causal_attention`
        mask = self.seen_from(position, k.shape[2])
        heads = F.scaled_dot_product_attention(shared, k, v, attn_mask=mask, scale=self.scale)
        return heads.flatten(1, 2)[:, :, None]

    def seen_from(self, position: Tensor, keys: int) -> Tensor:
        """Which of `keys` keys a query at `position` [1] sees, [1, T]."""
        at = torch.arange(keys, device=position.device)
        return ((at <= position) & (at > position - self.window))[None]

    def products(self, q: Tensor, k: Tensor) -> Tensor:
        """q kᵀ · scale in float32: [B, h, t, c], [B, k, T, c] → [B, h, t, T]."""
        scale = 1 / math.sqrt(q.shape[-1]) if self.scale is None else self.scale
        return q.float() @ k.float().repeat_interleave(q.shape[1] // k.shape[1], 1).mT * scale

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """The products, and -∞ for keys that a query does not see, [B, h, t, T]."""
        return self.products(q, k).masked_fill(~visible(q, k, self.window), -math.inf)

    def weights(self, q: Tensor, k: Tensor, only: Tensor | None = None) -> Tensor:
        """The softmax of the scores, [B, h, t, T]; where `only` [t, T] is false, the weight is 0. For lenses."""
        scores = self.scores(q, k)
        return self.normalized(scores if only is None else scores.masked_fill(~only, -math.inf))

    def normalized(self, scores: Tensor) -> Tensor:
        """The softmax of the scores of all keys, [B, h, t, T]."""
        return scores.softmax(-1)


class FormulaAttention(CausalAttention):
    """Attention whose scores no fused kernel knows: computed as the formula says."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        k, v = seen(q, k, self.window), seen(q, v, self.window)
        return self.weights(q, k).to(v.dtype) @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)

    def at(self, position: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As in `CausalAttention`."""
        scores = self.products(q, k).masked_fill(~self.seen_from(position, k.shape[2]), -math.inf)
        return self.normalized(scores).to(v.dtype) @ v.repeat_interleave(q.shape[1] // v.shape[1], 1)


class CappedAttention(FormulaAttention):
    """Attention whose products are kept within ±cap by cap · tanh(x / cap) (Gemma 2: Riviere et al. 2024, §2)."""

    def __init__(self, scale: float | None, window: float, cap: float) -> None:
        super().__init__(scale, window)
        self.cap = cap

    def products(self, q: Tensor, k: Tensor) -> Tensor:
        """The capped products, as in `CausalAttention`."""
        return self.cap * torch.tanh(super().products(q, k) / self.cap)


class SinkAttention(FormulaAttention):
    """Attention with a sink: one score per head that takes a share of the softmax and has no value (gpt-oss).

    The weights of a query sum to less than 1; the rest is the sink's.
    """

    def __init__(self, scale: float | None, window: float, heads: int) -> None:
        super().__init__(scale, window)
        self.sinks = nn.Parameter(torch.zeros(heads))

    def normalized(self, scores: Tensor) -> Tensor:
        """The softmax of the scores and the sink, without the sink, [B, h, t, T]."""
        sink = self.sinks.float()[:, None, None].expand(*scores.shape[:3], 1)
        return torch.cat((scores, sink), -1).softmax(-1)[..., :-1]


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
        self._slopes = torch.tensor(self.slopes, dtype=self.dtype, device="cpu")

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.bias(q, k).to(q.dtype), enable_gqa=True)

    def at(self, position: Tensor, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """As in `CausalAttention`."""
        by_position, at = self.by_position(k.shape[2], k.device), torch.arange(k.shape[2], device=k.device)
        distances = by_position - by_position.index_select(1, position)  # [h, T]
        bias = distances.masked_fill(at > position, -math.inf)[:, None].to(q.dtype)  # [h, 1, T]
        return F.scaled_dot_product_attention(q, k, v, attn_mask=bias, enable_gqa=True)

    def scores(self, q: Tensor, k: Tensor) -> Tensor:
        """q kᵀ / √c + bias, as in `CausalAttention`."""
        return super().scores(q, k) + self.bias(q, k)

    def bias(self, q: Tensor, k: Tensor) -> Tensor:
        """What is added to the scores of the last t queries and all T keys, [h, t, T], float32; -∞ for later keys."""
        queries, keys = q.shape[2], k.shape[2]
        at, by_position = torch.arange(keys, device=q.device), self.by_position(keys, q.device)
        distances = by_position[:, None] - by_position[:, keys - queries :, None]  # [h, t, T]
        return distances.masked_fill(at > at[keys - queries :, None], -math.inf)

    def by_position(self, count: int, device: torch.device) -> Tensor:
        """m times the position, [h, count], float32: the bias is the difference between that of a key and a query."""
        if self._slopes.device != device:  # once: a copy from the host cannot be part of a CUDA graph
            self._slopes = self._slopes.to(device)
        return (self._slopes[:, None] * torch.arange(count, device=device)).float() / self.divisor


def attend(config: ModelConfig, window: int) -> CausalAttention:
    """The attention of a block in which a position sees the last `window` positions; 0 is all of them."""
    if config.positions == "alibi":
        return AlibiAttention(config)
    scale, reach = config.attention_scale, window or math.inf
    if config.sinks:
        return SinkAttention(scale, reach, config.heads)
    return (
        CappedAttention(scale, reach, config.attention_cap) if config.attention_cap else CausalAttention(scale, reach)
    )


class WidthNorm(nn.RMSNorm):
    """RMSNorm over all heads of a position together."""

    def __init__(self, heads: int, head_dim: int, eps: float) -> None:
        super().__init__(heads * head_dim, eps)

    def forward(self, x: Tensor) -> Tensor:
        """[B, h, T, c] → [B, h, T, c]."""
        heads = x.transpose(1, 2)  # [B, T, h, c]
        return super().forward(heads.flatten(2)).view_as(heads).transpose(1, 2)


def query_norm(config: ModelConfig, heads: int) -> nn.Module:
    """The norm of the queries or keys of `heads` heads, [B, h, T, c], before the rotation."""
    if config.qk_norm == "width":
        return WidthNorm(heads, config.head_dim, config.norm_eps)
    return nn.RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm == "head" else nn.Identity()


class Attention(nn.Module):
    """Causal self-attention in h heads; one matrix computes queries, keys and values."""

    def __init__(self, config: ModelConfig, rotary: nn.Module, window: int) -> None:
        super().__init__()
        self.heads = (config.heads, config.kv_heads, config.kv_heads)
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.embed_dim, sum(self.heads) * self.head_dim, bias="qkv" in config.biases)
        self.q_norm, self.k_norm = query_norm(config, config.heads), query_norm(config, config.kv_heads)
        self.rotary = rotary
        self.attend = attend(config, window)
        self.out = nn.Linear(config.heads * self.head_dim, config.embed_dim, bias="out" in config.biases)
        self.norm, self.scale = output_norm(config), output_scale(config)

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, t, d] → [B, t, d]; the first token is at position `start`, and `cache` holds those before it."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)  # [B, t, (h+2k)c] → [B, h+2k, t, c]
        q, k, v = qkv.split(self.heads, dim=1)  # [B, h, t, c], [B, k, t, c], [B, k, t, c]
        q, k = self.rotary(self.q_norm(q), start, cache), self.rotary(self.k_norm(k), start, cache)
        if cache is not None:
            k, v = cache.extend(start, k, v)  # each [B, k, T, c], T = start + t
        heads = self.attend(q, k, v)  # [B, h, t, c]
        out = self.out(heads.transpose(1, 2).flatten(2))  # [B, h, t, c] → [B, t, h, c] → [B, t, hc] → [B, t, d]
        return self.scale(self.norm(out))
