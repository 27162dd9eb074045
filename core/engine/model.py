"""The one transformer that every model is a configuration of. Read it from top to bottom.

`__init__` turns each option into a module: the part itself, `nn.Identity`, `Zero` or `NoRotation`. So no `forward` asks
which model it is. Shapes: B batch, T tokens, d embedding size, h query heads, k key and value heads, c head size,
m inner size of the MLP, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.engine.activation import ACTIVATIONS
from core.engine.cache import KVCache, LayerCache
from core.engine.config import ModelConfig
from core.engine.rotary import rotation

# Norm, activation, and modules for parts that a configuration leaves out ---------------------------------------------


def norm(config: ModelConfig) -> nn.Module:
    """The norm of a configuration, over the last dimension d."""
    kinds = {"none": nn.Identity, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
    return kinds[config.norm](config.embed_dim, eps=config.norm_eps)


def activation(config: ModelConfig) -> nn.Module:
    """The activation function of a configuration, applied to each number alone."""
    function = ACTIVATIONS[config.activation]
    module: nn.Module = getattr(nn, function.torch_class)(**function.torch_options)
    return module


class Zero(nn.Module):
    """Returns 0 for any input: the term of a sum that a configuration leaves out."""

    def forward(self, _: Tensor) -> float:
        return 0.0


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


# Attention -----------------------------------------------------------------------------------------------------------


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
        self.attend = CausalAttention()
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


# MLP -----------------------------------------------------------------------------------------------------------------


class Gated(nn.Module):
    """The activation of the first half multiplies the second half; with SiLU this is SwiGLU (Shazeer 2020, eq. 6)."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, 2m] → [B, T, m]."""
        gate, value = x.chunk(2, dim=-1)
        return self.activation(gate) * value


class FeedForward(nn.Module):
    """The MLP, at each position alone: d → m → d, or d → 2m → m → d where it is gated."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        bias = "mlp" in config.biases
        self.up = nn.Linear(config.embed_dim, config.mlp_dim * (1 + config.gated), bias=bias)
        self.activation = Gated(activation(config)) if config.gated else activation(config)
        self.down = nn.Linear(config.mlp_dim, config.embed_dim, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, d] → [B, T, d]."""
        return self.down(self.activation(self.up(x)))


# Block and model -----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention, then the MLP; each reads the residual stream and adds its output to it."""

    def __init__(self, config: ModelConfig, rotary: nn.Module) -> None:
        super().__init__()
        self.norm1 = norm(config) if config.pre_norm else nn.Identity()
        self.attention = Attention(config, rotary)
        self.norm2 = norm(config) if config.pre_norm and config.feed_forward else nn.Identity()
        self.feed_forward = FeedForward(config) if config.feed_forward else Zero()

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d], the residual stream before and after the block."""
        x = x + self.attention(self.norm1(x), start, cache)
        return x + self.feed_forward(self.norm2(x))


class Transformer(nn.Module):
    """From token ids to logits. Without blocks it is the zero-layer transformer (article: Model 1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.embed_dim)
        self.position = nn.Embedding(config.context, config.embed_dim) if config.positions == "learned" else Zero()
        rotations = {rope: rotation(rope, config.head_dim) for rope in config.ropes}
        self.blocks = nn.ModuleList(Block(config, rotations[rope]) for rope in config.ropes)
        self.norm = norm(config)
        self.activation = activation(config) if config.final_activation else nn.Identity()
        self.scale = Scale(1 / math.sqrt(config.embed_dim)) if config.logit_scale else nn.Identity()
        if config.tied:
            with torch.device("meta"):  # no memory and no random numbers for a weight that is replaced at once
                self.unembed = nn.Linear(config.embed_dim, config.vocab_size, bias=False)
            self.unembed.weight = self.embed.weight
        else:
            self.unembed = nn.Linear(config.embed_dim, config.vocab_size, bias="head" in config.biases)

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The final hidden state of each position, the input of `unembed`: [B, T] → [B, T, d].

        With a cache the first id is at position `cache.length`, which then grows by T. Without one it is at position 0.
        """
        start = cache.length if cache else 0
        layers = cache.layers if cache else [None] * len(self.blocks)
        x = self.embed(ids) + self.position(torch.arange(start, start + ids.shape[1], device=ids.device))  # [B, T, d]
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, start, layer)
        if cache:
            cache.length = start + ids.shape[1]
        return self.scale(self.activation(self.norm(x)))

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """One token [B, 1] after those in the cache: its final hidden state [B, 1, d] and its logits [B, 1, V]."""
        state = self.hidden(ids, cache)
        return state, self.unembed(state)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the token after each position: [B, T] → [B, T, V]."""
        return self.unembed(self.hidden(ids, cache))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """The number format of the hidden states. Quantized weights are buffers, which have formats of their own."""
        return next(self.parameters()).dtype

    @property
    def implementation(self) -> str:
        """What computes single tokens: PyTorch, or for packed weights compiled code, and if not, why not."""
        return "torch"

    @property
    def slow_path(self) -> str | None:
        """Why packed weights are computed without the compiled kernels; None where nothing is slower than it can be."""
        return None

    def parameter_count(self) -> int:
        """How many numbers can be trained. A tied matrix counts once."""
        return sum(parameter.numel() for parameter in self.parameters())


# Random weights ------------------------------------------------------------------------------------------------------


def random_model(config: ModelConfig, seed: int) -> Transformer:
    """A `Transformer` in float32 on the CPU, with weights that depend on `config` and `seed` alone.

    Torch's global random generator is left as it was.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Transformer(config)
        if config.init_std is not None:
            _initialise(model, config.init_std)
    return model.requires_grad_(False).eval()


def _initialise(model: Transformer, std: float) -> None:
    """GPT-2's initialization (Radford et al. 2019, §2.3): weights N(0, std), biases 0, norms unchanged.

    Weights that write to the residual stream have std / √(2 N), where N is the number of blocks.
    """
    for name, parameter in model.named_parameters():
        if "norm" in name:
            continue
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        else:
            divisor = math.sqrt(2 * len(model.blocks)) if name.endswith(("out.weight", "down.weight")) else 1.0
            nn.init.normal_(parameter, std=std / divisor)


# The oracle ----------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def generate(model: Transformer, ids: Tensor, count: int) -> Tensor:
    """The article's loop: [B, T] → [B, T + count]. Tests compare the fast path with it.

    Each new token takes five steps: (1) the last `context` tokens go through the whole model, (2) the logits of
    the last position are taken, (3) softmax, (4) a multinomial draw, (5) the drawn token is appended.
    """
    for _ in range(count):
        logits = model(ids[:, -model.config.context :])[:, -1]  # [B, T, V] → [B, V]
        ids = torch.cat((ids, torch.multinomial(torch.softmax(logits, dim=-1), num_samples=1)), dim=1)
    return ids
