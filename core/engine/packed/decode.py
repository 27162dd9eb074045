"""A packed model whose single tokens are computed by compiled code in one call.

That needs one new token of one sequence, a KV cache, and no hook on any module but those of adapters that `program`
computes itself. Everything else goes through the modules of the model, which are the oracle of the compiled code.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from core.engine.cache import KVCache
from core.engine.experts import MixtureOfExperts, Router
from core.engine.hooks import HookWatch
from core.engine.lora import Addition
from core.engine.model import Transformer
from core.engine.packed import compiled
from core.engine.packed.kernels import descriptors
from core.engine.packed.linear import Packed, PackedEmbedding
from core.engine.packed.program import Program, can_add
from core.engine.rotary import Rotary
from core.engine.threads import only_products_shared, single_thread
from core.errors import UserError
from core.language import N_, _

FEW = 64
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
    """Why the compiled step does not compute a model, None if it does. Neither sizes nor parts matter."""
    maps = (each for each in model.modules() if isinstance(each, nn.Linear) and not isinstance(each, Router))
    conditions = {
        N_("it is not float32"): model.dtype is torch.float32,
        N_("not all of its matrices are packed"): isinstance(model.embed, PackedEmbedding) and not any(maps),
    }
    missing = next((reason for reason, met in conditions.items() if not met), None)
    return missing and _("the compiled step does not support this model: {reason}").format(reason=_(missing))


class TokenStep:
    """The call of the compiled code for one token, with what adapters add."""

    def __init__(self, model: Transformer, instructions: str | None = None) -> None:
        """`instructions` names those that compute the products; by default the fastest of this processor."""
        self.instructions = instructions or compiled.instructions()
        self._model, self._config = model, model.config
        self._by_length = any(rope and rope.trained for rope in model.config.ropes)
        """Whether rotations depend on the length of the text."""
        self._watch = HookWatch(model)
        mixtures = (each for each in model.modules() if isinstance(each, MixtureOfExperts))
        self._experts = {id(each) for mixture in mixtures for each in _of(mixture)}
        self._additions: list[tuple[nn.Module, Addition]] = []
        self._build()

    def _build(self) -> None:
        additions: dict[nn.Module, list[Addition]] = {}
        for module, addition in self._additions:
            additions.setdefault(module, []).append(addition)
        self._program = Program(self._model, self.instructions, additions)
        self._for_cache: _ForCache | None = None

    @property
    def hooked(self) -> bool:
        """Whether any module of the model has a hook that is to be called; what adapters add may need none."""
        if not self._additions and not self._watch.hooked:  # with adapters, since removing a hook is not counted
            return False
        hooks = self._watch.after()
        if self._watch.has_others or not all(self._adds(module, hook) for module, hook in hooks):
            return True
        if hooks != self._additions:
            self._additions = hooks
            self._build()
        return False

    def _adds(self, module: nn.Module, hook: Any) -> bool:
        """Whether the compiled step computes what a hook adds itself."""
        return isinstance(hook, Addition) and can_add(module, hook) and id(module) not in self._experts

    def step(self, id: int, cache: KVCache) -> tuple[Tensor, Tensor]:
        """Compute a token at position `cache.length`, fill the cache there: final state [1, 1, d], logits [1, 1, V]."""
        known, values = self._for_cache, cache.layers[-1].values if cache.layers else None
        span = self._config.rope_span(cache.span or cache.length + 1) if self._by_length else 0
        if known is None or known.values is not values or known.capacity <= cache.length or known.span != span:
            known = self._for_cache = self._describe(cache, span)
        logits = torch.empty(1, 1, self._config.vocab_size)
        known.task["token"], known.task["position"] = id, cache.length
        known.stages["target"][-1] = logits.data_ptr()
        compiled.run(known.task, known.stages, known.linears, self._program.matrices)
        return known.state.clone(), logits

    def _describe(self, cache: KVCache, span: int) -> "_ForCache":
        """Stages for a cache, which then has capacity for another position, and their work space."""
        for layer in cache.layers:
            layer.reserve(cache.length + 1)
        config, program = self._config, self._program
        stages, linears, space, state = program.placed()
        values = cache.layers[-1].values if cache.layers else None
        capacity = config.context if values is None else values.shape[2]
        task = np.zeros(1, descriptors.TASK)
        task["heads"], task["kv_heads"], task["head_dim"] = config.heads, config.kv_heads, config.head_dim
        task["capacity"], task["states"] = capacity, 1
        task["quantize"] = compiled.kernels().quantize(self.instructions)
        scores = torch.empty(config.heads * capacity)
        stages["scores"] = scores.data_ptr()
        for kind in (descriptors.CACHE, descriptors.ATTEND):
            stages["keys"][stages["kind"] == kind] = [layer.keys.data_ptr() for layer in cache.layers]
            stages["values"][stages["kind"] == kind] = [layer.values.data_ptr() for layer in cache.layers]
        like = torch.empty(0)
        tables = {
            rope: Rotary(rope, rope.size or config.head_dim).cosines_and_sines(capacity, like, span)
            for rope in set(program.ropes)
        }
        rotating = stages["kind"] == descriptors.ROTATE
        stages["table"][rotating] = [tables[rope].data_ptr() for rope in program.ropes]
        stages["length"] = capacity
        biases = [attend.by_position(capacity, like.device) for attend in program.alibi[:1]]  # equal in all blocks
        if biases:
            stages["alibi"] = biases[0].data_ptr()
        return _ForCache(
            values, capacity, span, task, stages, linears, state[None, None], (space, scores, tables, biases)
        )


def _of(module: MixtureOfExperts) -> Iterator[nn.Module]:
    """The linear maps of which only some are computed."""
    return (each for expert in module.experts for each in expert.modules())


class _ForCache(NamedTuple):
    """What a call takes while a cache does not grow; tokens of one cache come one after the other."""

    values: Tensor | None
    """Those of the last block, which grows last."""
    capacity: int
    span: int
    """The length of text that keys are rotated for, as in `KVCache`."""
    task: Any
    stages: Any
    linears: Any
    state: Tensor
    """The final hidden state [1, 1, d], in the work space."""
    alive: tuple[Any, ...]
    """Work space and tables whose addresses the stages hold."""
