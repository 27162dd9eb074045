"""A packed model whose single tokens are computed by compiled code in one call.

That needs one new token of one sequence, a KV cache, and no hook on any module. Everything else goes through the
modules of the model, which are the oracle of the compiled code.
"""

from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils.hooks import RemovableHandle

from core.engine.cache import KVCache
from core.engine.model import Transformer
from core.engine.packed import compiled
from core.engine.packed.kernels import descriptors
from core.engine.packed.linear import Packed, PackedEmbedding, PackedLinear
from core.engine.rotary import Rotary
from core.engine.threads import only_products_shared, single_thread
from core.errors import UserError
from core.language import N_, _

ACTIVATIONS = {
    "silu": descriptors.SILU,
    "gelu": descriptors.GELU,
    "gelu_tanh": descriptors.GELU_TANH,
    "relu": descriptors.RELU,
}

FEW = 32
"""Positions up to which torch computes on one thread what lies between the products."""


class CompiledTransformer(Transformer):
    """A `Transformer` of packed weights whose single tokens take the fast path."""

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """As `Transformer.step`, one token of B sequences: [B, 1] → final state [B, 1, d], logits [B, 1, V]."""
        if ids.shape != (1, 1) or self.fast is None or self.fast.hooked:
            return super().step(ids, cache)
        state, logits = self.fast.step(int(ids), cache)
        with single_thread():  # torch's own threads would then spin where the next token's helper is to run
            self._check(logits)
        cache.length += 1
        return state, logits

    def hidden(self, ids: Tensor, cache: KVCache | None = None) -> Tensor:
        """As `Transformer.hidden`. Raises `UserError` where a weight is not finite."""
        with self._sharing(ids.numel()):
            state = super().hidden(ids, cache)
        self._check(state)
        return state

    def _sharing(self, positions: int) -> AbstractContextManager[None]:
        """For `hidden`: with few positions, torch has little to do between the products of compiled code."""
        few = positions <= FEW and compiled.available()
        return only_products_shared() if few else nullcontext()

    def _check(self, result: Tensor) -> None:
        """Raise `UserError` for a result that is not finite because of a weight, which is looked for only then.

        Blocks that are computed as stored are not read when a model is loaded.
        """
        if result.sum().isfinite():
            return
        parts = (part for module in self.modules() if isinstance(module, Packed) for part in module.parts)
        for part in parts:
            if part.name and not part.finite():
                raise UserError(
                    _("{name} has non-finite weights (NaN or infinity); download the model again"), name=part.name
                )

    @cached_property
    def fast(self) -> "TokenStep | None":
        """The compiled step; None where there is none for this model or this machine."""
        return None if self.slow_path else TokenStep(self)

    @property
    def implementation(self) -> str:
        """What computes single tokens now, and why where it is not the compiled step."""
        if self.fast:
            text = (
                _(
                    "compiled kernels ({instructions}), module by module: an adapter or a patch bypasses the compiled "
                    "step"
                )
                if self.fast.hooked
                else _("compiled kernels ({instructions})")
            )
            return text.format(instructions=self.fast.instructions)
        return f"torch: {self.slow_path}"

    @cached_property
    def slow_path(self) -> str | None:
        return compiled.problem() or unsupported(self)


def unsupported(model: Transformer) -> str | None:
    """Why the compiled step does not compute a model, None if it does. Sizes never matter."""
    config = model.config
    conditions = {
        N_("it is not float32"): model.dtype is torch.float32,
        N_("it has no blocks"): config.blocks > 0,
        N_("its attention and MLP are parallel"): not config.parallel,
        N_("it has norms after its layers"): config.layout != "post_norm",
        N_("it has no norm before each layer"): config.pre_norm and config.norm != "none",
        N_("it has ALiBi positions"): config.positions != "alibi",
        N_("it has a norm after the embedding"): not config.embed_norm,
        N_("it has no norm before the unembedding"): config.final_norm,
        N_("its embedding has another width"): config.embed_size is None,
        N_("it has no feed-forward layer"): config.feed_forward,
        N_("it has experts"): config.experts is None,
        N_("it clamps its gates"): not config.gate_limit,
        N_("it has an activation after the final norm"): not config.final_activation,
        N_("it scales its logits"): config.divisor == 1,
        N_("its attention has windows"): not any(0 < window < config.context for window in config.windows),
        N_("it scales its attention"): config.attention_scale is None,
        N_("it caps its attention"): not config.attention_cap,
        N_("its attention has sinks"): not config.sinks,
        N_("it normalizes queries over all heads"): config.qk_norm != "width",
        N_("it normalizes what its layers add"): not config.output_norms,
        N_("it scales what its layers add"): config.residual_scale == 1,
        N_("it scales its embedding"): config.embed_scale == 1,
        N_("it caps its logits"): not config.logit_cap,
        N_("its blocks rotate differently"): not config.block_ropes,
        N_("it rotates a part of each head"): config.rope.size in (None, config.head_dim),
        N_("its rotation depends on the length of the text"): not config.rope.trained,
        N_("not all of its matrices are packed"): isinstance(model.embed, PackedEmbedding)
        and isinstance(model.unembed, PackedLinear)
        and all(isinstance(each, PackedLinear) for block in model.blocks for each in _linears(block)),
    }
    missing = next((reason for reason, met in conditions.items() if not met), None)
    return missing and _("the compiled step does not support this model: {reason}").format(reason=_(missing))


def _linears(block: Any) -> tuple[Any, ...]:
    """The linear maps of a block: qkv, out, up, down."""
    if not hasattr(block.feed_forward, "up"):
        return ()
    return block.attention.qkv, block.attention.out, block.feed_forward.up, block.feed_forward.down


class TokenStep:
    """The blocks, the final norm and the unembedding of a model as descriptors, and the call of the compiled code."""

    def __init__(self, model: Transformer, instructions: str | None = None) -> None:
        """`instructions` names those that compute the products; by default the fastest of this processor."""
        self.instructions = instructions or compiled.instructions()
        embed: Any = model.embed
        config = model.config
        self._config = config
        self._alive: list[Tensor] = []
        """Tensors whose addresses the descriptors hold."""
        self._matrices: list[tuple[int, ...]] = []
        self._blocks = np.zeros(config.blocks, descriptors.BLOCK)
        blocks: Any = model.blocks
        for descriptor, block in zip(self._blocks, blocks, strict=True):
            for name, module in zip(("qkv", "out", "up", "down"), _linears(block), strict=True):
                descriptor[name] = self._linear(module)
            self._set_norm(descriptor, "norm1", block.norm1)
            self._set_norm(descriptor, "norm2", block.norm2)
            self._set_norm(descriptor, "q_norm", block.attention.q_norm)
            self._set_norm(descriptor, "k_norm", block.attention.k_norm)
        self._task = np.zeros(1, descriptors.TASK)
        fields = {
            "width": config.embed_dim,
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "mlp_dim": config.mlp_dim,
            "gated": config.gated,
            "activation": ACTIVATIONS[config.activation],
            "layer_norm": config.norm == "layer",
            "eps": config.norm_eps,
            "embedding": self._matrix(embed.parts[0]),
            "states": 1,
            "head": self._linear(model.unembed),
            "quantize": compiled.kernels().quantize(self.instructions),
        }
        for name, value in fields.items():
            self._task[name] = value
        if config.positions == "learned":
            self._task["positions"] = self._address(model.position.get_parameter("weight"))
        self._set_norm(self._task[0], "norm", model.norm)
        self._matrix_array = np.array(self._matrices, descriptors.MATRIX)
        self._for_cache: _ForCache | None = None
        hooks = [hook for each in model.modules() for hook in (each._forward_hooks, each._forward_pre_hooks)]
        self._hooks = [*hooks, torch_module._global_forward_hooks, torch_module._global_forward_pre_hooks]
        self._unhooked = -1
        """The id of the next hook that anybody registers, as it was when there was no hook here."""

    def _matrix(self, matrix: compiled.Matrix) -> int:
        """The number of a matrix among those of the model."""
        self._alive += [matrix.weights, *([] if matrix.order is None else [matrix.order])]
        self._matrices.append(matrix.descriptor(self.instructions))
        return len(self._matrices) - 1

    def _linear(self, module: Any) -> tuple[int, ...]:
        """The descriptor of a linear map."""
        first, *_unused = [self._matrix(part) for part in module.parts]
        bias = 0 if module.bias is None else self._address(module.bias)
        return first, len(module.parts), *module.shape, bias

    def _address(self, tensor: Tensor) -> int:
        self._alive.append(tensor)
        return tensor.data_ptr()

    def _set_norm(self, descriptor: Any, name: str, norm: nn.Module) -> None:
        """Addresses of a norm's weight and, where it has one, of its bias."""
        for field, tensor in ((name, getattr(norm, "weight", None)), (f"{name}_bias", getattr(norm, "bias", None))):
            if tensor is not None:
                descriptor[field] = self._address(tensor.float().contiguous())

    @property
    def hooked(self) -> bool:
        """Whether any module of the model has a hook that is to be called."""
        following = RemovableHandle.next_id
        if following != self._unhooked and not any(self._hooks):
            self._unhooked = following
        return following != self._unhooked

    def step(self, id: int, cache: KVCache) -> tuple[Tensor, Tensor]:
        """Compute a token at position `cache.length`, fill the cache there: final state [1, 1, d], logits [1, 1, V]."""
        known, values = self._for_cache, cache.layers[-1].values
        if known is None or known.values is not values or values.shape[2] <= cache.length:
            known = self._for_cache = self._describe(cache)
        state, logits = torch.empty(1, 1, self._config.embed_dim), torch.empty(1, 1, self._config.vocab_size)
        known.task["token"], known.task["position"] = id, cache.length
        known.task["state"], known.task["logits"] = state.data_ptr(), logits.data_ptr()
        compiled.run(known.task, known.blocks, self._matrix_array)
        return state, logits

    def _describe(self, cache: KVCache) -> "_ForCache":
        """Descriptors for a cache, which then has capacity for another position, and their work space."""
        for layer in cache.layers:
            layer.reserve(cache.length + 1)
        config, values = self._config, cache.layers[-1].values
        task, blocks, capacity = self._task.copy(), self._blocks.copy(), values.shape[2]
        blocks["keys"] = [layer.keys.data_ptr() for layer in cache.layers]
        blocks["values"] = [layer.values.data_ptr() for layer in cache.layers]
        width = config.heads * config.head_dim
        sizes = {
            "residual": config.embed_dim,
            "normed": config.embed_dim + 64,  # an embedding is unpacked here
            "projected": max(
                config.embed_dim,
                config.mlp_dim * (1 + config.gated),
                width + 2 * config.kv_heads * config.head_dim,
            ),
            "second": config.embed_dim,
            "attended": width,
            "scores": config.heads * capacity,
        }
        space = [torch.empty(size) for size in sizes.values()]
        for name, each in zip(sizes, space, strict=True):
            task[name] = each.data_ptr()
        space += [
            compiled.activations(task, "x", descriptors.groups_of(config.embed_dim)),
            compiled.activations(task, "y", descriptors.groups_of(max(width, config.mlp_dim))),
        ]
        task["capacity"] = capacity
        if config.positions == "rotary":
            rotary = Rotary(config.rope, config.head_dim)
            rotary(torch.empty(1, 1, capacity, config.head_dim), 0)
            task["angles"], task["angle_count"] = rotary.table.data_ptr(), rotary.table.shape[1]
            space.append(rotary.table)
        return _ForCache(values, task, blocks, space)


class _ForCache(NamedTuple):
    """Descriptors while a cache does not grow."""

    values: Tensor
    """Those of the last block, which grows last."""
    task: Any
    blocks: Any
    space: list[Tensor]
    """Their work space; tokens of one cache come one after the other."""
