"""The configuration of a model: sizes and parts, checked when it is made. Imports no torch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from core.engine.activation import ACTIVATIONS, Activation, unknown
from core.engine.rope import Rope
from core.errors import UserError
from core.language import N_, _

Bias = Literal["qkv", "out", "mlp", "head"]
Norm = Literal["none", "layer", "rms"]
Positions = Literal["none", "learned", "rotary", "alibi"]
QueryNorm = Literal["none", "head", "width"]
Layout = Literal["sequential", "parallel", "parallel_one_norm", "post_norm"]

MOST_BLOCKS = 1000
"""The largest models have some 130; each takes a millisecond to make."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Experts:
    """The MLPs among which each position chooses, in some or all blocks."""

    count: int
    """E, how many there are in a block."""
    used: int
    """How many a position uses."""
    size: int
    """m, the inner size of one."""
    normalized: bool
    """Whether the weights of the used experts sum to 1."""
    shared_size: int = 0
    """Inner size of an expert that every position uses too; 0 is none."""
    router_bias: bool = False
    """Whether the scores of the experts have a bias."""
    blocks: tuple[bool, ...] = ()
    """Whether each block has experts; empty is all."""

    def __post_init__(self) -> None:
        if not 1 <= self.used <= self.count or self.size < 1 or self.shared_size < 0:
            raise UserError(
                _(
                    "{used} of {count} experts of size {size} is not possible; all must be at least 1, and no more "
                    "are used than there are"
                ),
                used=self.used,
                count=self.count,
                size=self.size,
            )

    def parameter_count(self, embed_dim: int, mlp: Callable[[int], int]) -> int:
        """How many numbers a block's experts have; `mlp` counts those of an MLP of some inner size."""
        shared = mlp(self.shared_size) + embed_dim if self.shared_size else 0
        return self.count * (mlp(self.size) + embed_dim + self.router_bias) + shared


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Sizes and parts of a model. The defaults are the article's Model 1, the zero-layer transformer.

    Raises `UserError` for a value that no model can have.
    """

    vocab_size: int
    """V, the number of token ids."""
    embed_dim: int = 64
    """d, the width of the residual stream."""
    context: int = 8
    """T, how many of the last tokens the model sees."""
    blocks: int = 0
    """N, how many blocks are stacked between the embedding and the unembedding."""
    heads: int = 1
    """h, the number of query heads in a block."""
    group: int = 1
    """Query heads per key and value head: grouped-query attention (Ainslie et al. 2023). 1 is multi-head attention."""
    head_size: int | None = None
    """c, the size of a head; None is d / h."""
    positions: Positions = "none"
    """How positions enter: not at all, as a learned vector added to the embedding, as rotated queries and keys, or as a
    bias on attention scores that falls with the distance."""
    rope: Rope = Rope()  # noqa: RUF009  # a frozen value
    """The rotation of rotary positions."""
    block_ropes: tuple[Rope | None, ...] = ()
    """The rotation of each block, where blocks differ; None rotates nothing."""
    alibi_rounded: bool = False
    """Whether the bias of `alibi` is in bfloat16 and divided by √c, as Falcon was trained."""
    norm: Norm = "none"
    """The kind of norm: where `final_norm` is set before the unembedding, where `pre_norm` is set before attention and
    MLP."""
    norm_eps: float = 1e-5
    """ε, added to the variance (or mean square) before the square root."""
    qk_norm: QueryNorm = "none"
    """What RMSNorm of queries and keys before the rotation is over: each `head` (Qwen3), or the `width` of all heads
    together (OLMo 2)."""
    attention_scale: float | None = None
    """Factor of the products of queries and keys; None is 1 / √c."""
    attention_cap: float = 0.0
    """The products are kept within ± this number by a tanh (Gemma 2); 0 caps nothing."""
    windows: tuple[int, ...] = ()
    """For each block how many of the last positions, its own included, a position attends to; 0 is all. Empty is all
    in every block."""
    sinks: bool = False
    """Whether each head has a learned score that takes a share of the attention (gpt-oss)."""
    pre_norm: bool = False
    """Whether attention and MLP read a normalized residual stream."""
    layout: Layout = "sequential"
    """How the sublayers of a block are joined.

    `sequential`: the MLP reads the sum of the residual stream and attention. `parallel`: both read the same residual
    stream, each through its own norm, or with `parallel_one_norm` through one norm (Wang and Komatsuzaki 2021).
    `post_norm`: sequential, and the stream itself is normalized after each sum (Vaswani et al. 2017, §3.1).
    """
    output_norms: bool = False
    """Whether what attention and MLP add to the residual stream is normalized before it is added (Gemma 2, OLMo 2)."""
    residual_scale: float = 1.0
    """Factor of what attention and MLP add to the residual stream (Granite)."""
    feed_forward: bool = False
    """Whether a block has an MLP after its attention."""
    mlp_size: int | None = None
    """m, its inner size. None is 4 d, or ⌊8 d / 3⌋ where it is gated, which has as many weights (Shazeer 2020, §2)."""
    gated: bool = False
    """Whether the activation of one half of the MLP multiplies the other half (SwiGLU with `silu`)."""
    gate_limit: float = 0.0
    """Both halves of a gated MLP are clamped at ± this number (gpt-oss); 0 clamps nothing."""
    experts: Experts | None = None
    """The MLPs among which each position chooses; None is one MLP for all."""
    activation: Activation = "gelu"
    """The activation function; `gelu_tanh` is the approximation that GPT-2 was trained with."""
    final_activation: bool = True
    """Whether the activation function is also applied before the unembedding (Models 1 to 3 of the article)."""
    embed_size: int | None = None
    """Width of the embedding and unembedding matrices, with a linear map from it to d and back; None is d, no map."""
    embed_scale: float = 1.0
    """Factor of the embedding, rounded to the number format of the weights (Gemma: √d)."""
    embed_norm: bool = False
    """Whether the embedding is normalized before the first block (BLOOM)."""
    final_norm: bool = True
    """Whether there is a norm before the unembedding, of the kind of `norm`."""
    tied: bool = False
    """Whether the unembedding is the embedding matrix transposed, without a bias."""
    biases: tuple[Bias, ...] = ("qkv", "out", "mlp", "head")
    """The linear layers that have a bias."""
    logit_scale: bool = False
    """Whether logits are divided by √d."""
    logit_divisor: float = 1.0
    """Another divisor of the logits (Granite)."""
    logit_cap: float = 0.0
    """The logits are kept within ± this number by a tanh (Gemma 2); 0 caps nothing."""
    init_std: float | None = None
    """Standard deviation of random weights (GPT-2: 0.02); None is torch's default for each layer."""

    def __post_init__(self) -> None:
        for label, value in (
            (N_("vocabulary"), self.vocab_size),
            (N_("embedding size"), self.embed_dim),
            (N_("context"), self.context),
            (N_("number of heads"), self.heads),
            (N_("number of heads that share keys"), self.group),
            (N_("size of a head"), 1 if self.head_size is None else self.head_size),
            (N_("inner size of the MLP"), 1 if self.mlp_size is None else self.mlp_size),
            (N_("width of the embedding matrix"), 1 if self.embed_size is None else self.embed_size),
        ):
            if value < 1:
                raise UserError(_("the {label} must be at least 1, not {value}"), label=_(label), value=value)
        if not 0 <= self.blocks <= MOST_BLOCKS:
            raise UserError(
                _("the number of blocks must be from 0 to {limit}, not {blocks}"), limit=MOST_BLOCKS, blocks=self.blocks
            )
        if self.head_size is None and self.embed_dim % self.heads:
            raise UserError(
                _(
                    "the embedding size {embed_dim} cannot be divided among {heads} heads; choose a number of heads "
                    "that divides it, such as {example}"
                ),
                embed_dim=self.embed_dim,
                heads=self.heads,
                example=_divisor_near(self.embed_dim, self.heads),
            )
        if self.heads % self.group:
            raise UserError(
                _("{heads} heads cannot share keys in groups of {group}; choose a multiple of {group}"),
                heads=self.heads,
                group=self.group,
            )
        experts = self.experts.blocks if self.experts else ()
        for label, each in (
            (N_("rotations"), self.block_ropes),
            (N_("windows"), self.windows),
            (N_("kinds of MLP"), experts),
        ):
            if each and len(each) != self.blocks:
                raise UserError(
                    _("{count} {label} do not fit {blocks} blocks"), count=len(each), label=_(label), blocks=self.blocks
                )
        if self.experts and (self.output_norms or self.residual_scale != 1):
            raise UserError(
                _("a mixture of experts with output norms or a residual scale is not supported; choose another model")
            )
        if min(self.windows, default=0) < 0 or (self.positions == "alibi" and any(self.windows)):
            raise UserError(
                _(
                    "attention windows of {windows} positions are not possible here (allowed: 0 or more, and none "
                    "with alibi)"
                ),
                windows=self.windows,
            )
        self._check_ropes()
        if self.activation not in ACTIVATIONS:
            raise unknown(self.activation)

    def _check_ropes(self) -> None:
        """Raise `UserError` where a head cannot be rotated so."""
        for rope in filter(None, self.block_ropes or (self.rope if self.positions == "rotary" else None,)):
            size = rope.size or self.head_dim
            if size % 2:
                raise UserError(
                    _(
                        "rotary positions rotate pairs of components, so the size of a head must be even, not {size}; "
                        "choose another embedding size or number of heads"
                    ),
                    size=size,
                )
            if size > self.head_dim or any(
                len(each) not in (0, size // 2) for each in (rope.divisors, rope.long_divisors)
            ):
                raise UserError(
                    _("a head of size {head_dim} cannot rotate {size} components by {factors} factors"),
                    head_dim=self.head_dim,
                    size=size,
                    factors=len(rope.divisors),
                )

    @property
    def ropes(self) -> tuple[Rope | None, ...]:
        """The rotation of each block; None rotates nothing."""
        same = self.rope if self.positions == "rotary" else None
        return self.block_ropes or (same,) * self.blocks

    def rope_span(self, length: int) -> int:
        """A length whose rotary frequencies a sequence of `length` tokens has; 0 where all lengths have the same."""
        ropes = self.block_ropes or (self.rope,)
        return max((rope.span(length) for rope in ropes if rope), default=0)

    @property
    def head_dim(self) -> int:
        """c, the size of one head."""
        return self.embed_dim // self.heads if self.head_size is None else self.head_size

    @property
    def table_dim(self) -> int:
        """The width of the embedding matrix."""
        return self.embed_dim if self.embed_size is None else self.embed_size

    @property
    def parallel(self) -> bool:
        """Whether attention and MLP of a block read the same residual stream."""
        return self.layout.startswith("parallel")

    def has_experts(self, block: int) -> bool:
        """Whether the MLP of a block consists of experts."""
        return self.experts is not None and (not self.experts.blocks or self.experts.blocks[block])

    def window(self, block: int) -> int:
        """How many positions a position attends to in a block; 0 is all."""
        return self.windows[block] if self.windows else 0

    @property
    def divisor(self) -> float:
        """What the logits are divided by."""
        return self.logit_divisor * (math.sqrt(self.embed_dim) if self.logit_scale else 1.0)

    @property
    def block_norms(self) -> int:
        """The number of norms of the residual stream in a block with an MLP."""
        return {"sequential": 2 * self.pre_norm, "parallel": 2, "parallel_one_norm": 1, "post_norm": 2}[self.layout]

    @property
    def kv_heads(self) -> int:
        """k, the number of key and value heads in a block."""
        return self.heads // self.group

    @property
    def mlp_dim(self) -> int:
        """m, the inner size of the MLP."""
        if self.mlp_size is not None:
            return self.mlp_size
        return 8 * self.embed_dim // 3 if self.gated else 4 * self.embed_dim

    def parameter_count(self) -> int:
        """How many numbers can be trained. No model is built for this."""
        d, heads = self.embed_dim, self.heads * self.head_dim
        norm = {"none": 0, "layer": 2 * d, "rms": d}[self.norm]

        def linear(inputs: int, outputs: int, bias: Bias) -> int:
            return outputs * (inputs + (bias in self.biases))

        block = linear(d, heads + 2 * self.kv_heads * self.head_dim, "qkv") + linear(heads, d, "out")
        block += {"none": 0, "head": 2 * self.head_dim, "width": heads + self.kv_heads * self.head_dim}[self.qk_norm]
        block += self.heads * self.sinks + norm * self.output_norms * (1 + self.feed_forward)
        block += norm * (self.block_norms if self.feed_forward else min(1, self.block_norms))

        def mlp(size: int) -> int:
            return linear(d, size * (1 + self.gated), "mlp") + linear(size, d, "mlp")

        mixed, mlps = 0, 0
        if self.experts:
            mixed = sum(self.experts.blocks) if self.experts.blocks else self.blocks
            mlps = mixed * self.experts.parameter_count(d, mlp)
        mlps += (self.blocks - mixed) * mlp(self.mlp_dim) * self.feed_forward
        tables = self.vocab_size * self.table_dim + (self.context * d if self.positions == "learned" else 0)
        tables += 0 if self.embed_size is None else 2 * d * self.embed_size
        norms = norm * (self.embed_norm + self.final_norm)
        head = 0 if self.tied else linear(self.table_dim, self.vocab_size, "head")
        return tables + self.blocks * block + mlps + norms + head

    @property
    def reach(self) -> int:
        """How many of the last tokens can change the next prediction: T with attention, 1 without."""
        return self.context if self.blocks else 1


def _divisor_near(number: int, wanted: int) -> int:
    """The divisor of `number` nearest to `wanted`, or 1 where none is near."""
    wanted = min(wanted, number)
    near = (n for step in range(min(wanted, 10_000)) for n in (wanted - step, wanted + step))
    return next((n for n in near if number % n == 0), 1)
