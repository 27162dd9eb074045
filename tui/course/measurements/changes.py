"""Measurements of changed models: patches that act in the walk, and changes that are tried and taken back."""

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from core.errors import UserError
from core.language import _
from tui.course.measurements.here import Here, measurement

if TYPE_CHECKING:
    from core.causal.prompt_pair import PromptPair
    from core.sampling.distribution import Distribution

OMITTED = ("position", "norm", "activation", "scale")
"""Parts outside the blocks that a model can be computed without."""


@measurement
def patches(here: Here) -> int:
    """How many patches and steering vectors act in the walk's model."""
    return len(here.session.patches)


@measurement
def patched_kl_bits(here: Here) -> Any:
    """KL(unpatched ‖ patched) of the next token, in bits; 0 without patches."""
    from core.evaluation.divergence import divergences

    if not here.session.patches:
        return 0.0
    with here.session.reader.unpatched():
        before = _fresh(here, None, here.ids())
    return divergences(before, here.session.distribution())[0]


@measurement
def patch_kl_bits(
    here: Here, kind: str, part: str, block: int | None = None, head: int | None = None, *, factor: float = 2.0,
    model: str | None = None, prompt: str | None = None,
) -> float:  # fmt: skip
    """KL(unpatched ‖ patched) in bits, if this one patch acted: its kind, its part and where. The walk is unchanged."""
    from core.activations.patch import Patch
    from core.activations.sweep import sweep

    patch = Patch(kind=kind, part=part, layer=block, index=head, factor=factor)  # type: ignore[arg-type]  # checked there

    def compute() -> float:
        with _unpatched(here, model):
            *_, found = sweep(here.step(model, prompt), [patch])
        effect: float = found.effects[0].kl_bits  # type: ignore[union-attr]  # the last value is a Sweep
        return effect

    ids = here.ids(model, prompt)
    answer: float = here.bench.kept((patch, model or here.session.info, ids), compute)
    return answer


def _unpatched(here: Here, model: str | None) -> Any:
    return here.session.reader.unpatched() if model is None else nullcontext()


def _fresh(here: Here, model: str | None, ids: tuple[int, ...]) -> Any:
    """The distribution of a whole pass, without the walk's KV cache."""
    import torch

    from core.sampling.distribution import Distribution

    transformer = here.model(model).transformer
    with torch.inference_mode():
        seen = torch.tensor([ids[-transformer.config.context :]], device=transformer.device)
        return Distribution(transformer(seen)[0, -1].float().cpu())


def _without(here: Here, part: str, model: str | None, prompt: str | None) -> tuple["Distribution", "Distribution"]:
    """The distributions with and without a part: a term that is 0, or a function that returns its input."""
    from core.engine.hooks import ForwardHooks

    if part not in OMITTED:
        names = ", ".join(OMITTED)
        raise UserError(_("there is no part {name!r}; choose from {names}").format(name=part, names=names))
    ids, module = here.ids(model, prompt), getattr(here.model(model).transformer, part)
    with _unpatched(here, model), ForwardHooks() as hooks:
        before = _fresh(here, model, ids)
        if part == "position":
            hooks.after(module, lambda _module, _inputs, output: 0 * output)
        else:
            hooks.after(module, lambda _module, inputs, _output: inputs[0])
        return before, _fresh(here, model, ids)


@measurement
def without_kl_bits(here: Here, part: str, *, model: str | None = None, prompt: str | None = None) -> Any:
    """KL(model ‖ model without a part), in bits: `position`, the last `norm` or `activation`, or `scale`."""
    from core.evaluation.divergence import divergences

    return divergences(*_without(here, part, model, prompt))[0]


@measurement
def without_entropy_bits(here: Here, part: str, *, model: str | None = None, prompt: str | None = None) -> Any:
    """H of the model without a part, in bits."""
    return _without(here, part, model, prompt)[1].entropy_bits


@measurement
def restored(
    here: Here, map: str, block: int, index: int, *, corrupt: str, target: str | int, against: str | int
) -> float:
    """Activation patching: how much one clean activation brings back in the corrupt prompt; 0 nothing, 1 everything.

    `map` is `residual` (before the block), `attention`, `mlp` or `heads`; `index` the position, or of heads the head.
    """
    from core.causal.patching import MAPS, Cell, patched_measures

    if map not in MAPS:
        raise UserError(_("there is no map {name!r}; choose from {names}").format(name=map, names=", ".join(MAPS)))
    pair = _pair(here, corrupt, here.id(target), here.id(against))
    count = here.model().transformer.config.heads if map == "heads" else pair.length
    if not 0 <= block < len(pair.transformer.blocks) or not 0 <= index < count:
        raise UserError(_("there is no {block}.{index} in this map").format(block=block, index=index))
    if map != "heads" and index < pair.first:
        return 0.0
    cell = Cell(map, block, index)
    with here.session.reader.unpatched():
        work = patched_measures(pair, [cell])
        while True:
            try:
                next(work)
            except StopIteration as end:
                found: float = end.value[cell]
                return found


def _pair(here: Here, corrupt: str, target: int, against: int) -> "PromptPair":
    from core.causal.prompt_pair import read_pair
    from core.causal.question import CausalQuestion

    other = here.ids(None, corrupt)

    def compute() -> Any:
        question = CausalQuestion(target=target, against=against, corrupt=other)
        with here.session.reader.unpatched():
            work = read_pair(here.step(), question)
            while True:
                try:
                    next(work)
                except StopIteration as end:
                    return end.value

    pair: PromptPair = here.kept(("pair", other, target, against), None, here.ids(), compute)
    return pair
