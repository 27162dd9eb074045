"""Owns what a model is made of, what a sampler may do and a patch change: frozen, validated, nothing heavy."""

from dataclasses import dataclass
from typing import Literal

from core.engine.activation import ACTIVATIONS, Activation, unknown
from core.errors import UserError

Bias = Literal["qkv", "out", "mlp", "head"]
Norm = Literal["none", "layer", "rms"]
Positions = Literal["none", "learned", "rotary"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One stack for every rung. The defaults are Model 1, the zero-layer transformer (S2, S3).

    Raises `UserError` for a value no model can have.
    """

    vocab_size: int
    """V, the number of token ids."""
    embed_dim: int = 64
    """d, the width of the residual stream."""
    context: int = 8
    """T, how many of the last tokens the model sees."""
    blocks: int = 0
    """N, how many blocks are stacked between embedding and unembedding."""
    heads: int = 1
    """Attention heads in a block, h."""
    group: int = 1
    """Query heads that share one key and value head (Ainslie et al. 2023); 1 gives each its own."""
    head_size: int | None = None
    """Width of a head; None splits d evenly among the heads."""
    positions: Positions = "none"
    """How the model knows where a token stands: a vector added to the embedding, or queries and keys turned."""
    rope_base: float = 10_000.0
    """θ of the rotary angles: pair i of a head turns by θ^(-2i/width) a position (Su et al. 2021, §3.2.2)."""
    rope_divisors: tuple[float, ...] = ()
    """Each pair's turn is divided by its own number, to reach further than was trained; empty divides nothing."""
    norm: Norm = "none"
    """The norm before the unembedding, and before each sublayer where `pre_norm` is set."""
    norm_eps: float = 1e-5
    """Added to the variance or mean square before its root."""
    qk_norm: bool = False
    """Whether each head's queries and keys are normalised before they meet (Qwen3)."""
    pre_norm: bool = False
    """Whether attention and feed-forward read a normalised stream."""
    feed_forward: bool = False
    """Whether a block has a feed-forward layer after its attention."""
    mlp_size: int | None = None
    """Its inner width; None is 4 d, or ⌊8 d / 3⌋ where it is gated: as many weights (Shazeer 2020, §2)."""
    gated: bool = False
    """Whether the non-linearity of one half of the feed-forward layer gates the other (SwiGLU with `silu`)."""
    activation: Activation = "gelu"
    """The non-linearity, S16; `gelu_tanh` is the approximation GPT-2 was trained with."""
    final_activation: bool = True
    """Whether the non-linearity stands before the unembedding."""
    tied: bool = False
    """Whether the unembedding is the embedding matrix transposed; it has no bias then."""
    biases: tuple[Bias, ...] = ("qkv", "out", "mlp", "head")
    """The linear maps that have one."""
    logit_scale: bool = False
    """Whether logits are divided by √d."""
    init_std: float | None = None
    """Standard deviation of random weights (GPT-2: 0.02); None leaves torch's own defaults."""

    def __post_init__(self) -> None:
        for label, value in (
            ("vocabulary", self.vocab_size),
            ("embedding size", self.embed_dim),
            ("context", self.context),
            ("number of heads", self.heads),
            ("number of heads that share keys", self.group),
            ("size of a head", 1 if self.head_size is None else self.head_size),
            ("width of the feed-forward layer", 1 if self.mlp_size is None else self.mlp_size),
        ):
            if value < 1:
                raise UserError(f"the {label} must be at least 1, not {value}")
        if self.blocks < 0:
            raise UserError(f"the number of blocks must be 0 or more, not {self.blocks}")
        if self.head_size is None and self.embed_dim % self.heads:
            raise UserError(
                f"the embedding size {self.embed_dim} cannot be split among {self.heads} heads; "
                f"choose a number of heads that divides it, such as {_divisor_near(self.embed_dim, self.heads)}"
            )
        if self.heads % self.group:
            raise UserError(
                f"{self.heads} heads cannot share keys {self.group} by {self.group}; choose a multiple of it"
            )
        if self.positions == "rotary" and self.head_dim % 2:
            raise UserError(
                f"rotary positions turn pairs, so the size of a head must be even, not {self.head_dim}; "
                "choose another embedding size or number of heads"
            )
        if self.activation not in ACTIVATIONS:
            raise unknown(self.activation)

    @property
    def head_dim(self) -> int:
        """Width of one head."""
        return self.embed_dim // self.heads if self.head_size is None else self.head_size

    @property
    def kv_heads(self) -> int:
        """Key and value heads in a block."""
        return self.heads // self.group

    @property
    def mlp_dim(self) -> int:
        """Inner width of a feed-forward layer."""
        if self.mlp_size is not None:
            return self.mlp_size
        return 8 * self.embed_dim // 3 if self.gated else 4 * self.embed_dim

    def parameter_count(self) -> int:
        """How many numbers training would change, without building anything."""
        d, heads = self.embed_dim, self.heads * self.head_dim
        norm = {"none": 0, "layer": 2 * d, "rms": d}[self.norm]

        def linear(inputs: int, outputs: int, bias: Bias) -> int:
            return outputs * (inputs + (bias in self.biases))

        block = linear(d, heads + 2 * self.kv_heads * self.head_dim, "qkv") + linear(heads, d, "out")
        block += norm * self.pre_norm + 2 * self.head_dim * self.qk_norm
        if self.feed_forward:
            block += linear(d, self.mlp_dim * (1 + self.gated), "mlp") + linear(self.mlp_dim, d, "mlp")
            block += norm * self.pre_norm
        tables = self.vocab_size * d + (self.context * d if self.positions == "learned" else 0)
        head = 0 if self.tied else linear(d, self.vocab_size, "head")
        return tables + self.blocks * block + norm + head

    @property
    def reach(self) -> int:
        """How many of the last tokens can change the next prediction: without attention, only the last one (S13)."""
        return self.context if self.blocks else 1


def _divisor_near(number: int, wanted: int) -> int:
    """The divisor of `number` nearest to `wanted`, or 1 where none is near."""
    wanted = min(wanted, number)
    near = (n for step in range(min(wanted, 10_000)) for n in (wanted - step, wanted + step))
    return next((n for n in near if number % n == 0), 1)
