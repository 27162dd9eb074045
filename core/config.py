"""Owns what a model is made of, what a sampler may do and a patch change: frozen, validated, nothing heavy."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from core.errors import Mistake

Activation = Literal["gelu", "gelu_tanh", "relu", "silu"]
Bias = Literal["qkv", "out", "mlp", "head"]
Norm = Literal["none", "layer", "rms"]
Positions = Literal["none", "learned", "rotary"]
Order = Literal["temperature first", "temperature last"]
ACTIVATIONS: tuple[Activation, ...] = get_args(Activation)
PatchKind = Literal["zero", "mean", "noise", "scale"]
PatchPart = Literal["head", "mlp", "attention", "block", "position", "query"]
PATCH_KINDS: tuple[PatchKind, ...] = get_args(PatchKind)
PATCH_PARTS: tuple[PatchPart, ...] = get_args(PatchPart)
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """One stack for every rung. The defaults are Model 1, the zero-layer transformer (S2, S3).

    Raises `Mistake` for a value no model can have.
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
                raise Mistake(f"the {label} must be at least 1, not {value}")
        if self.blocks < 0:
            raise Mistake(f"the number of blocks must be 0 or more, not {self.blocks}")
        if self.head_size is None and self.embed_dim % self.heads:
            raise Mistake(
                f"the embedding size {self.embed_dim} cannot be split among {self.heads} heads; "
                f"choose a number of heads that divides it, such as {_divisor_near(self.embed_dim, self.heads)}"
            )
        if self.heads % self.group:
            raise Mistake(f"{self.heads} heads cannot share keys {self.group} by {self.group}; choose a multiple of it")
        if self.positions == "rotary" and self.head_dim % 2:
            raise Mistake(
                f"rotary positions turn pairs, so the size of a head must be even, not {self.head_dim}; "
                "choose another embedding size or number of heads"
            )
        if self.activation not in ACTIVATIONS:
            raise Mistake(f"no activation {self.activation!r}; choose gelu, relu or silu")

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Hyperparameters:
    """What a person may change of a rung (S3); None leaves the rung's own value."""

    embed_dim: int | None = None
    context: int | None = None
    blocks: int | None = None
    heads: int | None = None
    activation: Activation | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelChoice:
    """Everything that decides which numbers a model computes, as a person says it."""

    name: str = "model1"
    tokenizer: str = "cl100k"
    weights_seed: int = 0
    changes: Hyperparameters = Hyperparameters()
    device: str = "auto"
    dtype: str = "auto"


def _divisor_near(number: int, wanted: int) -> int:
    """The divisor of `number` nearest to `wanted`, or 1 where none is near."""
    wanted = min(wanted, number)
    near = (n for step in range(min(wanted, 10_000)) for n in (wanted - step, wanted + step))
    return next((n for n in near if number % n == 0), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sampler:
    """How one token is drawn from the logits: temperature and cuts in their order, then one uniform number.

    Raises `Mistake` for a value outside its range.
    """

    temperature: float = 1.0
    """Logits are divided by it; 0 means greedy."""
    top_k: int = 0
    """Keep the k likeliest tokens; 0 keeps all."""
    top_p: float = 1.0
    """Keep the fewest tokens that hold this share of what top-k left (Holtzman et al. 2020); 1 keeps all."""
    min_p: float = 0.0
    """Keep tokens at least this share as likely as the likeliest (Nguyen et al. 2024); 0 keeps all."""
    order: Order = "temperature first"
    """Whether cuts are measured on what the temperature made, or on the model's own distribution."""
    seed: int = 0
    """Chooses the uniform numbers."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise Mistake(f"the temperature must be 0 or more, not {self.temperature:g}")
        if self.top_k < 0:
            raise Mistake(f"top-k must be 0 (off) or more, not {self.top_k}")
        if not 0 < self.top_p <= 1:
            raise Mistake(f"top-p must be above 0 and at most 1 (off), not {self.top_p:g}")
        if not 0 <= self.min_p <= 1:
            raise Mistake(f"min-p must be between 0 (off) and 1, not {self.min_p:g}")
        if self.order not in ORDERS:
            raise Mistake(f"no order {self.order!r}; choose {' or '.join(ORDERS)}")

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is always taken."""
        return self.temperature == 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Patch:
    """What is changed in a running model, without touching its weights; `core.patch` says what each kind means."""

    kind: PatchKind = "zero"
    part: PatchPart
    layer: int | None = None
    """The block, from 0; None for a position, which is patched before the first one."""
    index: int | None = None
    """The head of the layer, or the position in the model's window, from 0; None for other parts."""
    factor: float = 2.0
    """What `scale` multiplies by."""
    seed: int = 0
    """Chooses the noise."""

    def __post_init__(self) -> None:
        if self.kind not in PATCH_KINDS:
            raise Mistake(f"no kind of patch {self.kind!r}; choose one of {', '.join(PATCH_KINDS)}")
        if self.part not in PATCH_PARTS:
            raise Mistake(f"no part {self.part!r} to patch; choose one of {', '.join(PATCH_PARTS)}")
        if not math.isfinite(self.factor):
            raise Mistake(f"a patch cannot scale by {self.factor:g}; choose a finite factor")

    def check(self, config: ModelConfig) -> None:
        """Raise `Mistake` where a model has no such part."""
        if self.part == "position":
            self._check("position", self.index, config.context)
            return
        if not config.blocks:
            raise Mistake(f"this model has no blocks, so no {self.part} to patch; they begin at model3")
        self._check("layer", self.layer, config.blocks)
        if self.part == "head":
            self._check("head", self.index, config.heads)
        if self.part == "mlp" and not config.feed_forward:
            raise Mistake("this model has no feed-forward layers to patch; they begin at model4")

    def _check(self, what: str, value: int | None, count: int) -> None:
        if value is None or not 0 <= value < count:
            given = "which is missing" if value is None else f"not {value}"
            raise Mistake(f"a patch of a {self.part} needs a {what} from 0 to {count - 1}, {given}")

    @property
    def words(self) -> str:
        """The patch for a person, such as `zero head 3.5` or `scale mlp 2 × 0.5`."""
        place = [str(number) for number in (self.layer, self.index) if number is not None]
        amount = f" × {self.factor:g}" if self.kind == "scale" else ""
        return f"{self.kind} {self.part} {'.'.join(place)}{amount}"
