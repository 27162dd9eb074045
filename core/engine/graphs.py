"""One token as a CUDA graph: a step whose shapes and addresses never change, captured once and then replayed.

A plain step launches some hundred small kernels, one after the other, from Python; a replay launches them all at once.
So ids, position, keys and values have fixed buffers: the position is a number on the device, attention is over the
whole capacity of the KV cache with a mask, and nothing waits for the device. `Transformer.step` is the oracle.
"""

import math
from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from core.engine.attention import Attention
from core.engine.cache import KVCache, LayerCache
from core.engine.experts import MixtureOfExperts
from core.engine.hooks import HookWatch
from core.engine.model import Block, Transformer
from core.engine.rotary import NoRotation, PartialRotary, Rotary
from core.language import _


def transformer_class(device: torch.device, place: object = None) -> type[Transformer]:
    """The class of a model that is wholly on `device`, or of one that `place` spreads over several."""
    return GraphTransformer if device.type == "cuda" and not place else Transformer


class GraphTransformer(Transformer):
    """A `Transformer` whose single tokens are static steps, which on CUDA are captured and replayed.

    That needs one new token of one sequence, inference mode, and no hook. Everything else is computed as it is.
    """

    def step(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """As `Transformer.step`; results are copies."""
        plain = ids.shape != (1, 1) or self.graph_problem or self._watch.hooked
        if plain or not torch.is_inference_mode_enabled():
            return super().step(ids, cache)
        known = self._steps.get(cache)
        if known is None or not known.fits(cache):
            known = self._steps[cache] = StaticStep(self, cache)
        return known(ids, cache)

    @cached_property
    def _steps(self) -> "WeakKeyDictionary[KVCache, StaticStep]":
        """That of each cache, until it grows."""
        return WeakKeyDictionary()

    @cached_property
    def _watch(self) -> HookWatch:
        return HookWatch(self)

    @cached_property
    def graph_problem(self) -> str | None:
        """Why a token of this model is not one graph; None where it is."""
        if any(isinstance(module, MixtureOfExperts) for module in self.modules()):
            return _("which experts compute a token is known after it began")
        return None

    @property
    def implementation(self) -> str:
        """What computes single tokens now."""
        if self.graph_problem:
            return f"torch: {self.graph_problem}"
        if self._watch.hooked:
            return _("torch, module by module: an adapter or a patch bypasses the CUDA graph")
        return _("a CUDA graph") if self.device.type == "cuda" else _("static steps of torch")


class StaticStep:
    """A step for one cache while it does not grow. The first call of one on CUDA runs, the second one captures."""

    def __init__(self, model: Transformer, cache: KVCache) -> None:
        """Make room for another position in `cache`; its capacity at least doubles, from 64 positions on."""
        for layer in cache.layers:
            layer.reserve(max(64, 1 << cache.length.bit_length()))
            for buffer in (layer.keys, layer.values):
                buffer[:, :, cache.length :] = 0  # masked, but 0 · NaN of memory that was never written is NaN
        self._model, self._keys, self._span = model, [layer.keys for layer in cache.layers], cache.span
        self._capacity = self._keys[0].shape[2] if self._keys else math.inf
        self._ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
        self._position = torch.zeros(1, dtype=torch.long, device=model.device)
        self._blocks = [
            _static(block, layer, self._position) for block, layer in zip(model.blocks, cache.layers, strict=True)
        ]
        self._replay: Callable[[], tuple[Tensor, Tensor]] | None = None

    def fits(self, cache: KVCache) -> bool:
        """Whether the buffers of `cache` are still those of this step, and have room for another position."""
        same = not self._keys or cache.layers[-1].keys is self._keys[-1]
        return same and cache.length < self._capacity and cache.span == self._span

    def __call__(self, ids: Tensor, cache: KVCache) -> tuple[Tensor, Tensor]:
        """As `Transformer.step`, for a cache that fits."""
        self._ids.copy_(ids)
        self._position.fill_(cache.length)
        if self._ids.device.type != "cuda":
            state, logits = self._run()
        elif self._replay is None:  # libraries make their work space in a first run
            state, logits = self._run()
            self._replay = self._captured
        else:
            state, logits = self._replay()
        cache.length += 1
        return state.clone(), logits.clone()

    def _captured(self) -> tuple[Tensor, Tensor]:
        """Capture the step and run it."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(self._ids.device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            results = self._run()

        def replay() -> tuple[Tensor, Tensor]:
            graph.replay()
            return results

        self._replay = replay
        return replay()

    def _run(self) -> tuple[Tensor, Tensor]:
        """The step on the fixed buffers: final hidden state [1, 1, d], logits [1, 1, V]."""
        model = self._model
        x = model.embed_norm(model.project_in(model.embed_scale(model.embed(self._ids)))) + model.position(
            self._position
        )
        for block in self._blocks:
            x = block(x, 0, None)
        state = model.final(x)
        return state, model.logits(state)


def _static(block: nn.Module, cache: LayerCache, position: Tensor) -> Block:
    """A block with the same modules, but for its attention."""
    shadow: Any = copy(block)
    shadow._modules = block._modules | {"attention": StaticAttention(block.attention, cache, position)}
    return shadow


class StaticAttention(nn.Module):
    """Attention of one query at a position that is a number on the device, over all positions of a buffer."""

    def __init__(self, plain: Any, cache: LayerCache, position: Tensor) -> None:
        super().__init__()
        self._plain: list[Attention] = [plain]  # in a list: not a module of this one
        self._cache, self._position = cache, position
        self._keys, self._values = cache.keys, cache.values
        self._tables = [_table(plain.rotary, cache, self._keys)]

    def forward(self, x: Tensor, start: int, cache: None) -> Tensor:
        """[1, 1, d] → [1, 1, d]."""
        (plain,) = self._plain
        qkv = plain.qkv(x).unflatten(-1, (-1, plain.head_dim)).transpose(1, 2)  # [1, h+2k, 1, c]
        q, k, v = qkv.split(plain.heads, dim=1)
        q, k = self._rotated(plain.q_norm(q)), self._rotated(plain.k_norm(k))
        self._keys.index_copy_(2, self._position, k)
        self._values.index_copy_(2, self._position, v)
        heads = plain.attend.at(self._position, q, self._keys, self._values)  # [1, h, 1, c]
        return plain.scale(plain.norm(plain.out(heads.transpose(1, 2).flatten(2))))

    def _rotated(self, x: Tensor) -> Tensor:
        """Queries or keys [1, h, 1, c], rotated by the position."""
        (table,) = self._tables
        if table is None:
            return x
        cos, sin = table.index_select(1, self._position)  # each [1, r]
        turned, rest = x[..., : table.shape[2]], x[..., table.shape[2] :]
        turned = torch.addcmul(turned * cos, turned.roll(table.shape[2] // 2, -1), sin)
        return torch.cat((turned, rest), -1) if rest.shape[-1] else turned


def _table(rotary: nn.Module, cache: LayerCache, keys: Tensor) -> Tensor | None:
    """The cosines and sines of all positions of a buffer, [2, capacity, r]; None where nothing is rotated."""
    if isinstance(rotary, NoRotation):
        return None
    turn = rotary.turn if isinstance(rotary, PartialRotary) else rotary
    assert isinstance(turn, Rotary)
    turn(keys[:, :1, -1:, : turn.size], keys.shape[2] - 1, cache)  # makes the table as long as that
    return turn.table[:, : keys.shape[2]]
