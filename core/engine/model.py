"""The one transformer that every model is a configuration of. Read it from top to bottom.

`__init__` turns each option into a module: the part itself, `nn.Identity`, `Zero` or `NoRotation`. So no `forward` asks
which model it is. Shapes: B batch, T tokens, d embedding size, h query heads, k key and value heads, c head size,
m inner size of the MLP, V vocabulary.
"""

import math
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from core.engine.attention import Attention
from core.engine.cache import KVCache, LayerCache
from core.engine.config import Layout, ModelConfig
from core.engine.feed_forward import feed_forward
from core.engine.parts import Cap, RoundedScale, Scale, Zero, activation, norm
from core.engine.rotary import rotation

# Block and model -----------------------------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention, then the MLP; each reads the residual stream and adds its output to it."""

    def __init__(self, config: ModelConfig, number: int, rotary: nn.Module) -> None:
        super().__init__()
        self.norm1 = norm(config) if config.block_norms else nn.Identity()
        self.attention = Attention(config, rotary, config.window(number))
        self.norm2 = norm(config) if config.block_norms == 2 and config.feed_forward else nn.Identity()
        self.feed_forward = feed_forward(config, number)

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d], the residual stream before and after the block."""
        x = x + self.attention(self.norm1(x), start, cache)
        return x + self.feed_forward(self.norm2(x))


class ParallelBlock(Block):
    """Attention and the MLP read the same residual stream; both outputs are added (Wang and Komatsuzaki 2021)."""

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d], the residual stream before and after the block."""
        return x + self.attention(self.norm1(x), start, cache) + self.feed_forward(self.norm2(x))


class OneNormParallelBlock(Block):
    """A parallel block whose attention and MLP read the output of one norm."""

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d], the residual stream before and after the block."""
        normed = self.norm1(x)
        return x + self.attention(normed, start, cache) + self.feed_forward(normed)


class PostNormBlock(Block):
    """Attention, then the MLP; the residual stream is normalized after each sum (Vaswani et al. 2017, §3.1)."""

    def forward(self, x: Tensor, start: int, cache: LayerCache | None) -> Tensor:
        """[B, T, d] → [B, T, d], the residual stream before and after the block."""
        x = self.norm1(x + self.attention(x, start, cache))
        return self.norm2(x + self.feed_forward(x))


BLOCKS: dict[Layout, type[Block]] = {
    "sequential": Block,
    "parallel": ParallelBlock,
    "parallel_one_norm": OneNormParallelBlock,
    "post_norm": PostNormBlock,
}


class Transformer(nn.Module):
    """From token ids to logits. Without blocks it is the zero-layer transformer (article: Model 1)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = nn.Embedding(config.vocab_size, config.table_dim)
        narrow = config.embed_size is not None
        self.project_in = nn.Linear(config.table_dim, config.embed_dim, bias=False) if narrow else nn.Identity()
        self.embed_scale = nn.Identity() if config.embed_scale == 1 else RoundedScale(config.embed_scale)
        self.embed_norm = norm(config) if config.embed_norm else nn.Identity()
        self.position = nn.Embedding(config.context, config.embed_dim) if config.positions == "learned" else Zero()
        rotations = {rope: rotation(rope, config.head_dim) for rope in config.ropes}
        block = BLOCKS[config.layout]
        self.blocks = nn.ModuleList(block(config, n, rotations[rope]) for n, rope in enumerate(config.ropes))
        self.norm = norm(config) if config.final_norm else nn.Identity()
        self.activation = activation(config) if config.final_activation else nn.Identity()
        self.scale = Scale(1 / config.divisor) if config.divisor != 1 else nn.Identity()
        self.project_out = nn.Linear(config.embed_dim, config.table_dim, bias=False) if narrow else nn.Identity()
        if config.tied:
            with torch.device("meta"):  # no memory and no random numbers for a weight that is replaced at once
                self.unembed = nn.Linear(config.table_dim, config.vocab_size, bias=False)
            self.unembed.weight = self.embed.weight
        else:
            self.unembed = nn.Linear(config.table_dim, config.vocab_size, bias="head" in config.biases)

        self.cap = Cap(config.logit_cap) if config.logit_cap else nn.Identity()

    @classmethod
    def without_weights(cls, config: ModelConfig) -> Self:
        """The modules on the meta device: parameters have shapes, and neither memory nor numbers."""
        with torch.device("meta"), _WithoutInitialization():
            return cls(config)

    def embedded(self, ids: Tensor, start: int) -> Tensor:
        """The residual stream before the first block: [B, T] → [B, T, d]; the first id is at position `start`."""
        positions = torch.arange(start, start + ids.shape[1], device=ids.device)
        return self.embed_norm(self.project_in(self.embed_scale(self.embed(ids)))) + self.position(positions)

    def final(self, x: Tensor) -> Tensor:
        """From the residual stream after the last block to the final hidden state: […, d] → […, d or its width]."""
        return self.project_out(self.scale(self.activation(self.norm(x))))

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """The final hidden state of each position, the input of `logits`: [B, T] → [B, T, d].

        With a cache the first id is at position `cache.length`, which then grows by T. Without one it is at position 0.
        """
        start = cache.length if cache else 0
        layers = cache.layers if cache else [None] * len(self.blocks)
        x = self.embedded(ids, start)  # [B, T, d]
        for block, layer in zip(self.blocks, layers, strict=True):
            x = block(x, start, layer)
        if cache:
            cache.length = start + ids.shape[1]
        return self.final(x)

    def logits(self, state: Tensor) -> Tensor:
        """The logits of final hidden states, […, d] → […, V]."""
        return self.cap(self.unembed(state))

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """One token [B, 1] after those in the cache: its final hidden state [B, 1, d] and its logits [B, 1, V]."""
        state = self.hidden(ids, cache)
        return state, self.logits(state)

    def forward(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits of the token after each position: [B, T] → [B, T, V]."""
        return self.logits(self.hidden(ids, cache))

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


class _WithoutInitialization(TorchFunctionMode):
    """Skips random initialization: on the meta device torch would import 800 modules for it."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return kwargs["tensor"] if func is nn.init.normal_ else func(*args, **(kwargs or {}))


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
