"""Owns the fast way of one token through a packed model: compiled code, of which the stack stays the oracle.

One new token of one sequence takes it, where there is a cache and nothing is hooked to any module. All else, and every
model that the kernels do not know, goes through the modules of `core.engine.model`.
"""

from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules import module as everywhere
from torch.utils.hooks import RemovableHandle

from core.engine.cache import KVCache
from core.engine.model import Rotary, Transformer
from core.engine.packed import compiled
from core.engine.packed.packed import GROUP, Int4Linear, Int8Embedding, PackedLinear

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu")
"""In the order in which the kernels count them."""


class CompiledTransformer(Transformer):
    """A `Transformer` of packed weights whose single tokens take the fast way."""

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """As the stack gives it, one token of B sequences: [B, 1] → [B, 1, d], [B, 1, V]."""
        if ids.shape != (1, 1) or self.fast is None or self.fast.hooked:
            return super().step(ids, cache)
        made = self.fast.step(int(ids), cache)
        cache.length += 1
        return made

    @cached_property
    def fast(self) -> "Stack | None":
        """The way of a single token, where there is compiled code and it knows a model like this."""
        return Stack(self) if compiled.available() and known(self) else None


def known(model: Transformer) -> bool:
    """Whether all parts of a model are such as the kernels compute."""
    config = model.config
    maps = [each for block in model.blocks for each in _maps(block)]
    packed = [each for each in maps if isinstance(each, PackedLinear)]
    matrices, order = [each.as_matrix() for each in packed], compiled.order()
    span = max(GROUP, 2 * order.half) if order else GROUP
    return (
        model.dtype is torch.float32
        and config.blocks > 0
        and config.pre_norm
        and config.feed_forward
        and config.norm != "none"
        and not config.final_activation
        and not config.logit_scale
        and isinstance(model.embed, Int8Embedding)
        and isinstance(model.unembed, PackedLinear)
        and len(packed) == len(maps)
        and all(matrix.rows % span == 0 and matrix.columns % GROUP == 0 for matrix in matrices)
        and config.mlp_dim % span == 0
        and (order is not None or not any(isinstance(each, Int4Linear) for each in packed))
    )


def _maps(block: Any) -> tuple[Any, ...]:
    """Those of a block, in the order in which it computes them."""
    return block.attention.qkv, block.attention.out, block.feed_forward.up, block.feed_forward.down


class Stack:
    """The blocks and the final norm of a model as the kernels are told of them: sizes and addresses."""

    def __init__(self, model: Transformer) -> None:
        embed: Any = model.embed
        config, order = model.config, compiled.order() or compiled.ORDERS[0]
        self._config = config
        self._kept: list[Tensor] = []
        self._blocks = np.zeros(config.blocks, compiled.kernels().BLOCK)
        blocks: Any = model.blocks
        for told, block in zip(self._blocks, blocks, strict=True):
            for name, module in zip(("qkv", "out", "up", "down"), _maps(block), strict=True):
                told[name] = self._matrix(module)
            self._tell(told, "norm1", "shift1", block.norm1)
            self._tell(told, "norm2", "shift2", block.norm2)
            self._tell(told, "q_norm", "", block.attention.q_norm)
            self._tell(told, "k_norm", "", block.attention.k_norm)
        self._task = np.zeros(1, compiled.kernels().TASK)
        sizes = {
            "width": config.embed_dim,
            "heads": config.heads,
            "kv_heads": config.kv_heads,
            "head_dim": config.head_dim,
            "inner": config.mlp_dim,
            "gated": config.gated,
            "activation": ACTIVATIONS.index(config.activation),
            "centred": config.norm == "layer",
            "eps": config.norm_eps,
            "levels": self._keep(embed.levels),
            "scales": self._keep(embed.scale),
            "count": 1,
            "head": self._matrix(model.unembed),
            **order._asdict(),
        }
        for name, value in sizes.items():
            self._task[name] = value
        if config.positions == "learned":
            self._task["positions"] = self._keep(model.position.get_parameter("weight"))
        self._tell(self._task[0], "norm", "shift", model.norm)
        self._told: _Told | None = None
        hooks = [hook for each in model.modules() for hook in (each._forward_hooks, each._forward_pre_hooks)]
        self._hooks = [*hooks, everywhere._global_forward_hooks, everywhere._global_forward_pre_hooks]
        self._unhooked = -1
        """The number of the next hook that anybody registers, when there was none here."""

    def _matrix(self, module: Any) -> tuple[int, ...]:
        """What is told of a packed map."""
        matrix = module.as_matrix()
        self._kept += [each for each in matrix if isinstance(each, Tensor)]
        return matrix.record

    def _keep(self, tensor: Tensor) -> int:
        """The address of a tensor that stays where it is."""
        self._kept.append(tensor)
        return tensor.data_ptr()

    def _tell(self, told: Any, weight: str, shift: str, norm: nn.Module) -> None:
        for name, tensor in ((weight, getattr(norm, "weight", None)), (shift, getattr(norm, "bias", None))):
            if tensor is not None:
                told[name] = self._keep(tensor.float().contiguous())

    @property
    def hooked(self) -> bool:
        """Whether anything is to be called when a module of the model is."""
        following = RemovableHandle.next_id
        if following != self._unhooked and not any(self._hooks):
            self._unhooked = following
        return following != self._unhooked

    def step(self, id: int, cache: KVCache) -> tuple[Tensor, Tensor]:
        """A token at the end of what `cache` holds, which it fills there: state [1, 1, d] and logits [1, 1, V]."""
        told, values = self._told, cache.layers[-1].values
        if told is None or told.values is not values or values.shape[2] <= cache.length:
            told = self._told = self._about(cache)
        state, logits = torch.empty(1, 1, self._config.embed_dim), torch.empty(1, 1, self._config.vocab_size)
        told.task["id"], told.task["position"] = id, cache.length
        told.task["state"], told.task["product"] = state.data_ptr(), logits.data_ptr()
        compiled.run(told.task, told.blocks)
        return state, logits

    def _about(self, cache: KVCache) -> "_Told":
        """What the kernels are told for a cache, which then has room for another position."""
        for layer in cache.layers:
            layer.reserve(cache.length + 1)
        config, values = self._config, cache.layers[-1].values
        task, blocks, room = self._task.copy(), self._blocks.copy(), values.shape[2]
        blocks["keys"] = [layer.keys.data_ptr() for layer in cache.layers]
        blocks["values"] = [layer.values.data_ptr() for layer in cache.layers]
        heads = config.heads * config.head_dim
        sizes = {
            "stream": config.embed_dim,
            "normed": config.embed_dim,
            "made": max(config.mlp_dim * (1 + config.gated), heads + 2 * config.kv_heads * config.head_dim),
            "gave": heads,
            "scores": config.heads * room,
        }
        kept = [torch.empty(size) for size in sizes.values()]
        for name, each in zip(sizes, kept, strict=True):
            task[name] = each.data_ptr()
        kept += [
            compiled.levels(task, "x", config.embed_dim),
            compiled.levels(task, "y", max(heads, config.mlp_dim)),
        ]
        task["room"] = room
        if config.positions == "rotary":
            rotary = Rotary(config)
            rotary(torch.empty(1, 1, room, config.head_dim), 0)
            task["angles"], task["turned"] = rotary.table.data_ptr(), rotary.table.shape[1]
            kept.append(rotary.table)
        return _Told(values, task, blocks, kept)


class _Told(NamedTuple):
    """What the kernels are told while a cache does not grow."""

    values: Tensor
    """Of the last block, the last to grow."""
    task: Any
    blocks: Any
    kept: list[Tensor]
    """What is told of, of one cache: one token comes after the other."""
