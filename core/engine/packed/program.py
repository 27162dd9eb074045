"""The stages of one token of a model, made from its modules: what `kernels.stages` computes one after the other.

The stages hold addresses. Those of work space are offsets from `SPACE` until `Program.placed` gives them memory, so
each KV cache has work space of its own. Keys, values and rotation tables are the caller's to fill in.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.engine.attention import AlibiAttention, Attention, SinkAttention, WidthNorm
from core.engine.experts import MixtureOfExperts, SharedExpert
from core.engine.feed_forward import FeedForward
from core.engine.lora import Addition, LowRank, Shift
from core.engine.model import Transformer
from core.engine.packed import compiled
from core.engine.packed.compiled import Matrix
from core.engine.packed.kernels import descriptors as kinds
from core.engine.packed.kernels.descriptors import GROUP, UNIT_ROWS, groups_of
from core.engine.packed.linear import PackedLinear
from core.engine.rope import Rope

ACTIVATIONS = {"silu": kinds.SILU, "gelu": kinds.GELU, "gelu_tanh": kinds.GELU_TANH, "relu": kinds.RELU}

SPACE = -(1 << 48)
"""Where work space begins before it has memory: neither an address nor the bits of a number that is finite."""
PREFETCHED = 1 << 17
"""Bytes of the next matrix that a waiting thread prefetches."""

Additions = Mapping[nn.Module, Sequence[Addition]]
"""What adapters add to the outputs of modules."""


def can_add(module: nn.Module, addition: Addition) -> bool:
    """Whether stages compute an addition: low-rank products and constants beside a linear map."""
    return isinstance(module, PackedLinear) and all(isinstance(each, LowRank | Shift) for _, each in addition.deltas)


class Program:
    """The stages of one token, its linear maps and its matrices, as arrays of numpy records."""

    def __init__(self, model: Transformer, instructions: str, additions: Additions | None = None) -> None:
        """`instructions` names those that compute the products; `additions` are those that `can_add` allows."""
        self._instructions, self._additions = instructions, additions or {}
        self._config = config = model.config
        self._alive: list[Any] = []
        """Tensors whose addresses the stages hold."""
        self._stages: list[dict[str, Any]] = []
        self._linears: list[tuple[int, ...]] = []
        self._matrices: list[tuple[int, ...]] = []
        self._size = 0
        self.ropes: list[Rope] = []
        """The rotation of each stage that rotates."""
        self.alibi: list[AlibiAttention] = []
        """The attention of each stage whose scores fall with the distance."""
        width, heads = config.embed_dim, config.heads * config.head_dim
        experts, inner = config.experts, [config.mlp_dim]
        self._used = experts.used if experts else 1
        if experts:
            inner += [experts.used * groups_of(experts.size) * GROUP, experts.shared_size]
        hidden = max(inner)
        self._residual = self._floats(width)
        self._normed, self._state = (self._floats(max(width, config.table_dim)) for _ in range(2))
        self._qkv, self._attended = self._floats(heads + 2 * config.kv_heads * config.head_dim), self._floats(heads)
        self._hidden = self._floats(hidden * (1 + config.gated))
        self._second = self._floats(self._used * width)
        self._x = self._activations(max(width, config.table_dim))
        self._y = self._activations(max(heads, hidden))
        self._embed(model)
        for number, block in enumerate(model.blocks):
            self._block(block, config.ropes[number])
        self._head(model)
        self.linears, self.matrices = (
            np.array(self._linears, kinds.LINEAR),
            np.array(self._matrices, kinds.MATRIX),
        )
        self.stages = np.zeros(len(self._stages), kinds.STAGE)
        for number, stage in enumerate(self._stages):
            for name, value in stage.items():
                self.stages[name][number] = value
        self._look_ahead()

    def placed(self) -> tuple[Any, Any, Tensor, Tensor]:
        """Copies of the stages and linear maps with work space of their own, that space, and the final state in it."""
        space = torch.empty(self._size + 64, dtype=torch.uint8)
        start = space.data_ptr() + -space.data_ptr() % 64
        copies = self.stages.copy(), self.linears.copy()
        for each in copies:
            numbers = each.view(np.int64)
            numbers[(numbers >= SPACE) & (numbers < SPACE + self._size)] += start - SPACE
        at = start - space.data_ptr() + self._state - SPACE
        state = space[at : at + 4 * self._config.table_dim].view(torch.float32)
        return *copies, space, state

    # Work space, addresses, matrices ---------------------------------------------------------------------------------

    def _bytes(self, size: int) -> int:
        """The address of new work space; it begins at a line of the processor's cache."""
        first, self._size = self._size, self._size + -(-size // 64) * 64
        return SPACE + first

    def _floats(self, count: int) -> int:
        return self._bytes(4 * count)

    def _activations(self, count: int) -> tuple[int, ...]:
        """New work space for `count` activations, as `ACTIVATIONS`."""
        return tuple(self._bytes(size) for size in compiled.activation_sizes(groups_of(count)))

    def _address(self, tensor: Tensor | None) -> int:
        """The address of float32 numbers; 0 for None."""
        if tensor is None:
            return 0
        self._alive.append(tensor.detach().float().contiguous())
        return int(self._alive[-1].data_ptr())

    def _matrix(self, matrix: Matrix) -> int:
        """The number of a matrix."""
        self._alive.append(matrix)
        self._matrices.append(matrix.descriptor(self._instructions))
        return len(self._matrices) - 1

    def _linear(self, parts: Sequence[Matrix], bias: int) -> int:
        """The number of a linear map."""
        first, *_unused = [self._matrix(part) for part in parts]
        rows = sum(part.shape[0] for part in parts)
        self._linears.append((first, len(parts), rows, parts[0].shape[1], bias))
        return len(self._linears) - 1

    def _exact(self, weight: Tensor, bias: int = 0) -> int:
        """The number of a linear map in float32."""
        weight = weight.detach().float().contiguous()
        return self._linear([Matrix("F32", (weight.shape[0], weight.shape[1]), weight.view(torch.uint8))], bias)

    # Stages ----------------------------------------------------------------------------------------------------------

    def _add(self, kind: int, units: int = 0, **operands: Any) -> None:
        self._stages.append({"kind": kind, "units": units, **operands})

    def _norm(self, norm: nn.Module, source: int, target: int, count: int, vectors: int = 1) -> None:
        """A norm; without one, a copy."""
        if isinstance(norm, nn.LayerNorm | nn.RMSNorm):
            weight, bias = (self._address(getattr(norm, name, None)) for name in ("weight", "bias"))
            layer, eps = isinstance(norm, nn.LayerNorm), norm.eps
            operands: dict[str, Any] = {
                "weight": weight,
                "bias": bias,
                "layer_norm": layer,
                "eps": eps,
                "vectors": vectors,
            }
            self._add(kinds.NORM, source=source, target=target, count=count, **operands)
        elif source != target:
            self._scale(source, target, count, 1.0)

    def _scale(self, source: int, target: int, count: int, factor: float) -> None:
        if factor != 1 or source != target:
            self._add(kinds.SCALE, source=source, target=target, count=count, factor=factor)

    def _quantize(self, source: int, count: int, into: tuple[int, ...]) -> None:
        self._add(kinds.QUANTIZE, source=source, count=count, x=into)

    def _product(
        self, linear: int, rows: int, source: int, x: tuple[int, ...], target: int, *, slots: int = 1, **operands: Any
    ) -> None:
        """Rows of a linear map times a vector at `source`, which is also quantized in `x`."""
        usual = {"vectors": 1, "halves": 1, "activation": kinds.IDENTITY, "slots": slots}
        units = slots * -(-rows // UNIT_ROWS)
        given = {"linear": linear, "rows": rows, "source": source, "x": x, "target": target}
        self._add(kinds.PRODUCT, units, **usual | given | operands)

    def _of_module(self, module: Any, source: int) -> int:
        """The number of the linear map of a module, for inputs at `source`; before it, what adapters add to it."""
        return self._linear(module.parts, self._bias(module, source))

    def _bias(self, module: Any, source: int) -> int:
        """The address of what is added to the outputs of a module; 0 where that is nothing."""
        additions = self._additions.get(module)
        if not additions:
            return self._address(module.bias)
        rows, _columns = module.shape
        constant = torch.zeros(rows) if module.bias is None else module.bias.clone()
        whole, later = self._floats(rows), []
        for addition in additions:
            deltas: Sequence[tuple[slice, Any]] = addition.deltas
            for part, delta in deltas:
                if isinstance(delta, Shift):
                    constant[part] += addition.scale * delta.by
                    continue
                factor = addition.scale * delta.factor
                if delta.bias is not None:
                    constant[part] += factor * delta.bias
                later.append((part.indices(rows)[0], delta, factor))
        self._scale(self._address(constant), whole, rows, 1.0)
        for first, delta, factor in later:
            rank, height = delta.down.shape[0], delta.up.shape[0]
            low, added = self._floats(rank), self._floats(height)
            self._product(self._exact(delta.down), rank, source, self._x, low)
            residual: dict[str, Any] = {"residual": whole + 4 * first, "factor": factor}
            self._product(self._exact(delta.up), height, low, self._x, added, **residual)
        return whole

    def _to_residual(self, sublayer: Any, linear: int, source: int, x: tuple[int, ...], **operands: Any) -> None:
        """The last product of a sublayer, whose outputs are normalized, scaled and added to the residual stream."""
        width, factor = self._config.embed_dim, getattr(sublayer.scale, "factor", 1.0)
        if isinstance(sublayer.norm, nn.Identity):
            operands |= {"residual": self._residual, "factor": factor}
            self._product(linear, width, source, x, self._second, **operands)
        else:
            self._product(linear, width, source, x, self._second, **operands)
            self._norm(sublayer.norm, self._second, self._second, width)
            self._scale(self._second, self._second, width, factor)
            self._add(kinds.ADD, source=self._second, target=self._residual, count=width)

    # Parts of the model ----------------------------------------------------------------------------------------------

    def _embed(self, model: Any) -> None:
        """The residual stream before the first block."""
        config, table = self._config, self._config.table_dim
        narrow = config.embed_size is not None
        target, unpacked = self._normed if narrow else self._residual, self._floats(table + 2 * GROUP)
        matrix = self._matrix(model.embed.parts[0])
        self._add(kinds.EMBED, matrix=matrix, source=unpacked, target=target, count=table)
        self._scale(target, target, table, float(np.float32(config.embed_scale)))
        if narrow:
            self._quantize(target, table, self._x)
            linear = self._of_module(model.project_in, target)
            self._product(linear, config.embed_dim, target, self._x, self._residual)
        self._norm(model.embed_norm, self._residual, self._residual, config.embed_dim)
        if config.positions == "learned":
            positions, apart = self._address(model.position.weight), 4 * config.embed_dim
            operands = {"target": self._residual, "count": config.embed_dim}
            self._add(kinds.ADD, source=positions, source_apart=apart, **operands)

    def _block(self, block: Any, rope: Rope | None) -> None:
        """The order of the sublayers, by the layout."""
        layout, absent = self._config.layout, nn.Identity()
        before = (absent, absent) if layout == "post_norm" else (block.norm1, block.norm2)
        after = (block.norm1, block.norm2) if layout == "post_norm" else (absent, absent)
        residual, width = self._residual, self._config.embed_dim
        self._read(before[0])
        self._queries(block.attention, rope)
        if self._config.parallel:  # queries wait in their work space while the MLP changes the residual stream
            if layout != "parallel_one_norm":
                self._read(before[1])
            self._feed_forward(block.feed_forward)
            self._attention(block.attention)
            return
        self._attention(block.attention)
        self._norm(after[0], residual, residual, width)
        self._read(before[1])
        self._feed_forward(block.feed_forward)
        self._norm(after[1], residual, residual, width)

    def _read(self, norm: nn.Module) -> None:
        """The inputs of a sublayer: the residual stream, normalized, and quantized in `x`."""
        self._norm(norm, self._residual, self._normed, self._config.embed_dim)
        self._quantize(self._normed, self._config.embed_dim, self._x)

    def _queries(self, attention: Any, rope: Rope | None) -> None:
        """Queries, keys and values, normalized and rotated; keys and values into the cache."""
        config, size, qkv = self._config, self._config.head_dim, self._qkv
        rows = attention.qkv.shape[0]
        self._product(self._of_module(attention.qkv, self._normed), rows, self._normed, self._x, qkv)
        for norm, heads, first in (
            (attention.q_norm, config.heads, qkv),
            (attention.k_norm, config.kv_heads, qkv + 4 * config.heads * size),
        ):
            whole = isinstance(norm, WidthNorm)
            self._norm(norm, first, first, heads * size if whole else size, 1 if whole else heads)
        if rope:
            self.ropes.append(rope)
            each = {"vectors": config.heads + config.kv_heads, "target_apart": 4 * size}
            self._add(kinds.ROTATE, target=qkv, count=rope.size or size, **each)
        self._add(kinds.CACHE, source=qkv + 4 * config.heads * size)

    def _attention(self, attention: Attention) -> None:
        """The heads, and what they add to the residual stream."""
        config, attend, width = self._config, attention.attend, self._config.heads * self._config.head_dim
        operands = {
            "window": 0 if attend.window == math.inf else attend.window,
            "factor": 1 / math.sqrt(config.head_dim) if attend.scale is None else attend.scale,
            "cap": config.attention_cap,
            "sinks": self._address(attend.sinks if isinstance(attend, SinkAttention) else None),
        }
        if isinstance(attend, AlibiAttention):
            self.alibi.append(attend)
        self._add(kinds.ATTEND, config.heads, source=self._qkv, target=self._attended, **operands)
        self._quantize(self._attended, width, self._y)
        self._to_residual(attention, self._of_module(attention.out, self._attended), self._attended, self._y)

    def _feed_forward(self, module: Any) -> None:
        """The MLP of a block and what it adds to the residual stream; nothing where there is none."""
        if isinstance(module, FeedForward):
            self._mlp([module])
        elif isinstance(module, MixtureOfExperts):
            count, used = len(module.experts), module.choice.used
            scores, weights, chosen = self._floats(count), self._floats(used), self._bytes(8 * used)
            router = self._exact(module.router.weight, self._address(module.router.bias))
            self._product(router, count, self._normed, self._x, scores)
            choice = {"chosen": chosen, "weights": weights}
            normalized = module.choice.power == 1
            self._add(kinds.CHOOSE, source=scores, count=count, vectors=used, normalized=normalized, **choice)
            self._mlp(list(module.experts), used, **choice)
            if isinstance(module.shared, SharedExpert):
                weight = self._floats(1)
                self._product(self._exact(module.shared.router.weight), 1, self._normed, self._x, weight)
                self._add(kinds.ACTIVATE, target=weight, count=1, activation=kinds.SIGMOID)
                self._mlp([module.shared.expert], weights=weight)

    def _mlp(self, each: Sequence[Any], used: int = 1, **choice: int) -> None:
        """One MLP, or the `used` chosen ones of several; `choice` has the addresses of their numbers and weights."""
        config, limit = self._config, self._config.gate_limit
        size = each[0].down.shape[1]
        inner = {
            "halves": 1 + config.gated,
            "gated": config.gated,
            "activation": kinds.CLAMPED if limit else ACTIVATIONS[config.activation],
            "limit": limit,
            "quantized": 1,
            "y": self._y,
            "chosen": choice.get("chosen", 0),
        }
        hidden, apart, normed = self._hidden, 4 * size * (1 + config.gated), self._normed
        ups = [self._of_module(mlp.up, normed) for mlp in each]
        self._product(ups[0], size, normed, self._x, hidden, slots=used, target_apart=apart, **inner)
        downs = [self._of_module(mlp.down, hidden) for mlp in each]
        vectors = {"vectors": used, "source_apart": apart, "groups_apart": groups_of(size)}
        outputs = {"target_apart": 4 * config.embed_dim, **choice}
        self._to_residual(each[0], downs[0], hidden, self._y, **vectors, **outputs)

    def _head(self, model: Any) -> None:
        """The final state, and the logits, whose address is the target of the last stage."""
        config, state = self._config, self._state
        self._norm(model.norm, self._residual, state, config.embed_dim)
        if config.final_activation:
            activation = ACTIVATIONS[config.activation]
            self._add(kinds.ACTIVATE, target=state, count=config.embed_dim, activation=activation)
        self._scale(state, state, config.embed_dim, 1 / config.divisor)
        if config.embed_size is not None:
            self._scale(state, self._normed, config.embed_dim, 1.0)
            self._quantize(self._normed, config.embed_dim, self._x)
            linear = self._of_module(model.project_out, self._normed)
            self._product(linear, config.table_dim, self._normed, self._x, state)
        self._quantize(state, config.table_dim, self._x)
        linear = self._of_module(model.unembed, state)
        self._product(linear, config.vocab_size, state, self._x, 0, cap=config.logit_cap)

    def _look_ahead(self) -> None:
        """For each stage where the next product's weights are; which expert's they will be is not known."""
        ahead = (0, 0)
        for number in range(len(self.stages) - 1, -1, -1):
            stage = self.stages[number]
            stage["ahead"], stage["ahead_end"] = ahead
            if stage["kind"] == kinds.PRODUCT:
                matrix = self.matrices[self.linears[stage["linear"]]["first"]]
                start, size = int(matrix["weights"]), int(matrix["rows"] * matrix["stride"])
                ahead = (0, 0) if stage["chosen"] else (start, start + min(PREFETCHED, size))
