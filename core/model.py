"""Owns the one stack that every rung is a configuration of; read it from top to bottom.

Options resolve in `__init__` to a module, `nn.Identity` or `Nothing`, so no `forward` asks what model it is.
Shapes: B batch, T tokens, d embedding size, h query heads, k key and value heads, c head width, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.cache import KVCache, LayerCache
from core.config import ModelConfig


class Nothing(nn.Module):
    """Stands where a rung has no such part: adds nothing to the stream."""

    def forward(self, _: Tensor) -> float:
        return 0.0


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


class Rotary(nn.Module):
    """Turns pair i of a head, its numbers i and i + c/2, by position · θ^(-2i/c) (Su et al. 2021, eq. 34).

    The table of angles grows with the positions asked for; all blocks of a model share one.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.width, self.base, self.divisors = config.head_dim, config.rope_base, config.rope_divisors
        self.table = torch.empty(2, 0, self.width)

    def forward(self, x: Tensor, start: int) -> Tensor:
        """[B, h, T, c] → [B, h, T, c]; `x` begins at position `start`."""
        end = start + x.shape[2]
        table = self.table
        if table.shape[1] < end or table.device != x.device or table.dtype != x.dtype:
            table = self.table = self._angles(max(end, 2 * table.shape[1]), x)
        cos, sin = table[:, start:end]
        return torch.addcmul(x * cos, x.roll(self.width // 2, -1), sin)

    @torch.inference_mode(mode=False)
    def _angles(self, length: int, like: Tensor) -> Tensor:
        """Cosines, and sines with the sign of their half, in float32 at least and then as `like`: [2, length, c]."""
        exact = torch.promote_types(like.dtype, torch.float32)
        pairs = torch.arange(0, self.width, 2, device=like.device, dtype=exact)
        turns = 1.0 / self.base ** (pairs / self.width)
        if self.divisors:
            turns = turns / torch.tensor(self.divisors, device=like.device, dtype=exact)
        angles = torch.arange(length, device=like.device, dtype=exact)[:, None] * turns  # [length, c/2]
        cos, sin = angles.cos(), angles.sin()
        return torch.stack((torch.cat((cos, cos), -1), torch.cat((-sin, sin), -1))).to(like.dtype)


class Still(nn.Module):
    """Stands where positions are not rotary: turns nothing."""

    def forward(self, x: Tensor, start: int) -> Tensor:
        return x


def causal_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """softmax(q kᵀ / √c) v, each query seeing the keys up to its own place (Vaswani et al. 2017, eq. 1).

    `q` is [B, h, t, c] and stands at the end of `k` and `v`, [B, k, T, c]; h / k queries in a row share one key and
    value head. Returns [B, h, t, c].
    """
    queries, keys = q.shape[2], k.shape[2]
    if queries == 1:
        shared = q.unflatten(1, (k.shape[1], -1)).flatten(2, 3)  # [B, k, h/k, c]: nothing is ahead of one position
        return F.scaled_dot_product_attention(shared, k, v).flatten(1, 2)[:, :, None]
    if queries == keys:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
    visible = torch.ones(queries, keys, dtype=torch.bool, device=q.device).tril(keys - queries)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=visible, enable_gqa=True)


class CausalAttention(nn.Module):
    """`causal_attention` as a module: the place where queries, keys and values can be seen as they meet."""

    def forward(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, h, t, c], [B, k, T, c], [B, k, T, c] → [B, h, t, c]."""
        return causal_attention(q, k, v)


class Attention(nn.Module):
    """Causal self-attention in h heads; queries, keys and values come from one matrix."""

    def __init__(self, config: ModelConfig, rotary: nn.Module) -> None:
        super().__init__()
        self.heads = (config.heads, config.kv_heads, config.kv_heads)
        self.head_dim = config.head_dim
        self.qkv = nn.Linear(config.embed_dim, sum(self.heads) * self.head_dim, bias="qkv" in config.biases)
        self.q_norm = nn.RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = nn.RMSNorm(self.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.rotary = rotary
        self.attend = CausalAttention()
        self.out = nn.Linear(config.heads * self.head_dim, config.embed_dim, bias="out" in config.biases)

    def forward(self, x: Tensor, start: int, past: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d]; `x` begins at position `start`, after what `past` holds."""
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
        q, k, v = qkv.split(self.heads, dim=1)  # [B, h, T, c], [B, k, T, c], [B, k, T, c]
        q, k = self.rotary(self.q_norm(q), start), self.rotary(self.k_norm(k), start)
        if past is not None:
            k, v = past.extend(start, k, v)
        heads = self.attend(q, k, v)  # [B, h, T, c]
        return self.out(heads.transpose(1, 2).flatten(2))


class Gated(nn.Module):
    """The non-linearity of the first half gates the second: SwiGLU with SiLU (Shazeer 2020, eq. 6)."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 2m] → [B, T, m]."""
        gate, value = x.chunk(2, dim=-1)
        return self.activation(gate) * value


class FeedForward(nn.Module):
    """d → m → d with the non-linearity between, at each position alone; a gated one makes 2m numbers on its way."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        bias = "mlp" in config.biases
        self.up = nn.Linear(config.embed_dim, config.mlp_dim * (1 + config.gated), bias=bias)
        self.activation = Gated(activation(config)) if config.gated else activation(config)
        self.down = nn.Linear(config.mlp_dim, config.embed_dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        return self.down(self.activation(self.up(x)))


class Block(nn.Module):
    """Two sublayers, each of which reads the residual stream and adds to it."""

    def __init__(self, config: ModelConfig, rotary: nn.Module) -> None:
        super().__init__()
        self.norm1 = norm(config) if config.pre_norm else nn.Identity()
        self.attention = Attention(config, rotary)
        self.norm2 = norm(config) if config.pre_norm and config.feed_forward else nn.Identity()
        self.feed_forward = FeedForward(config) if config.feed_forward else Nothing()

    def forward(self, x: Tensor, start: int, past: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        x = x + self.attention(self.norm1(x), start, past)
        return x + self.feed_forward(self.norm2(x))


class Transformer(nn.Module):
    """Token ids in, logits out. An empty list of blocks is the zero-layer transformer (S2)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position = nn.Embedding(config.context, config.embed_dim) if config.positions == "learned" else Nothing()
        rotary = Rotary(config) if config.positions == "rotary" else Still()
        self.blocks = nn.ModuleList(Block(config, rotary) for _ in range(config.blocks))
        self.norm = norm(config)
        self.activation = activation(config) if config.final_activation else nn.Identity()
        self.scale = Scale(1 / math.sqrt(config.embed_dim)) if config.logit_scale else nn.Identity()
        if config.tied:
            with torch.device("meta"):
                self.unembed = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
            self.unembed.weight = self.embed.weight
        else:
            self.unembed = nn.Linear(config.embed_dim, config.vocab_size, bias="head" in config.biases)

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The final state of each position, ready for `unembed`: [B, T] → [B, T, d].

        With a cache the ids begin at its length, which they then move on; without one they begin at position 0.
        """
        start = cache.length if cache else 0
        layers = cache.layers if cache else [None] * len(self.blocks)
        x = self.embed(ids) + self.position(torch.arange(start, start + ids.shape[1], device=ids.device))
        for block, past in zip(self.blocks, layers, strict=True):
            x = block(x, start, past)
        if cache:
            cache.length = start + ids.shape[1]
        return self.scale(self.activation(self.norm(x)))

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """One token [B, 1] after those in the cache: its final state [B, 1, d] and the logits after it [B, 1, V]."""
        state = self.hidden(ids, cache)
        return state, self.unembed(state)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the token after each position: [B, T] → [B, T, V] (S6)."""
        return self.unembed(self.hidden(ids, cache))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """Of what flows through the model; packed weights are buffers in formats of their own."""
        return next(self.parameters()).dtype

    @property
    def implementation(self) -> str:
        """What computes single tokens: PyTorch, or for packed weights compiled code, and if not, why not."""
        return "torch"

    def parameter_count(self) -> int:
        """Numbers that training would change; a tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


def norm(config: ModelConfig) -> nn.Module:
    """The norm a config names."""
    kinds = {"none": nn.Identity, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
    return kinds[config.norm](config.embed_dim, eps=config.norm_eps)


def activation(config: ModelConfig) -> nn.Module:
    """The non-linearity a config names (S16: GELU(x) = x·Φ(x), ReLU(x) = max(0, x))."""
    kinds = {"gelu": nn.GELU(), "gelu_tanh": nn.GELU(approximate="tanh"), "relu": nn.ReLU(), "silu": nn.SiLU()}
    return kinds[config.activation]


def random_model(config: ModelConfig, seed: int) -> Transformer:
    """A `Transformer` in float32 on the CPU whose weights depend on `config` and `seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(config)
        if config.init_std is not None:
            _initialise(model, config.init_std)
    return model.requires_grad_(False).eval()


def _initialise(model: Transformer, std: float) -> None:
    """GPT-2's own: N(0, std), zero biases, what writes to the stream shrunk by √(2 N) (Radford et al. 2019, §2.3)."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            continue
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            shrink = math.sqrt(2 * len(model.blocks)) if name.endswith(("out.weight", "down.weight")) else 1.0
            nn.init.normal_(parameter, std=std / shrink)


@torch.inference_mode()
def generate(model: Transformer, ids: Tensor, count: int) -> Tensor:
    """The article's own loop (S9), kept as the oracle of the fast path: [B, T] → [B, T + count].

    The whole window goes through the model for each token; the last position is softmaxed and sampled.
    """
    for _ in range(count):
        logits = model(ids[:, -model.config.context :])[:, -1]  # [B, V]
        ids = torch.cat((ids, torch.multinomial(torch.softmax(logits, dim=-1), num_samples=1)), dim=1)
    return ids
